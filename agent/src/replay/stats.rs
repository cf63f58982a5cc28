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
    /// Connections that were claimed, by [`Protocol`].
    claimed: [u64; Protocol::ALL.len()],
    /// Connections that were not, by [`Unclaimed`].
    unclaimed: [u64; 5],
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
    pub fn rows(&self) -> Vec<(&'static str, u64)> {
        let claimed = |protocol: Protocol| self.claimed[protocol as usize];
        let unclaimed = |why: Unclaimed| self.unclaimed[why as usize];
        let gaps = |why: Missing| self.gaps[why as usize];
        vec![
            ("replay.packets", self.packets),
            ("replay.bytes", self.bytes),
            ("replay.messages.requests", self.requests),
            ("replay.messages.responses", self.responses),
            ("replay.lost.exchanges.unanswered", self.unanswered),
            ("replay.gap.lost", gaps(Missing::Lost)),
            ("replay.gap.cut", gaps(Missing::Cut)),
            ("replay.gap.over_limit", gaps(Missing::OverLimit)),
            ("replay.gap.bytes", self.gap_bytes),
            ("replay.connections.http1", claimed(Protocol::Http1)),
            ("replay.connections.http2", claimed(Protocol::Http2)),
            ("replay.connections.postgres", claimed(Protocol::Postgres)),
            ("replay.connections.joined_late", gaps(Missing::Before)),
            ("replay.connections.evicted", self.evicted),
            ("replay.unclaimed.tls", unclaimed(Unclaimed::Tls)),
            ("replay.unclaimed.other", unclaimed(Unclaimed::Other)),
            ("replay.unclaimed.joined_late", unclaimed(Unclaimed::JoinedLate)),
            ("replay.unclaimed.too_short", unclaimed(Unclaimed::TooShort)),
            ("replay.unclaimed.silent", unclaimed(Unclaimed::Silent)),
            ("replay.passed.not_ip", self.not_ip),
            ("replay.passed.not_tcp", self.not_tcp),
            ("replay.passed.malformed", self.malformed),
            ("replay.passed.stray", self.strays),
            ("replay.lost.datagrams", self.fragments),
        ]
    }
}
