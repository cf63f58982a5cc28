//! The chunked transfer coding (RFC 9112, section 7.1), stepped over without keeping a byte.

use super::Malformed;
use memchr::memchr;

/// ```text
///   chunk-size [ ;ext ] CRLF  chunk-data CRLF  ...  0 CRLF  *( trailer-field CRLF )  CRLF
///   Size       Extension      Data       DataEnd    Size    Trailer
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a chunk's size; how many digits so far.
    Size { size: u64, digits: u8 },
    /// Between a chunk's size and the end of its line.
    Extension { size: u64 },
    /// In a chunk's data, of which this much is to come.
    Data(u64),
    /// At the line end behind a chunk's data.
    DataEnd,
    /// In the trailer section; whether this line has shown anything but a CR.
    Trailer { empty: bool },
    /// Behind the last byte of the message.
    Done,
}

/// Where in a chunked body a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    state: State,
}

/// How far a body got with the bytes it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes that belong to the body.
    pub(super) used: usize,
    /// Bytes of content among them.
    pub(super) content: u64,
    /// The body ends with the last of them.
    pub(super) done: bool,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self {
            state: State::Size { size: 0, digits: 0 },
        }
    }

    /// Steps over as much of `data` as belongs to the body.
    ///
    /// A line may end with a bare LF (RFC 9112, section 2.2).
    pub(super) fn read(&mut self, data: &[u8]) -> Result<Progress, Malformed> {
        let mut progress = Progress::default();
        while let Some(&byte) = data.get(progress.used) {
            let rest = &data[progress.used..];
            let mut used = 1;
            self.state = match self.state {
                State::Size { size, digits } => match (char::from(byte).to_digit(16), byte) {
                    (Some(_), _) if digits == 16 => return Err(Malformed::Chunk),
                    (Some(digit), _) => State::Size {
                        size: size << 4 | u64::from(digit),
                        digits: digits + 1,
                    },
                    (None, b'\n') if digits > 0 => Self::after_size(size),
                    (None, b';' | b' ' | b'\t' | b'\r') if digits > 0 => State::Extension { size },
                    _ => return Err(Malformed::Chunk),
                },
                State::Extension { size } => match memchr(b'\n', rest) {
                    Some(end) => {
                        used = end + 1;
                        Self::after_size(size)
                    }
                    None => {
                        used = rest.len();
                        State::Extension { size }
                    }
                },
                State::Data(left) => {
                    used = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                    progress.content += used as u64;
                    Self::after_data(left - used as u64)
                }
                State::DataEnd => match byte {
                    b'\r' => State::DataEnd,
                    b'\n' => State::Size { size: 0, digits: 0 },
                    _ => return Err(Malformed::Chunk),
                },
                State::Trailer { empty } => match byte {
                    b'\n' if empty => State::Done,
                    b'\n' => State::Trailer { empty: true },
                    b'\r' => State::Trailer { empty },
                    _ => {
                        used = memchr(b'\n', rest).unwrap_or(rest.len());
                        State::Trailer { empty: false }
                    }
                },
                State::Done => break,
            };
            progress.used += used;
        }
        progress.done = self.state == State::Done;
        Ok(progress)
    }

    /// Steps over `length` bytes that were not seen; false where it cannot, since they may hold a chunk's size.
    pub(super) fn skip(&mut self, length: u64) -> bool {
        match self.state {
            State::Data(left) if length > 0 && length <= left => {
                self.state = Self::after_data(left - length);
                true
            }
            _ => false,
        }
    }

    fn after_size(size: u64) -> State {
        if size == 0 {
            State::Trailer { empty: true }
        } else {
            State::Data(size)
        }
    }

    fn after_data(left: u64) -> State {
        if left == 0 {
            State::DataEnd
        } else {
            State::Data(left)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `input` in one go and byte by byte; both must come to the same.
    fn check(input: &str, expect: Result<(usize, u64, bool), Malformed>) {
        let whole = Chunked::new().read(input.as_bytes());
        assert_eq!(
            whole.map(|it| (it.used, it.content, it.done)),
            expect,
            "{input:?}"
        );
        let (mut chunked, mut sum) = (Chunked::new(), Ok(Progress::default()));
        for byte in input.bytes() {
            if let Ok(so_far) = &mut sum
                && !so_far.done
            {
                match chunked.read(&[byte]) {
                    Ok(step) => {
                        so_far.used += step.used;
                        so_far.content += step.content;
                        so_far.done = step.done;
                    }
                    Err(malformed) => sum = Err(malformed),
                }
            }
        }
        assert_eq!(
            sum.map(|it| (it.used, it.content, it.done)),
            expect,
            "{input:?} byte by byte"
        );
    }

    #[test]
    fn bodies() {
        check("0\r\n\r\n", Ok((5, 0, true)));
        check("0\r\n\r\nGET", Ok((5, 0, true)));
        check("3\r\nabc\r\n0\r\n\r\n", Ok((13, 3, true)));
        check("3;name=\"v;\"\r\nabc\r\n0;x\r\n\r\n", Ok((25, 3, true)));
        check("3 \nabc\n0\n\n", Ok((10, 3, true)));
        check(
            "A\r\n0123456789\r\n000\r\nTrailer: 1\r\nX: 2\r\n\r\n",
            Ok((40, 10, true)),
        );
        check("3\r\nab", Ok((5, 2, false)));
        check("3\r\nabc\r\n0\r\n", Ok((11, 3, false)));
    }

    #[test]
    fn wrong_ones() {
        check("\r\n", Err(Malformed::Chunk));
        check("g\r\n", Err(Malformed::Chunk));
        check("-1\r\n", Err(Malformed::Chunk));
        check("0x1\r\n", Err(Malformed::Chunk));
        check("3\r\nabcd\r\n", Err(Malformed::Chunk));
        check("10000000000000000\r\n", Err(Malformed::Chunk));
    }

    #[test]
    fn a_chunk_of_the_largest_size_is_only_counted() {
        check("ffffffffffffffff\r\nab", Ok((20, 2, false)));
    }

    #[test]
    fn a_loss_is_stepped_over_only_within_a_chunk() {
        let mut chunked = Chunked::new();
        assert!(!chunked.skip(1));
        chunked.read(b"5\r\nab").expect("valid");
        assert!(!chunked.skip(0));
        assert!(!chunked.skip(4));
        assert!(chunked.skip(3));
        let rest = chunked.read(b"\r\n0\r\n\r\n").expect("valid");
        assert!(rest.done);
    }
}
