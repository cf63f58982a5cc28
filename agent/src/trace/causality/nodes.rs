//! What is remembered of exchanges, by their spans' ids.
//!
//! Ids are spread over all of a hash table, so that each lookup is a miss of the processor's caches. What is large is therefore
//! kept apart from it, in places that are used again: the next to be used is one that was used last.

use super::Node;
use crate::span::SpanId;
use hashbrown::HashMap;
use slab::Slab;

/// Exchanges.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    places: HashMap<SpanId, u32>,
    nodes: Slab<(SpanId, Node)>,
}

impl Nodes {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn contains(&self, id: SpanId) -> bool {
        self.places.contains_key(&id)
    }

    pub(super) fn at(&self, id: SpanId) -> Option<&Node> {
        let (_, node) = self.nodes.get(*self.places.get(&id)? as usize)?;
        Some(node)
    }

    pub(super) fn at_mut(&mut self, id: SpanId) -> Option<&mut Node> {
        let (_, node) = self.nodes.get_mut(*self.places.get(&id)? as usize)?;
        Some(node)
    }

    /// What was there under that id is forgotten.
    pub(super) fn insert(&mut self, id: SpanId, node: Node) {
        match self.at_mut(id) {
            Some(known) => *known = node,
            None => {
                // No more than `LIMIT`.
                let place = self.nodes.insert((id, node)) as u32;
                self.places.insert(id, place);
            }
        }
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, id: SpanId) -> Option<Node> {
        let place = self.places.remove(&id)?;
        Some(self.nodes.remove(place as usize).1)
    }

    /// What a burst took is given back, but for places before one that is still used.
    pub(super) fn give_back(&mut self) {
        if self.places.capacity() > SPARE && self.places.len() < self.places.capacity() / 8 {
            self.places.shrink_to(2 * self.places.len());
            self.nodes.shrink_to_fit();
        }
    }

    /// Ids of those of which `is_meant` says so.
    pub(super) fn of(&self, is_meant: impl Fn(&Node) -> bool) -> Vec<SpanId> {
        let meant = self.nodes.iter().filter(|(_, (_, node))| is_meant(node));
        meant.map(|(_, (id, _))| *id).collect()
    }
}

/// Room that is kept where little is needed.
const SPARE: usize = 4096;
