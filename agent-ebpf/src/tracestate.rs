//! `tracestate` (W3C Trace Context, section 3.3), one byte after the other: is it as it should be, and how much of it is carried
//! on where it is too long?
//!
//! ```text
//!   key=value, key=value
//! ```

/// Bytes that everybody has to carry on (section 3.3.1.5); over it, whole members are left out, from the last on.
pub const LIMIT: u32 = 512;

/// Members (section 3.3.1.1).
pub const MEMBERS: u32 = 32;

/// Longest key, and longest value.
const PART: u32 = 256;

/// Values of [`Reading::phase`].
pub mod phase {
    /// Before a member.
    pub const GAP: u32 = 0;
    /// In a key.
    pub const KEY: u32 = 1;
    /// In a value, of which a byte was no space.
    pub const VALUE: u32 = 2;
    /// Behind a value.
    pub const TAIL: u32 = 3;
    /// Behind a carriage return.
    pub const CARRIAGE: u32 = 4;
    /// The line is over.
    pub const ENDED: u32 = 5;
    /// This is no `tracestate`.
    pub const MALFORMED: u32 = 6;
    /// In a value, of which no byte was anything else than a space.
    pub const EQUALS: u32 = 7;
}

/// What is known of a header's value so far. Zeroes, but for `room` and where it is, before its first byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// One of [`mod@phase`].
    pub phase: u32,
    /// Index of the next byte.
    pub at: u32,
    /// Bytes of the key or the value so far.
    pub count: u32,
    /// Index behind the last byte that is neither space nor comma.
    pub last: u32,
    /// Index of the first member.
    pub from: u32,
    /// Index behind the last member that has room.
    pub to: u32,
    /// How many members are over.
    pub members: u32,
    /// How many bytes there is room for.
    pub room: u32,
    /// Where it begins, among what is there of it.
    pub begins: u32,
    /// Where it, or what is there of it, ends.
    pub ends: u32,
}

impl Reading {
    /// What is known behind one more byte.
    #[inline(always)]
    #[must_use]
    pub const fn take(mut self, byte: u8) -> Self {
        let ends = byte == b',' || byte == b'\r' || byte == b'\n';
        let blank = byte == b' ' || byte == b'\t';
        let is_in = self.phase;
        match is_in {
            phase::GAP if begins_key(byte) => {
                if self.last == 0 {
                    self.from = self.at;
                }
                self.phase = phase::KEY;
                self.count = 1;
            }
            phase::GAP if ends || blank => {}
            phase::KEY if byte == b'=' => {
                self.phase = phase::EQUALS;
                self.count = 0;
            }
            phase::KEY if is_key(byte) && self.count < PART => self.count += 1,
            phase::VALUE | phase::TAIL if ends => {
                self.phase = phase::GAP;
                self.members += 1;
                if self.members > MEMBERS {
                    self.phase = phase::MALFORMED;
                }
                if self.last - self.from <= self.room {
                    self.to = self.last;
                }
            }
            phase::VALUE if byte == b'\t' => self.phase = phase::TAIL,
            phase::EQUALS | phase::VALUE if !ends && is_value(byte) && self.count < PART => {
                self.count += 1;
                if byte != b' ' {
                    self.phase = phase::VALUE;
                    self.last = self.at + 1;
                }
            }
            phase::TAIL if blank => {}
            phase::CARRIAGE if byte == b'\n' => self.phase = phase::ENDED,
            _ => self.phase = phase::MALFORMED,
        }
        if self.phase == phase::GAP && byte == b'\r' {
            self.phase = phase::CARRIAGE;
        }
        if self.phase == phase::GAP && byte == b'\n' {
            self.phase = phase::ENDED;
        }
        self.at += 1;
        self
    }

    /// How many bytes are carried on, from `from` on.
    #[inline(always)]
    #[must_use]
    pub const fn length(self) -> u32 {
        self.to.saturating_sub(self.from)
    }
}

/// Section 3.3.1.3.1.
#[inline(always)]
const fn begins_key(byte: u8) -> bool {
    byte.is_ascii_lowercase() | byte.is_ascii_digit()
}

#[inline(always)]
const fn is_key(byte: u8) -> bool {
    let other = byte == b'_' || byte == b'-' || byte == b'*' || byte == b'/' || byte == b'@';
    begins_key(byte) || other
}

/// Section 3.3.1.3.2.
#[inline(always)]
const fn is_value(byte: u8) -> bool {
    0x20 <= byte && byte <= 0x7e && byte != b'='
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    /// What is carried on of a line, `None` where it is malformed.
    fn carried(value: &str, room: u32) -> Option<String> {
        let mut reading = Reading {
            room,
            ..Reading::default()
        };
        for byte in value.bytes().chain(*b"\r\n") {
            reading = reading.take(byte);
        }
        let (from, to) = (reading.from as usize, reading.to.max(reading.from) as usize);
        (reading.phase == phase::ENDED).then(|| value[from..to].into())
    }

    #[test]
    fn what_is_well_formed_is_carried_on() {
        for (value, expected) in [
            ("a=1", "a=1"),
            (
                "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
                "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
            ),
            ("  a=1 ,\tb=2  ", "a=1 ,\tb=2"),
            (",, a=1,,b=2,", "a=1,,b=2"),
            ("", ""),
            (" , ", ""),
            ("0@a-_*/=~! x", "0@a-_*/=~! x"),
            ("a=1\t", "a=1"),
            ("a= 1", "a= 1"),
        ] {
            assert_eq!(carried(value, LIMIT).as_deref(), Some(expected), "{value:?}");
        }
        assert_eq!(
            carried(&format!("{}=1", "k".repeat(256)), LIMIT).map(|state| state.len()),
            Some(258)
        );
    }

    #[test]
    fn what_is_not_is_none() {
        for value in [
            "a",
            "a,b=1",
            "=1",
            "a=",
            "a= ",
            "A=1",
            "a=1=",
            "a=1,b",
            "a b=1",
            "@a=1",
            "a=\u{e4}",
            "a=1\t1",
            "a=\t",
            "a=\x7f",
            "a=\x01",
            "a=1\r,b=2",
            "a\t=1",
        ] {
            assert_eq!(carried(value, LIMIT), None, "{value:?}");
        }
        assert_eq!(carried(&format!("{}=1", "k".repeat(257)), LIMIT), None);
        assert_eq!(carried(&format!("a={}", "v".repeat(257)), LIMIT), None);
        let members = |count| {
            (0..count)
                .map(|number| format!("k{number}=v"))
                .collect::<Vec<_>>()
                .join(",")
        };
        assert!(carried(&members(32), LIMIT).is_some());
        assert_eq!(carried(&members(33), LIMIT), None);
    }

    #[test]
    fn whole_members_are_left_out_from_the_last_on() {
        let value = "aaa=1,bbb=2,ccc=3";
        for (room, expected) in [
            (17, value),
            (16, "aaa=1,bbb=2"),
            (11, "aaa=1,bbb=2"),
            (10, "aaa=1"),
            (4, ""),
            (0, ""),
        ] {
            assert_eq!(carried(value, room).as_deref(), Some(expected), "{room}");
        }
        let long = format!("a={},b=2", "v".repeat(256));
        assert_eq!(carried(&long, 100).as_deref(), Some(""));
    }

    #[test]
    fn no_byte_ends_a_line_that_is_carried_on() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut line = *b"ab=c,d=e";
                line[place] = byte;
                let mut reading = Reading {
                    room: LIMIT,
                    ..Reading::default()
                };
                for byte in line {
                    reading = reading.take(byte);
                    let kept = &line[reading.from as usize..reading.to.max(reading.from) as usize];
                    assert!(
                        kept.iter()
                            .all(|byte| (0x20..0x7f).contains(byte) || *byte == b'\t')
                    );
                }
            }
        }
    }
}
