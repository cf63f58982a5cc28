//! Diagnostics, for `--kernel-log`. Where their level is off they cost nothing: the verifier knows the level, and takes
//! them out. Each is a function of its own, since the message is made on its stack. None shows bytes of a connection.

use aya_log_ebpf::macro_support::{Level, level_enabled};

macro_rules! diagnostics {
    ($($(#[doc = $doc:literal])+ $level:ident $log:ident $name:ident($($value:ident: $type:ty),+) => $format:literal;)+) => {$(
        $(#[doc = $doc])+
        #[inline(always)]
        pub(crate) fn $name($($value: $type),+) {
            #[inline(never)]
            fn write($($value: $type),+) -> u32 {
                aya_log_ebpf::$log!((), $format, $($value),+);
                0
            }
            if level_enabled(Level::$level) {
                write($($value),+);
            }
        }
    )+};
}

diagnostics! {
    /// All slots of this CPU are taken.
    Error error no_slot(sock: u64, bytes: u64) => "sock {:x}: no room to look at {} bytes";
    /// Bytes were not seen, or not understood. The number is a [`Counter`](spanwire_ebpf::Counter)'s.
    Warn warn lost(sock: u64, position: u64, length: u64, counter: u32) =>
        "sock {:x}: lost at position {}, for {} bytes, counter {}";
    /// A connection is followed from now on.
    Info info followed(sock: u64, family: u16, late: u8) => "sock {:x}: followed; family {}, late {}";
    /// A connection carries a [`protocol`](spanwire_ebpf::protocol).
    Info info claimed(sock: u64, protocol: u8, position: u64) => "sock {:x}: protocol {} from position {}";
    /// A connection carries nothing that is known. The number is a [`Counter`](spanwire_ebpf::Counter)'s.
    Info info left_alone(sock: u64, counter: u32) => "sock {:x}: left alone, counter {}";
    /// A message begins.
    Debug debug message(sock: u64, position: u64, ordinal: u32, request: u8) =>
        "sock {:x}: message at position {}, exchange {}, request {}";
    /// A goroutine asks for a request that another sends.
    Debug debug handed(sock: u64, at: u32, span: u64) => "sock {:x}: handed over for {}, span {:x}";
    /// A goroutine begins to handle a stream.
    Debug debug stream(sock: u64, stream: u32, span: u64) => "sock {:x}: stream {} is handled, span {:x}";
    /// A context was copied.
    Debug debug copied(address: u64, id: u64, parent: u64, span: u64) =>
        "context {:x}: made at {}, comes from {}, for span {:x}";
    /// A read or write is over.
    Trace trace operation(sock: u64, direction: u32, bytes: u64) => "sock {:x}: direction {}, {} bytes";
}
