//! Percent-encoding (RFC 3986, section 2.1), undone for a look at what it hides.

/// How often an encoded text may have been encoded again: a URL within a URL's query within another's.
const ROUNDS: usize = 3;

/// A text as it is meant, and where in the text as it is written each of its bytes is.
pub(super) struct Decoded {
    /// What is meant; may not be UTF-8.
    pub(super) bytes: Vec<u8>,
    /// For each byte, and for the end, its place in the written text.
    places: Vec<u32>,
}

impl Decoded {
    /// Undoes the encoding of `text`; `None` where there is none, or the text is longer than 4 GiB.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        // Before anything is copied: hardly any text has one.
        memchr::memchr(b'%', text)?;
        let length = u32::try_from(text.len()).ok()?;
        let mut decoded = Self {
            bytes: text.to_vec(),
            places: (0..=length).collect(),
        };
        let rounds = (0..ROUNDS).take_while(|_| decoded.again()).count();
        (rounds > 0).then_some(decoded)
    }

    /// Undoes one encoding; whether there was any.
    fn again(&mut self) -> bool {
        let Some(first) = memchr::memchr(b'%', &self.bytes) else {
            return false;
        };
        let (mut read, mut write) = (first, first);
        while read < self.bytes.len() {
            let place = self.places[read];
            let (byte, length) = match escape(&self.bytes[read..]) {
                Some(byte) => (byte, 3),
                None => (self.bytes[read], 1),
            };
            self.bytes[write] = byte;
            self.places[write] = place;
            read += length;
            write += 1;
        }
        let was_encoded = write < read;
        self.places[write] = self.places[read];
        self.bytes.truncate(write);
        self.places.truncate(write + 1);
        was_encoded
    }

    /// Place in the written text of what is at `place` here.
    pub(super) fn written(&self, place: usize) -> usize {
        self.places[place] as usize
    }
}

/// The byte that `text` begins with in its encoded form.
fn escape(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_several_times_is_found_where_it_is_written() {
        for (text, meant, at) in [
            ("a%40b", "a@b", 1),
            ("a%2540b", "a@b", 1),
            ("a%252540b", "a@b", 1),
            ("%41%4%zz%", "A%4%zz%", 0),
            ("x%C3%A4@", "xä@", 1),
        ] {
            let decoded = Decoded::of(text.as_bytes()).unwrap();
            assert_eq!(std::str::from_utf8(&decoded.bytes), Ok(meant), "{text}");
            assert_eq!(decoded.written(at), at, "{text}");
            assert_eq!(decoded.written(decoded.bytes.len()), text.len(), "{text}");
        }
        assert!(Decoded::of(b"100%").is_none() && Decoded::of(b"").is_none());
    }

    proptest::proptest! {
        #[test]
        fn places_grow_and_stay_within(text in "[a%0-9@ä]*") {
            if let Some(decoded) = Decoded::of(text.as_bytes()) {
                proptest::prop_assert!(decoded.places.is_sorted());
                proptest::prop_assert_eq!(decoded.written(decoded.bytes.len()), text.len());
            }
        }
    }
}
