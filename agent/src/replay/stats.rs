//! What was in a capture, and what of it came to nothing: each with its reason.

use super::ip::Passed;
use super::talk::{Talk, Unclaimed};
use super::tcp::{Delivery, Missing};
use crate::protocol::Protocol;

/// Counts of one replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets, and their bytes as captured.
    pub packets: u64,
    /// See `packets`.
    pub bytes: u64,
    /// Packets without an IP packet inside.
    pub not_ip: u64,
    /// IP packets without a TCP segment inside.
    pub not_tcp: u64,
    /// Packets whose headers could not be read.
    pub malformed: u64,
    /// Datagrams of which fragments were missing.
    pub fragments: u64,
    /// Segments far from what their connection carries.
    pub strays: u64,
    /// Requests and responses, also those that came to nothing.
    pub requests: u64,
    /// See `requests`.
    pub responses: u64,
    /// Requests that were never answered.
    pub unanswered: u64,
    /// Exchanges that came out, by [`Protocol`].
    exchanges: [u64; Protocol::ALL.len()],
    /// Connections that were claimed, by [`Protocol`].
    claimed: [u64; Protocol::ALL.len()],
    /// Connections that were not, by [`Unclaimed`].
    unclaimed: [u64; 6],
    /// Connections that were given up to make room.
    pub evicted: u64,
    /// Gaps by [`Missing`], and the bytes in them.
    gaps: [u64; 4],
    /// See `gaps`.
    pub gap_bytes: u64,
}

impl Stats {
    /// A packet held no segment.
    pub fn pass(&mut self, why: Passed) {
        match why {
            Passed::NotTcp => self.not_tcp += 1,
            Passed::Malformed => self.malformed += 1,
            // It may still be made whole.
            Passed::Fragment => {}
        }
    }

    /// Something was delivered.
    pub fn note(&mut self, next: &Delivery<'_>) {
        if let Delivery::Gap(length, why) = next {
            self.gaps[*why as usize] += 1;
            self.gap_bytes += u64::from(*length);
        }
    }

    /// An exchange came out.
    pub fn exchange(&mut self, protocol: Protocol) {
        self.exchanges[protocol as usize] += 1;
    }

    /// A connection is over, and was claimed, or was not.
    pub fn over(&mut self, talk: &Talk) {
        if let Some(protocol) = talk.protocol() {
            self.claimed[protocol as usize] += 1;
        }
        if let Some(why) = talk.unclaimed() {
            self.unclaimed[why as usize] += 1;
        }
    }

    /// All counts by name.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, u64)> {
        let unclaimed = |why: Unclaimed| self.unclaimed[why as usize];
        let gaps = |why: Missing| self.gaps[why as usize];
        let by_protocol = |what: &str, counts: &[u64]| {
            let named = Protocol::ALL.into_iter().zip(counts);
            let rows = named.map(|(protocol, count)| (format!("replay.{what}.{}", protocol.name()), *count));
            rows.collect::<Vec<_>>()
        };
        let own = |rows: &[(&str, u64)]| {
            let rows = rows
                .iter()
                .map(|(name, count)| (format!("replay.{name}"), *count));
            rows.collect::<Vec<_>>()
        };
        [
            own(&[
                ("packets", self.packets),
                ("bytes", self.bytes),
                ("messages.requests", self.requests),
                ("messages.responses", self.responses),
            ]),
            by_protocol("exchanges", &self.exchanges),
            own(&[
                ("lost.exchanges.unanswered", self.unanswered),
                ("gap.lost", gaps(Missing::Lost)),
                ("gap.cut", gaps(Missing::Cut)),
                ("gap.over_limit", gaps(Missing::OverLimit)),
                ("gap.bytes", self.gap_bytes),
            ]),
            by_protocol("connections", &self.claimed),
            own(&[
                ("connections.joined_late", gaps(Missing::Before)),
                ("connections.evicted", self.evicted),
                ("unclaimed.tls", unclaimed(Unclaimed::Tls)),
                ("unclaimed.encrypted", unclaimed(Unclaimed::Encrypted)),
                ("unclaimed.other", unclaimed(Unclaimed::Other)),
                ("unclaimed.joined_late", unclaimed(Unclaimed::JoinedLate)),
                ("unclaimed.too_short", unclaimed(Unclaimed::TooShort)),
                ("unclaimed.silent", unclaimed(Unclaimed::Silent)),
                ("passed.not_ip", self.not_ip),
                ("passed.not_tcp", self.not_tcp),
                ("passed.malformed", self.malformed),
                ("passed.stray", self.strays),
                ("lost.datagrams", self.fragments),
            ]),
        ]
        .concat()
    }
}
