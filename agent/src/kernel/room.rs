//! How much maps hold of what may be switched off: next to nothing where it is.

use super::load::Options;
use spanwire_ebpf::carried::carries;
use spanwire_ebpf::propagate;

/// Connections on which contexts may be sent in options of TCP, and contexts that came so and wait, at a time.
const OPTIONS: u32 = 16_384;

/// Sockets that were enrolled when they were connected, at a time: as many as can be enrolled at all.
const CONNECTORS: u32 = 65_536;

/// Requests with baggage that are served at a time: 8 KiB each.
const BAGGAGE: u32 = 1_024;

/// Requests whose ids are known, or to be made.
const CORRELATIONS: u32 = 16_384;

impl Options {
    /// What goes on beside contexts, as bits of [`carries`].
    pub(super) const fn carries(&self) -> u32 {
        if self.propagate & propagate::CARRYING == 0 {
            0
        } else {
            self.carried
        }
    }

    /// Options of TCP.
    pub(super) const fn options(&self) -> u32 {
        some(self.propagate & propagate::TCP, OPTIONS)
    }

    /// Who has connected sockets that are enrolled.
    pub(super) const fn connectors(&self) -> u32 {
        some(self.propagate & !propagate::TCP, CONNECTORS)
    }

    /// Requests with baggage.
    pub(super) const fn baggage(&self) -> u32 {
        some(self.carries() & carries::BAGGAGE, BAGGAGE)
    }

    /// Requests with ids.
    pub(super) const fn correlations(&self) -> u32 {
        some(
            self.carries() & (carries::REQUEST_ID | carries::CORRELATION_ID),
            CORRELATIONS,
        )
    }
}

/// `count`, where any bit is set; else the least that a map may have.
const fn some(bits: u32, count: u32) -> u32 {
    if bits == 0 { 1 } else { count }
}
