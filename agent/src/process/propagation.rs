//! Whether contexts may be injected into what a process sends.

use super::Identity;
use super::annotation::Wishes;
use super::runtime::Family;
use spanwire_ebpf::propagate;

/// Programs of which it is known that they do not ask how many bytes wait on a socket (FIONREAD).
const HARMLESS: [&str; 5] = ["curl", "haproxy", "wget", "psql", "pgbench"];

/// What may be injected into, and on which kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Bits of [`propagate`].
    pub protocols: u32,
    /// The kernel answers FIONREAD on an enrolled socket with 0, so that what asks for it stalls.
    pub breaks_fionread: bool,
}

impl Policy {
    /// Into which protocols, as bits of [`propagate`], contexts may be injected that the process sends.
    pub(super) fn of(self, identity: &Identity) -> u32 {
        let name = identity.executable_name();
        let is_harmless = !self.breaks_fionread
            || match Family::of(name) {
                Family::Python | Family::PyPy | Family::Node | Family::Ruby | Family::Perl | Family::Php => {
                    true
                }
                Family::Native => {
                    HARMLESS.contains(&name)
                        || identity
                            .runtime
                            .as_ref()
                            .is_some_and(|runtime| runtime.name == "go")
                }
                // Java NIO and .NET ask. Of the others nobody has looked.
                Family::Java | Family::DotNet | Family::Erlang | Family::Shell | Family::MultiCall => false,
            };
        let wished = identity.pod.as_deref().and_then(|pod| Wishes::of(pod).propagate);
        match is_harmless {
            true => self.protocols & wished.unwrap_or(u32::MAX),
            false => 0,
        }
    }

    /// The bit for a protocol, by its number in records, on a connection that was open before; 0 where nothing can be
    /// injected.
    #[must_use]
    pub const fn late(protocol: u8) -> u32 {
        match protocol {
            spanwire_ebpf::protocol::HTTP1 => propagate::HTTP1,
            spanwire_ebpf::protocol::HTTP2 => propagate::HTTP2,
            spanwire_ebpf::protocol::AMQP => propagate::AMQP,
            _ => 0,
        }
    }
}
