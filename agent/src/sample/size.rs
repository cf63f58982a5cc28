//! How much memory a span takes while it is held.

use crate::redact::Redacted;
use crate::span::{Attribute, Event, Resource, Span, Value};
use smol_str::SmolStr;
use std::borrow::Cow;

/// What an allocation takes beside its content.
const ALLOCATION: usize = 16;

/// Bytes of a span, without those of its resource, which all spans of a process share. Texts that spans share are counted for
/// each of them.
pub(super) fn of_span(span: &Redacted) -> usize {
    let span = span.span();
    let events = span
        .events
        .iter()
        .map(|event: &Event| text(&event.name) + of_attributes(&event.attributes) + size_of::<Event>());
    let link = span
        .link
        .as_ref()
        .map_or(0, |link| size_of_val(&**link) + ALLOCATION + text(&link.state));
    let status = match &span.status {
        crate::span::Status::Error(why) => text(why),
        crate::span::Status::Unset => 0,
    };
    size_of::<Span>()
        + text(&span.state)
        + text(&span.name)
        + of_attributes(&span.attributes)
        + events.sum::<usize>()
        + link
        + status
}

/// Bytes of a resource.
pub(super) fn of_resource(resource: &Resource) -> usize {
    size_of::<Resource>() + ALLOCATION + of_attributes(&resource.attributes)
}

fn of_attributes(attributes: &Vec<Attribute>) -> usize {
    let heap = attributes.iter().map(|attribute| {
        let key = match &attribute.key {
            Cow::Borrowed(_) => 0,
            Cow::Owned(key) => key.capacity() + ALLOCATION,
        };
        key + match &attribute.value {
            Value::Text(value) => text(value),
            Value::Texts(values) => {
                let texts = values.iter().map(|value| value.capacity() + ALLOCATION);
                size_of_val(&**values) + ALLOCATION + texts.sum::<usize>()
            }
            Value::Integer(_) | Value::Boolean(_) => 0,
        }
    });
    attributes.capacity() * size_of::<Attribute>() + ALLOCATION + heap.sum::<usize>()
}

/// What of a text is not in place.
fn text(text: &SmolStr) -> usize {
    match text.is_heap_allocated() {
        true => text.len() + ALLOCATION,
        false => 0,
    }
}
