//! Labels of containers among a resource's attributes: whoever labelled a container may have written a secret there.

use super::Redactor;
use super::attribute::Applicable;
use crate::span::{Attribute, Resource, Span, semconv};
use hashbrown::HashMap;
use std::sync::Arc;

/// Processes of which the redacted resource is remembered.
const PROCESSES: usize = 1024;

/// By the address of a resource, which is held so that no other one has it: the same, redacted.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(HashMap<usize, (Arc<Resource>, Arc<Resource>)>);

fn is_label(attribute: &Attribute) -> bool {
    attribute.key.starts_with(semconv::CONTAINER_LABEL)
}

impl Redactor {
    /// Redacts labels among the attributes of the resource of `span`, once for each resource. Rules that are for some protocols
    /// are for none of them.
    pub(super) fn resource(&mut self, span: &mut Span, rules: Option<&Applicable>) {
        // Labels come last.
        if !span.resource.attributes.last().is_some_and(is_label) {
            return;
        }
        let address = Arc::as_ptr(&span.resource).addr();
        if let Some((_, redacted)) = self.labels.0.get(&address) {
            span.resource = Arc::clone(redacted);
            return;
        }
        let rules = rules.map(Applicable::for_all_traffic);
        let Resource { pid, own, .. } = *span.resource;
        let mut attributes = span.resource.attributes.clone();
        attributes.retain_mut(|attribute| !is_label(attribute) || self.attribute(attribute, rules.as_ref()));
        let redacted = Arc::new(Resource { pid, attributes, own });
        if self.labels.0.len() >= PROCESSES {
            self.labels.0.clear();
        }
        let original = std::mem::replace(&mut span.resource, Arc::clone(&redacted));
        self.labels.0.insert(address, (original, redacted));
    }
}
