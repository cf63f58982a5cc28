//! The forms in which spans leave, and what is common to them: spans are encoded as they are pushed, one by one, and a
//! request is put together of that. So nobody but the thread that made a span touches it, and what waits is known to the
//! byte.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use super::{encode, json, zipkin};
use crate::redact::Redacted;
use crate::span::Resource;

/// How spans are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `ExportTraceServiceRequest` in protobuf.
    Protobuf,
    /// `ExportTraceServiceRequest` in JSON.
    Json,
    /// A list of spans in JSON, after Zipkin's second API.
    Zipkin,
}

/// Spans that were pushed together, each encoded for itself.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    spans: Vec<Place>,
    resources: Vec<Arc<Resource>>,
}

/// Where a span is in its chunk, and whose it is.
#[derive(Debug)]
struct Place {
    end: usize,
    resource: usize,
}

impl Chunk {
    pub(super) fn new(form: Form, spans: &[Redacted]) -> Self {
        let mut chunk = Self {
            bytes: Vec::with_capacity(spans.len() * encode::SPAN_BYTES),
            spans: Vec::with_capacity(spans.len()),
            resources: Vec::new(),
        };
        for redacted in spans {
            let span = redacted.span();
            match form {
                Form::Protobuf => encode::span_of_scope(&mut chunk.bytes, span),
                Form::Json => json::encode(&mut chunk.bytes, span),
                Form::Zipkin => zipkin::encode(&mut chunk.bytes, span),
            }
            let place = Place {
                end: chunk.bytes.len(),
                resource: chunk.resource(&span.resource),
            };
            chunk.spans.push(place);
        }
        // It waits for a while, and what was left over for spans larger than these would wait with it.
        chunk.bytes.shrink_to_fit();
        chunk
    }

    /// The place of that resource. A process's spans share one: its address is its identity. Neighbours are few.
    fn resource(&mut self, resource: &Arc<Resource>) -> usize {
        let known = self
            .resources
            .iter()
            .rposition(|known| Arc::ptr_eq(known, resource));
        known.unwrap_or_else(|| {
            self.resources.push(Arc::clone(resource));
            self.resources.len() - 1
        })
    }

    /// Number of spans.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Bytes of the spans in `range`.
    pub(super) fn size(&self, range: Range<usize>) -> usize {
        self.start(range.end) - self.start(range.start)
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.spans[before].end)
    }
}

/// Some spans of a chunk that others may have a share in.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) chunk: Arc<Chunk>,
    pub(super) range: Range<usize>,
}

impl Slice {
    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    pub(super) fn size(&self) -> usize {
        self.chunk.size(self.range.clone())
    }
}

/// What one resource's spans of a request come to.
pub(super) struct Group<'a> {
    pub(super) resource: &'a Resource,
    pub(super) spans: Vec<&'a [u8]>,
}

/// Spans by resource, in order of first appearance.
fn groups(slices: &[Slice]) -> Vec<Group<'_>> {
    let mut found: Vec<(&Arc<Resource>, Vec<&[u8]>)> = Vec::new();
    let mut last = 0;
    for Slice { chunk, range } in slices {
        for index in range.clone() {
            let place = &chunk.spans[index];
            let resource = &chunk.resources[place.resource];
            let same = |group: &(&Arc<Resource>, _)| Arc::ptr_eq(group.0, resource);
            if !found.get(last).is_some_and(same) {
                last = found.iter().position(same).unwrap_or_else(|| {
                    found.push((resource, Vec::new()));
                    found.len() - 1
                });
            }
            found[last].1.push(&chunk.bytes[chunk.start(index)..place.end]);
        }
    }
    found
        .into_iter()
        .map(|(resource, spans)| Group { resource, spans })
        .collect()
}

/// What is sent in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Number of spans.
    pub(super) spans: u64,
    /// In the endpoint's form.
    pub(super) bytes: Bytes,
}

impl Form {
    /// Requests of `slices`, in order, of at most `limit` bytes each unless one span alone is larger.
    pub(super) fn requests(self, slices: Vec<Slice>, limit: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        let mut waiting = vec![slices];
        while let Some(slices) = waiting.pop() {
            let spans: usize = slices.iter().map(Slice::len).sum();
            let groups = groups(&slices);
            let bytes = match self {
                Self::Protobuf => encode::request(&groups),
                Self::Json => json::request(&groups),
                Self::Zipkin => zipkin::request(&groups),
            };
            drop(groups);
            if bytes.len() > limit && spans > 1 {
                let (first, second) = halves(slices, spans / 2);
                waiting.extend([second, first]);
            } else {
                requests.push(Request {
                    spans: spans as u64,
                    bytes: bytes.into(),
                });
            }
        }
        requests
    }

    /// Two requests with about half of the spans each; `None` where there are none, or one, or it cannot be read.
    pub(super) fn split(self, request: &Request) -> Option<[Request; 2]> {
        if request.spans < 2 {
            return None;
        }
        match self {
            Self::Zipkin => zipkin::split(&request.bytes),
            Self::Protobuf => {
                let whole = ExportTraceServiceRequest::decode(&*request.bytes).ok()?;
                Some(divide(whole)?.map(|part| Request {
                    spans: count(&part),
                    bytes: part.encode_to_vec().into(),
                }))
            }
            Self::Json => {
                let whole: ExportTraceServiceRequest = serde_json::from_slice(&request.bytes).ok()?;
                let [first, second] = divide(whole)?;
                let part = |part: ExportTraceServiceRequest| {
                    Some(Request {
                        spans: count(&part),
                        bytes: serde_json::to_vec(&part).ok()?.into(),
                    })
                };
                Some([part(first)?, part(second)?])
            }
        }
    }
}

fn halves(slices: Vec<Slice>, mut first: usize) -> (Vec<Slice>, Vec<Slice>) {
    let mut halves = (Vec::new(), Vec::new());
    for Slice { chunk, range } in slices {
        let here = first.min(range.len());
        first -= here;
        let middle = range.start + here;
        let parts = [
            (&mut halves.0, range.start..middle),
            (&mut halves.1, middle..range.end),
        ];
        for (half, range) in parts {
            if !range.is_empty() {
                half.push(Slice {
                    chunk: Arc::clone(&chunk),
                    range,
                });
            }
        }
    }
    halves
}

fn count(request: &ExportTraceServiceRequest) -> u64 {
    let scopes = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
    scopes.map(|scope| scope.spans.len() as u64).sum()
}

fn divide(mut whole: ExportTraceServiceRequest) -> Option<[ExportTraceServiceRequest; 2]> {
    let mut left = usize::try_from(count(&whole) / 2).ok().filter(|half| *half > 0)?;
    let mut second = whole.clone();
    let scopes = |request: &mut ExportTraceServiceRequest, keep: &mut dyn FnMut(usize) -> Range<usize>| {
        for group in &mut request.resource_spans {
            for scope in &mut group.scope_spans {
                let kept = keep(scope.spans.len());
                scope.spans.truncate(kept.end);
                scope.spans.drain(..kept.start);
            }
            group.scope_spans.retain(|scope| !scope.spans.is_empty());
        }
        request
            .resource_spans
            .retain(|group| !group.scope_spans.is_empty());
    };
    let half = left;
    scopes(&mut whole, &mut |length| {
        let here = left.min(length);
        left -= here;
        0..here
    });
    let mut left = half;
    scopes(&mut second, &mut |length| {
        let here = left.min(length);
        left -= here;
        here..length
    });
    Some([whole, second])
}

#[cfg(test)]
pub(super) fn slices(form: Form, spans: &[Redacted]) -> Vec<Slice> {
    let chunk = Arc::new(Chunk::new(form, spans));
    let range = 0..chunk.len();
    vec![Slice { chunk, range }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::sample::{redacted, resource, span, spans};

    const FORMS: [Form; 3] = [Form::Protobuf, Form::Json, Form::Zipkin];

    /// Ids of spans in a request, each by its first byte.
    fn ids(form: Form, request: &Request) -> Vec<u8> {
        let of_otlp = |request: ExportTraceServiceRequest| {
            let groups = request
                .resource_spans
                .into_iter()
                .flat_map(|group| group.scope_spans);
            groups
                .flat_map(|scope| scope.spans)
                .map(|span| span.span_id[0])
                .collect()
        };
        match form {
            Form::Protobuf => of_otlp(ExportTraceServiceRequest::decode(&*request.bytes).unwrap()),
            Form::Json => of_otlp(serde_json::from_slice(&request.bytes).unwrap()),
            Form::Zipkin => {
                let spans: Vec<serde_json::Value> = serde_json::from_slice(&request.bytes).unwrap();
                let id =
                    |span: &serde_json::Value| u8::from_str_radix(&span["id"].as_str().unwrap()[..2], 16);
                spans.iter().map(|span| id(span).unwrap()).collect()
            }
        }
    }

    #[test]
    fn a_request_has_the_spans_of_all_its_slices() {
        for form in FORMS {
            let (first, second) = (spans(4), spans(9));
            let mut both = slices(form, &first);
            both[0].range = 1..3;
            both.extend(slices(form, &second[6..]));
            let requests = form.requests(both, usize::MAX);
            assert_eq!(requests.len(), 1);
            assert_eq!(
                (ids(form, &requests[0]), requests[0].spans),
                (vec![2, 3, 7, 8, 9], 5)
            );
        }
    }

    #[test]
    fn no_request_is_above_the_limit_unless_a_span_is() {
        for form in FORMS {
            let whole = form.requests(slices(form, &spans(40)), usize::MAX);
            for limit in [1, 700, 2000, 5000, whole[0].bytes.len()] {
                let requests = form.requests(slices(form, &spans(40)), limit);
                let found: Vec<u8> = requests.iter().flat_map(|request| ids(form, request)).collect();
                assert!(found.into_iter().eq(1..=40), "{form:?} {limit}");
                assert!(
                    requests
                        .iter()
                        .all(|request| request.bytes.len() <= limit || request.spans == 1)
                );
            }
        }
    }

    #[test]
    fn a_request_is_split_into_halves_with_all_of_its_spans() {
        let (shop, stock) = (resource("shop"), resource("stock"));
        let mixed: Vec<_> = (1..=9)
            .map(|id| redacted(span(id, id, if id % 3 == 0 { &stock } else { &shop })))
            .collect();
        for form in FORMS {
            let whole = form.requests(slices(form, &mixed), usize::MAX).remove(0);
            let [first, second] = form.split(&whole).unwrap();
            assert_eq!((first.spans, second.spans), (4, 5));
            let mut found = [ids(form, &first), ids(form, &second)].concat();
            assert_eq!(found.len(), 9);
            found.sort_unstable();
            assert!(found.into_iter().eq(1..=9), "{form:?}");
            let one = form.requests(slices(form, &mixed[..1]), usize::MAX).remove(0);
            assert_eq!(form.split(&one), None);
            let broken = Request {
                spans: 9,
                bytes: Bytes::from_static(b"\xff{"),
            };
            assert_eq!(form.split(&broken), None);
        }
    }
}
