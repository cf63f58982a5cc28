//! What was found out about the texts of statements, so that those that come again are not read again.

use hashbrown::DefaultHashBuilder;
use smol_str::SmolStr;
use std::hash::BuildHasher as _;

/// Texts that are remembered. An application has some tens of statements, and executes them again and again.
const SLOTS: usize = 512;

/// Longest text that is remembered, in bytes.
const LENGTH: usize = 2048;

/// What was found out about texts, for those that come again.
///
/// A text has one place to be remembered in, and whatever came to the same place makes room. On its first coming only its
/// hash is kept: most statements that have literals come once.
#[derive(Clone, Debug)]
pub struct Memo<T> {
    slots: Vec<Slot<T>>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Debug)]
struct Slot<T> {
    hash: u64,
    known: Option<(SmolStr, T)>,
}

impl<T> Default for Memo<T> {
    fn default() -> Self {
        let empty = || Slot { hash: 0, known: None };
        Self {
            slots: std::iter::repeat_with(empty).take(SLOTS).collect(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<T: Clone> Memo<T> {
    /// What `find` says of `text`, or has said of it before.
    pub fn of(&mut self, text: &str, find: impl FnOnce(&str) -> T) -> T {
        if text.len() > LENGTH {
            return find(text);
        }
        let hash = self.hasher.hash_one(text);
        #[expect(clippy::cast_possible_truncation, reason = "below the number of slots")]
        let slot = &mut self.slots[(hash % SLOTS as u64) as usize];
        if slot.hash != hash {
            *slot = Slot { hash, known: None };
            return find(text);
        }
        match &slot.known {
            Some((known, found)) if known == text => found.clone(),
            _ => {
                let found = find(text);
                slot.known = Some((text.into(), found.clone()));
                found
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_looked_at_twice_at_most() {
        let mut memo = Memo::default();
        let mut looks = 0;
        for _ in 0..5 {
            let found = memo.of("SELECT 1", |text| {
                looks += 1;
                text.len()
            });
            assert_eq!(found, 8);
        }
        assert_eq!(looks, 2);
    }

    #[test]
    fn each_text_has_its_own_answer_however_many_there_are() {
        let mut memo = Memo::default();
        for _ in 0..3 {
            for number in 0..4 * SLOTS {
                let text = format!("SELECT {number}");
                assert_eq!(memo.of(&text, str::to_owned), text);
                assert_eq!(memo.of(&text, str::to_owned), text);
            }
        }
        let long = "x".repeat(LENGTH + 1);
        assert_eq!(memo.of(&long, str::to_owned), long);
        assert!(memo.slots.len() == SLOTS);
    }
}
