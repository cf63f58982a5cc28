//! What goes on with the requests that are sent for one is kept by that one's span, and makes room for that of others by itself. Which
//! requests have had something is remembered here, so that one that has lost it is counted, and is not taken for one without.

use crate::maps::{CARRIERS, count};
use aya_ebpf::maps::LruHashMap;
use core::ptr::{read_volatile, write_volatile};
use spanwire_ebpf::Counter;

/// Requests that are remembered, each at the place that the last bits of its span say, which are random. One may take another's place:
/// of those that lose something while thousands are served, a few are not counted.
pub(crate) const PLACES: u32 = 1 << 15;

/// The bits of a span that are not kept at its place. Those of [`what`] are there instead.
const BITS: u64 = PLACES as u64 - 1;

/// What a request has had.
pub(super) mod what {
    pub(crate) const STATE: u64 = 1;
    pub(crate) const BAGGAGE: u64 = 2;
    pub(crate) const ID: u64 = 4;
}

/// Behind [`what`] a request has had, how far the bit is by which it is known to be counted.
const COUNTED: u32 = 3;

/// What is kept of the request with this span, for which something is sent.
#[inline(always)]
pub(super) fn kept<V>(map: &LruHashMap<u64, V>, span: &u64, what: u64) -> Option<*const V> {
    let value = map.get_ptr(span);
    if value.is_none() {
        carrier_loses(*span, what);
    }
    value
}

/// The same of one that is received, of which this is the first, or more; `None` where what there was before is lost.
#[inline(always)]
pub(super) fn keep<V>(map: &LruHashMap<u64, V>, span: &u64, what: u64, nothing: &V) -> Option<*mut V> {
    if map.get_ptr(span).is_none() && carrier_loses(*span, what) == 0 {
        remember(*span, what);
        let _ = map.insert(span, nothing, 0);
    }
    map.get_ptr_mut(span)
}

/// Nothing is kept of the request with this span; 1 where there was something, which is counted once. A global function, which the
/// verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn carrier_loses(span: u64, what: u64) -> u32 {
    let Some(place) = CARRIERS.get_ptr_mut(span as u32 % PLACES) else {
        return 0;
    };
    // SAFETY: a map value.
    let known = unsafe { read_volatile(place) };
    if !is_of(known, span) || known & what == 0 {
        return 0;
    }
    if known & what << COUNTED == 0 {
        // SAFETY: as above.
        unsafe { write_volatile(place, known | what << COUNTED) };
        let counter = match what {
            what::STATE => Counter::StatesEvicted,
            what::BAGGAGE => Counter::BaggageEvicted,
            _ => Counter::CorrelationEvicted,
        };
        count(counter, 1);
    }
    1
}

#[inline(always)]
fn remember(span: u64, what: u64) {
    if let Some(place) = CARRIERS.get_ptr_mut(span as u32 % PLACES) {
        // SAFETY: a map value; of two that come to one place at a time, one is forgotten.
        unsafe {
            let known = read_volatile(place);
            let bits = if is_of(known, span) { known & BITS } else { 0 };
            write_volatile(place, span & !BITS | bits | what);
        }
    }
}

/// Whether this is what is known of the request with this span, whose place it is at.
#[inline(always)]
fn is_of(known: u64, span: u64) -> bool {
    (known ^ span) & !BITS == 0
}
