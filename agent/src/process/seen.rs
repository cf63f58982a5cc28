//! What a process was seen to speak.

use crate::protocol::Protocol;

/// So many are remembered of a process: one that asks many servers is told by the first of them.
const MOST: usize = 16;

/// Protocols, ends and ports, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(Vec<(Protocol, bool, Option<u16>)>);

impl Seen {
    /// An exchange was seen; the process `is_server` of it, and the server's port is `port`, of TCP.
    pub fn note(&mut self, protocol: Protocol, is_server: bool, port: Option<u16>) {
        let spoken = (protocol, is_server, port);
        if self.0.len() < MOST && !self.0.contains(&spoken) {
            self.0.push(spoken);
        }
    }

    /// Protocol, whether it is the server, and the server's port.
    pub fn iter(&self) -> impl Iterator<Item = (Protocol, bool, Option<u16>)> {
        self.0.iter().copied()
    }

    /// Whether nothing was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_and_there_is_an_end_to_them() {
        let mut seen = Seen::default();
        assert!(seen.is_empty());
        for port in (1..=100).chain(1..=100) {
            seen.note(Protocol::Http1, false, Some(port));
        }
        assert_eq!(seen.iter().count(), MOST);
        assert_eq!(seen.iter().next(), Some((Protocol::Http1, false, Some(1))));
    }
}
