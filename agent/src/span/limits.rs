//! How much a span carries (OpenTelemetry trace SDK specification, "Span Limits").

use super::Span;

/// Most of each. What is over goes from the end, and the span says how much that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attributes of a span.
    pub attributes: usize,
    /// Events of a span.
    pub events: usize,
    /// Attributes of an event.
    pub event_attributes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attributes: 128,
            events: 128,
            event_attributes: 128,
        }
    }
}

impl Limits {
    /// Takes out of `span` what is too much.
    pub fn apply(&self, span: &mut Span) {
        span.dropped_attributes += cut(&mut span.attributes, self.attributes);
        span.dropped_events += cut(&mut span.events, self.events);
        for event in &mut span.events {
            event.dropped_attributes += cut(&mut event.attributes, self.event_attributes);
        }
    }
}

fn cut<T>(all: &mut Vec<T>, limit: usize) -> u32 {
    let dropped = all.len().saturating_sub(limit);
    all.truncate(limit);
    u32::try_from(dropped).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::span::example::example;
    use crate::span::{Attribute, Event, OwnRules, Resource, UnixNanoseconds, Value};

    fn attributes(count: i64) -> Vec<Attribute> {
        (0..count)
            .map(|number| Attribute {
                key: number.to_string().into(),
                value: Value::Integer(number),
            })
            .collect()
    }

    fn span() -> Span {
        let event = |name: &'static str| Event {
            name: name.into(),
            time: UnixNanoseconds(1),
            attributes: attributes(2),
            dropped_attributes: 0,
        };
        Span {
            attributes: attributes(3),
            events: vec![event("first"), event("second")],
            resource: Arc::new(Resource {
                own: OwnRules::default(),
                pid: 1,
                attributes: attributes(9),
            }),
            ..example()
        }
    }

    /// What is left of 3 attributes and 2 events of 2 attributes each, and what is said to be dropped.
    fn check(limits: &Limits, left: [usize; 3], dropped: [u32; 3]) {
        let mut span = span();
        limits.apply(&mut span);
        let event = span.events.first();
        assert_eq!(
            [
                span.attributes.len(),
                span.events.len(),
                event.map_or(0, |event| event.attributes.len())
            ],
            left
        );
        assert_eq!(
            [
                span.dropped_attributes,
                span.dropped_events,
                event.map_or(0, |event| event.dropped_attributes)
            ],
            dropped
        );
        assert_eq!(span.attributes, attributes(3)[..left[0]]);
        assert_eq!(span.resource.attributes, attributes(9), "resources have no limit");
    }

    #[test]
    fn what_is_too_much_is_dropped_from_the_end_and_counted() {
        let limits = |attributes, events, event_attributes| Limits {
            attributes,
            events,
            event_attributes,
        };
        check(&Limits::default(), [3, 2, 2], [0, 0, 0]);
        check(&limits(3, 2, 2), [3, 2, 2], [0, 0, 0]);
        check(&limits(1, 1, 1), [1, 1, 1], [2, 1, 1]);
        check(&limits(0, 2, 0), [0, 2, 0], [3, 0, 2]);
        check(&limits(3, 0, 2), [3, 0, 0], [0, 2, 0]);
    }
}
