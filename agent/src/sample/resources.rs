//! Processes whose spans are held: what they take of memory, and which policies are for them.

use super::rules::{Fits, Rules};
use super::size;
use crate::span::Resource;
use hashbrown::HashMap;
use std::sync::Arc;

/// Processes that are remembered although none of their spans is held.
const REMEMBERED: usize = 1024;

#[derive(Debug)]
struct Held {
    /// So that no other resource has its address.
    resource: Arc<Resource>,
    applicable: Fits,
    bytes: usize,
    spans: usize,
}

/// Resources by their address.
#[derive(Debug, Default)]
pub(super) struct Resources(HashMap<usize, Held>);

impl Resources {
    /// Policies that are for spans of `resource`.
    pub(super) fn applicable(&mut self, resource: &Arc<Resource>, rules: &Rules) -> Fits {
        self.at(resource, rules).applicable
    }

    /// A span of it is held. Returns the bytes that this adds.
    pub(super) fn enter(&mut self, resource: &Arc<Resource>, rules: &Rules) -> usize {
        let held = self.at(resource, rules);
        held.spans += 1;
        if held.spans == 1 { held.bytes } else { 0 }
    }

    /// One is let go. Returns the bytes that this frees.
    pub(super) fn leave(&mut self, resource: &Arc<Resource>) -> usize {
        let Some(held) = self.0.get_mut(&address(resource)) else {
            return 0;
        };
        held.spans = held.spans.saturating_sub(1);
        if held.spans == 0 { held.bytes } else { 0 }
    }

    /// Policies are others now.
    pub(super) fn follow(&mut self, rules: &Rules) {
        for held in self.0.values_mut() {
            held.applicable = rules.applicable(&held.resource);
        }
    }

    fn at(&mut self, resource: &Arc<Resource>, rules: &Rules) -> &mut Held {
        let address = address(resource);
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&address) {
            self.0.retain(|_, held| held.spans > 0);
        }
        self.0.entry(address).or_insert_with(|| Held {
            resource: Arc::clone(resource),
            applicable: rules.applicable(resource),
            bytes: size::of_resource(resource),
            spans: 0,
        })
    }
}

fn address(resource: &Arc<Resource>) -> usize {
    Arc::as_ptr(resource).addr()
}
