//! What is known of operations: a service and the name of its span. As many as there is room for; what is above has none.

use hashbrown::{DefaultHashBuilder, HashTable};
use smol_str::SmolStr;
use std::hash::BuildHasher as _;

/// Longest name by which an operation is told, in bytes: what is on the wire may be as long as its sender likes.
const LONGEST: usize = 256;

/// An operation that nobody has asked for so long, in nanoseconds, makes room for another.
const IDLE: u64 = 600_000_000_000;

/// How often room is looked for, in nanoseconds.
const LOOK: u64 = 10_000_000_000;

#[derive(Debug)]
struct Entry<T> {
    hash: u64,
    service: SmolStr,
    name: SmolStr,
    last: u64,
    state: T,
}

/// States by operation.
#[derive(Debug)]
pub(super) struct Operations<T> {
    limit: usize,
    entries: HashTable<Entry<T>>,
    hasher: DefaultHashBuilder,
    looked: u64,
}

impl<T> Default for Operations<T> {
    /// Without room.
    fn default() -> Self {
        Self {
            limit: 0,
            entries: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            looked: 0,
        }
    }
}

impl<T> Operations<T> {
    /// Has room for as many from now on. Those that are there stay.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn states(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|entry| &mut entry.state)
    }

    /// The state of an operation, `None` where there are too many. `now` in nanoseconds of the kernel's clock.
    pub(super) fn at(
        &mut self,
        service: &str,
        name: &str,
        now: u64,
        make: impl FnOnce() -> T,
    ) -> Option<&mut T> {
        let cut = |text: &str| text.floor_char_boundary(LONGEST);
        let (service, name) = (&service[..cut(service)], &name[..cut(name)]);
        let hash = self.hasher.hash_one((service, name));
        let is = |entry: &Entry<T>| entry.service == service && entry.name == name;
        if self.entries.find(hash, is).is_none() {
            if !self.has_room(now) {
                return None;
            }
            let entry = Entry {
                hash,
                service: service.into(),
                name: name.into(),
                last: now,
                state: make(),
            };
            self.entries.insert_unique(hash, entry, |entry| entry.hash);
        }
        let entry = self.entries.find_mut(hash, is)?;
        entry.last = now;
        Some(&mut entry.state)
    }

    fn has_room(&mut self, now: u64) -> bool {
        if self.entries.len() < self.limit {
            return true;
        }
        if now.saturating_sub(self.looked) < LOOK {
            return false;
        }
        self.looked = now;
        self.entries.retain(|entry| now.saturating_sub(entry.last) < IDLE);
        self.entries.len() < self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_bounded_and_those_that_nobody_asks_make_room() {
        let mut operations = Operations::default();
        operations.set_limit(2);
        let mut add = |name: &str, now| {
            let state = operations.at("shop", name, now, || 0)?;
            *state += 1;
            Some(*state)
        };
        assert_eq!(
            [add("a", LOOK), add("b", LOOK), add("a", LOOK)],
            [Some(1), Some(1), Some(2)]
        );
        assert_eq!(add("c", LOOK), None);
        assert_eq!(add("b", IDLE), Some(2));
        // `a` was not heard of for long.
        assert_eq!(add("c", LOOK + IDLE), Some(1));
        assert_eq!(add("a", LOOK + IDLE), None);
        // Names are told apart by what fits of them.
        let long = "é".repeat(LONGEST);
        operations.set_limit(3);
        assert!(operations.at("s", &long, 0, || 0).is_some());
        assert!(operations.at("s", &format!("{long}x"), 0, || 0).is_some());
        assert_eq!(operations.len(), 3);
        assert!(operations.at("sh", "opa", 0, || 0).is_none());
    }
}
