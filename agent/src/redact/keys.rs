//! Names whose values are secrets, whatever those look like: of query parameters, of headers, in texts.

use hashbrown::HashSet;

/// Longest name that is looked at, in letters and digits.
const LONGEST: usize = 64;

/// Names whose values are secrets. Names are compared by their letters and digits alone, in any case: `X-Api-Key`,
/// `api_key` and `user[apiKey]` end alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    whole: HashSet<Box<[u8]>>,
    ends: Vec<Box<[u8]>>,
    kept: HashSet<Box<[u8]>>,
    /// The last two letters of all of them, a bit for each pair: nearly no other name ends so.
    tails: Tails,
}

/// A bit for each pair of letters and digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tails([u64; 21]);

impl Tails {
    /// Word and bit of the last two letters of `name`; `None` where it has fewer.
    fn place(name: &[u8]) -> Option<(usize, u64)> {
        let mut letters = name
            .iter()
            .rev()
            .filter_map(|byte| char::from(*byte).to_digit(36));
        let (last, before) = (letters.next()?, letters.next()?);
        let number = before * 36 + last;
        Some((number as usize / 64, 1 << (number % 64)))
    }

    fn add(&mut self, name: &[u8]) {
        match Self::place(name) {
            Some((word, bit)) => self.0[word] |= bit,
            None => self.0 = [u64::MAX; 21],
        }
    }

    /// Whether one of them may end as `name` does.
    fn may_have(&self, name: &[u8]) -> bool {
        Self::place(name).is_none_or(|(word, bit)| self.0[word] & bit != 0)
    }
}

impl Keys {
    /// Those called `names`, where `*` in front stands for anything, but none of `kept`.
    pub(super) fn new(
        names: impl IntoIterator<Item = impl AsRef<str>>,
        kept: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        let mut keys = Self::default();
        for name in names {
            let name = name.as_ref();
            let letters = letters(name);
            keys.tails.add(&letters);
            match name.starts_with('*') {
                true => keys.ends.push(letters),
                false => {
                    keys.whole.insert(letters);
                }
            }
        }
        keys.kept = kept.into_iter().map(|name| letters(name.as_ref())).collect();
        keys
    }

    /// Whether what is called `name` is a secret.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        if !self.tails.may_have(name) {
            return false;
        }
        let mut letters = [0; LONGEST];
        let mut length = 0;
        for byte in name.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
            // Of a longer one, the end: there the noun is.
            if length == LONGEST {
                letters.copy_within(1.., 0);
                length -= 1;
            }
            letters[length] = byte.to_ascii_lowercase();
            length += 1;
        }
        let letters = &letters[..length];
        let is_one = self.whole.contains(letters) || self.ends.iter().any(|end| letters.ends_with(end));
        is_one && !self.kept.contains(letters)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.ends.is_empty()
    }
}

fn letters(name: &str) -> Box<[u8]> {
    let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
    letters.map(|byte| byte.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_by_letters_and_digits() {
        let keys = Keys::new(["sig", "*token", "X-Api-Key"], ["page_token"]);
        for name in [
            "sig",
            "SIG",
            "s_i_g",
            "token",
            "accessToken",
            "user[token]",
            "x_api_key",
        ] {
            assert!(keys.has(name.as_bytes()), "{name}");
        }
        let long = format!("{}token", "a".repeat(300));
        assert!(keys.has(long.as_bytes()));
        for name in ["", "signal", "tokens", "page_token", "pageToken", "my-api-key"] {
            assert!(!keys.has(name.as_bytes()), "{name}");
        }
        assert!(!Keys::default().has(b"") && Keys::default().is_empty());
    }
}
