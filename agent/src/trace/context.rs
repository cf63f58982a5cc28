//! Trace context as requests carry it.
//!
//! | format | fields | source |
//! |---|---|---|
//! | W3C | `traceparent`, `tracestate` | <https://www.w3.org/TR/trace-context-2/> |
//! | B3 | `b3`, or `x-b3-traceid` and its like | <https://github.com/openzipkin/b3-propagation> |
//! | Jaeger | `uber-trace-id` | <https://www.jaegertracing.io/docs/1.62/client-libraries/#propagation-format> |
//!
//! The first of these that is there and well-formed is taken. What is malformed is as good as absent, but is counted: some
//! client of this service loses its traces there.

use crate::span::{SpanId, TraceId};
use smol_str::SmolStr;

#[cfg(test)]
mod tests;

/// Members of a `tracestate`; one with more is dropped whole (section 3.3.1.1).
const MEMBERS: usize = 32;

/// Bytes of a `tracestate` that everybody has to carry on (section 3.3.1.5). Over it, whole members are left out.
const STATE: usize = 512;

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Trace it belongs to.
    pub trace_id: TraceId,
    /// Span that it was sent from.
    pub parent: SpanId,
    /// `trace-flags` of W3C: bit 0 says that the trace is sampled, bit 1 that its id is random. What another format does
    /// not say is 0.
    pub flags: u8,
    /// Nothing was decided yet, which formats other than W3C's may say: whoever receives it decides.
    pub is_deferred: bool,
    /// `tracestate`, empty where there is none.
    pub state: SmolStr,
}

/// `trace-flags`: the trace is recorded.
pub const SAMPLED: u8 = 1;

/// What the header fields of a request say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// The context, if there is a well-formed one.
    pub context: Option<Context>,
    /// Formats that are there and malformed.
    pub malformed: u32,
}

/// Header fields that carry a context; to be shown all of a request's, in their order.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    parent: Once<'a>,
    states: Vec<&'a [u8]>,
    b3: Once<'a>,
    b3_trace: Once<'a>,
    b3_span: Once<'a>,
    b3_sampled: Once<'a>,
    b3_flags: Once<'a>,
    jaeger: Once<'a>,
}

/// Reads one format.
type Read<'a> = fn(&Fields<'a>) -> Option<Context>;

/// A field that may be there once. More of them cannot be told apart, so that none counts.
#[derive(Clone, Copy, Debug, Default)]
enum Once<'a> {
    #[default]
    Absent,
    Here(&'a [u8]),
    Again,
}

impl<'a> Once<'a> {
    fn set(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Absent => Self::Here(value.trim_ascii()),
            Self::Here(_) | Self::Again => Self::Again,
        };
    }

    const fn is_there(self) -> bool {
        !matches!(self, Self::Absent)
    }

    const fn value(self) -> Option<&'a [u8]> {
        match self {
            Self::Here(value) => Some(value),
            Self::Absent | Self::Again => None,
        }
    }
}

impl<'a> Fields<'a> {
    /// Shows a field, its name in any case.
    pub fn show(&mut self, name: &[u8], value: &'a [u8]) {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        // Nearly all fields are told by the length of their names alone.
        match name.len() {
            2 if is("b3") => self.b3.set(value),
            10 if is("tracestate") => self.states.push(value),
            11 if is("traceparent") => self.parent.set(value),
            11 if is("x-b3-spanid") => self.b3_span.set(value),
            10 if is("x-b3-flags") => self.b3_flags.set(value),
            12 if is("x-b3-traceid") => self.b3_trace.set(value),
            12 if is("x-b3-sampled") => self.b3_sampled.set(value),
            13 if is("uber-trace-id") => self.jaeger.set(value),
            _ => {}
        }
    }

    /// What they say together.
    #[must_use]
    pub fn read(&self) -> Extracted {
        let mut extracted = Extracted::default();
        // B3 may carry a decision without a trace.
        let has_b3 = self.b3.is_there() && self.b3.value().is_none_or(|value| decision(value).is_none());
        let formats: [(bool, Read<'a>); 4] = [
            (self.parent.is_there(), Self::w3c),
            (has_b3, Self::b3_single),
            (
                self.b3_trace.is_there() || self.b3_span.is_there(),
                Self::b3_several,
            ),
            (self.jaeger.is_there(), Self::jaeger),
        ];
        for (is_there, read) in formats {
            if extracted.context.is_none() && is_there {
                extracted.context = read(self);
                extracted.malformed += u32::from(extracted.context.is_none());
            }
        }
        extracted
    }

    /// `traceparent` (section 3.2): version, trace id, parent id and flags.
    fn w3c(&self) -> Option<Context> {
        let value = self.parent.value()?;
        let (fixed, rest) = value.split_at_checked(55)?;
        let [version, trace_id, parent, flags] = parts(fixed)?;
        let version = byte(version)?;
        // Later versions may add to it.
        let is_version = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|first| *first == b'-'),
        };
        let is_lower_case = !fixed.iter().any(u8::is_ascii_uppercase);
        (is_version && is_lower_case && trace_id.len() == 32 && parent.len() == 16).then_some(())?;
        Some(Context {
            trace_id: trace(trace_id)?,
            parent: span(parent)?,
            flags: byte(flags)? & 3,
            is_deferred: false,
            state: state(&self.states),
        })
    }

    /// `b3: {trace id}-{span id}[-{decision}[-{parent span id}]]`
    fn b3_single(&self) -> Option<Context> {
        let mut parts = self.b3.value()?.split(|byte| *byte == b'-');
        let (trace_id, parent) = (parts.next()?, parts.next()?);
        let flags = match parts.next() {
            Some(value) => Some(decision(value)?),
            None => None,
        };
        let grandparent = parts.next();
        (grandparent.is_none_or(|id| span(id).is_some()) && parts.next().is_none()).then_some(())?;
        b3(trace_id, parent, flags)
    }

    fn b3_several(&self) -> Option<Context> {
        let flags = match (self.b3_flags.value(), self.b3_sampled.value()) {
            (Some(b"1"), _) => Some(SAMPLED),
            (_, Some(sampled)) => Some(decision(sampled)?),
            (_, None) => None,
        };
        b3(self.b3_trace.value()?, self.b3_span.value()?, flags)
    }

    /// `uber-trace-id: {trace id}:{span id}:{parent span id, deprecated}:{flags}`, leading zeroes left out; some clients
    /// write the colon as in a URL.
    fn jaeger(&self) -> Option<Context> {
        let value = std::str::from_utf8(self.jaeger.value()?).ok()?;
        let value = value.replace("%3A", ":").replace("%3a", ":");
        let parts: Vec<_> = value.split(':').collect();
        let [trace_id, parent, _, flags] = parts[..] else {
            return None;
        };
        let padded = |text: &str, width: usize| (text.len() <= width).then(|| format!("{text:0>width$}"));
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Context {
            trace_id: trace(padded(trace_id, 32)?.as_bytes())?,
            parent: span(padded(parent, 16)?.as_bytes())?,
            flags: flags & SAMPLED,
            is_deferred: false,
            state: SmolStr::default(),
        })
    }
}

/// Ids of B3: a trace's may have 64 bits only. It may leave the decision to others.
fn b3(trace_id: &[u8], parent: &[u8], flags: Option<u8>) -> Option<Context> {
    let mut wide = [b'0'; 32];
    match trace_id.len() {
        16 => wide[16..].copy_from_slice(trace_id),
        32 => wide.copy_from_slice(trace_id),
        _ => return None,
    }
    Some(Context {
        trace_id: trace(&wide)?,
        parent: span(parent)?,
        flags: flags.unwrap_or_default(),
        is_deferred: flags.is_none(),
        state: SmolStr::default(),
    })
}

/// Flags for a decision of B3: `d` is one for debugging, which is sampled.
fn decision(value: &[u8]) -> Option<u8> {
    match value {
        b"1" | b"d" | b"true" => Some(SAMPLED),
        b"0" | b"false" => Some(0),
        _ => None,
    }
}

/// Four parts with dashes between them.
fn parts(value: &[u8]) -> Option<[&[u8]; 4]> {
    let mut parts = value.split(|byte| *byte == b'-');
    let four = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(four)
}

fn byte(digits: &[u8]) -> Option<u8> {
    hex::<1>(digits).map(|[byte]| byte)
}

/// A trace id, which is not all zero.
fn trace(digits: &[u8]) -> Option<TraceId> {
    hex(digits).filter(|id| *id != [0; 16]).map(TraceId)
}

/// A span id, which is not all zero.
fn span(digits: &[u8]) -> Option<SpanId> {
    hex(digits).filter(|id| *id != [0; 8]).map(SpanId)
}

/// As many bytes as there are, of two digits each.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = digits.as_chunks::<2>();
    (pairs.len() == N && rest.is_empty()).then_some(())?;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// The members of all `tracestate` fields in one (section 3.3.1); empty where that is not well-formed, since whoever is
/// named there must not be told half of it.
fn state(fields: &[&[u8]]) -> SmolStr {
    members(fields).map_or_else(SmolStr::default, |members| {
        let mut state = String::new();
        for member in members {
            let comma = usize::from(!state.is_empty());
            if state.len() + comma + member.len() > STATE {
                break;
            }
            if comma > 0 {
                state.push(',');
            }
            state.push_str(member);
        }
        state.into()
    })
}

fn members<'a>(fields: &[&'a [u8]]) -> Option<Vec<&'a str>> {
    let mut members: Vec<&str> = Vec::new();
    for field in fields {
        for member in std::str::from_utf8(field).ok()?.split(',') {
            let member = member.trim_matches([' ', '\t']);
            // Members may be empty.
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let is_again = members
                .iter()
                .any(|other| other.split_once('=').is_some_and(|(it, _)| it == key));
            (is_key(key) && is_value(value) && !is_again && members.len() < MEMBERS).then_some(())?;
            members.push(member);
        }
    }
    Some(members)
}

/// Section 3.3.1.3.1.
fn is_key(key: &str) -> bool {
    let begins = key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    let may = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    begins && key.len() <= 256 && key.bytes().all(may)
}

/// Section 3.3.1.3.2.
fn is_value(value: &str) -> bool {
    let may = |byte: u8| (0x20..=0x7e).contains(&byte) && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && !value.ends_with(' ') && value.bytes().all(may)
}
