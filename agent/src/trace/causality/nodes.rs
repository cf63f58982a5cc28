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
    nodes: Slab<Node>,
}

impl Nodes {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn contains(&self, id: SpanId) -> bool {
        self.places.contains_key(&id)
    }

    pub(super) fn at(&self, id: SpanId) -> Option<&Node> {
        self.nodes.get(*self.places.get(&id)? as usize)
    }

    pub(super) fn at_mut(&mut self, id: SpanId) -> Option<&mut Node> {
        self.nodes.get_mut(*self.places.get(&id)? as usize)
    }

    /// What was there under that id is forgotten.
    pub(super) fn insert(&mut self, id: SpanId, node: Node) {
        match self.at_mut(id) {
            Some(known) => *known = node,
            None => {
                // No more than `LIMIT`.
                let place = self.nodes.insert(node) as u32;
                self.places.insert(id, place);
            }
        }
    }

    /// Forgets those of which `keeps` says so.
    pub(super) fn retain(&mut self, mut keeps: impl FnMut(SpanId, &Node) -> bool) {
        self.places.retain(|id, place| {
            let place = *place as usize;
            let is_kept = keeps(*id, &self.nodes[place]);
            if !is_kept {
                self.nodes.remove(place);
            }
            is_kept
        });
        // What a burst took is given back.
        if self.places.capacity() > SPARE && self.places.len() < self.places.capacity() / 8 {
            self.places.shrink_to(2 * self.places.len());
            self.nodes.shrink_to_fit();
        }
    }

    /// Ids of those of which `is_meant` says so.
    pub(super) fn of(&self, is_meant: impl Fn(&Node) -> bool) -> Vec<SpanId> {
        let meant = |(_, place): &(&SpanId, &u32)| is_meant(&self.nodes[**place as usize]);
        self.places.iter().filter(meant).map(|(id, _)| *id).collect()
    }
}

/// Room that is kept where little is needed.
const SPARE: usize = 4096;
