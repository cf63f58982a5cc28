//! Length-prefixed messages in the content of a stream, as gRPC has them.
//!
//! ```text
//!   Compressed-Flag (8)  Message-Length (32)  Message (Message-Length)
//! ```
//!
//! From "gRPC over HTTP2" (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). They do not keep to
//! frames: one may be in many, or many in one.

const PREFIX: usize = 5;

/// How many messages went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// All of them, whole.
    pub count: u64,
    /// Those of them with the flag.
    pub compressed: u64,
}

/// Counts messages in content that may be shown in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    prefix: [u8; PREFIX],
    filled: usize,
    /// Bytes of the message that are still to come.
    left: u64,
    messages: Messages,
    /// Where a message begins is known.
    known: bool,
}

impl Counter {
    pub(super) fn new() -> Self {
        Self {
            prefix: [0; PREFIX],
            filled: 0,
            left: 0,
            messages: Messages::default(),
            known: true,
        }
    }

    /// What was counted; `None` where it is not known, or these were no such messages.
    pub(super) fn messages(&self) -> Option<Messages> {
        self.known.then_some(self.messages)
    }

    /// Counts are not known from here on.
    pub(super) fn lose(&mut self) {
        self.known = false;
    }

    /// The next content.
    pub(super) fn read(&mut self, mut content: &[u8]) {
        while self.known && !content.is_empty() {
            if self.filled < PREFIX {
                let taken = content.len().min(PREFIX - self.filled);
                let (taken, rest) = content.split_at(taken);
                self.prefix[self.filled..][..taken.len()].copy_from_slice(taken);
                self.filled += taken.len();
                content = rest;
                if self.filled == PREFIX {
                    self.begin();
                }
            } else {
                let taken = self.left.min(content.len() as u64);
                content = &content[taken as usize..];
                self.step(taken);
            }
        }
    }

    /// `length` bytes of content that are not shown.
    pub(super) fn skip(&mut self, length: u64) {
        if length == 0 {
            return;
        }
        if self.filled < PREFIX || length > self.left {
            self.lose();
        } else {
            self.step(length);
        }
    }

    fn begin(&mut self) {
        let [flag, length @ ..] = self.prefix;
        self.left = u32::from_be_bytes(length).into();
        self.known = flag <= 1;
        self.step(0);
    }

    fn step(&mut self, length: u64) {
        self.left -= length;
        if self.left == 0 {
            self.messages.count += 1;
            self.messages.compressed += u64::from(self.prefix[0] & 1);
            self.filled = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"\0\0\0\0\x03abc\x01\0\0\0\x01d";

    fn counted(read: impl FnOnce(&mut Counter)) -> Option<(u64, u64)> {
        let mut counter = Counter::new();
        read(&mut counter);
        counter.messages().map(|it| (it.count, it.compressed))
    }

    #[test]
    fn any_split() {
        for at in 0..=TWO.len() {
            let (a, b) = TWO.split_at(at);
            let two = counted(|it| {
                it.read(a);
                it.read(b);
            });
            assert_eq!(two, Some((2, 1)), "{at}");
        }
        assert_eq!(counted(|it| it.read(b"\0\0\0\0\0\0\0\0\0\0")), Some((2, 0)));
        assert_eq!(counted(|it| it.read(&TWO[..13])), Some((1, 0)));
        assert_eq!(counted(|it| it.read(b"GET / HTTP/1.1")), None);
    }

    #[test]
    fn what_is_not_shown_is_counted_as_long_as_the_next_prefix_is_found() {
        let shown = |prefix: usize, skipped| {
            counted(|it| {
                it.read(&TWO[..prefix]);
                it.skip(skipped);
                it.read(&TWO[prefix + skipped as usize..]);
            })
        };
        assert_eq!(shown(5, 3), Some((2, 1)));
        assert_eq!(shown(6, 1), Some((2, 1)));
        assert_eq!(shown(5, 4), None);
        assert_eq!(shown(0, 5), None);
        assert_eq!(shown(3, 0), Some((2, 1)));
    }
}
