//! What spans a test expects, and the comparison of whole lists: each expected span there once, each attribute
//! accounted for, and nothing else.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::{Display, Write as _};
use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use crate::span::{Kind, Span};

/// What an attribute's value must be.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// Exactly this.
    Is(Value),
    /// Any port.
    Port,
    /// A text that begins so.
    Begins(&'static str),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// Exactly this, or no attribute at all: what nobody could see need not be known.
    IsIfAny(Value),
    /// Whatever there is, if anything: it is up to the moment, or to a driver's taste.
    Anything,
}

impl Matcher {
    fn accepts(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else {
            return matches!(self, Self::IsIfAny(_) | Self::Anything);
        };
        match self {
            Self::Is(expected) | Self::IsIfAny(expected) => value == expected,
            Self::Port => value.as_u64().is_some_and(|port| (1..=65_535).contains(&port)),
            Self::Begins(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
            Self::OneOf(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
            Self::Anything => true,
        }
    }
}

/// One expected span.
#[derive(Clone, Debug)]
pub struct Expected {
    kind: Kind,
    name: String,
    subject: String,
    attributes: BTreeMap<&'static str, Matcher>,
    error: bool,
    /// `None` where that is up to the moment.
    answered: Option<bool>,
    service: Option<String>,
    pid: Option<u32>,
}

impl Expected {
    /// A request received over TCP by the service at `address`, whose clients send its address as `Host`, answered
    /// with 200 and no content.
    #[must_use]
    pub fn server(method: &str, target: &str, address: SocketAddr) -> Self {
        Self::received(method, target)
            .is("server.address", address.ip().to_string())
            .is("server.port", address.port())
            .is("client.address", address.ip().to_string())
            .is("network.peer.address", address.ip().to_string())
            .with("network.peer.port", Matcher::Port)
    }

    /// The same over a Unix socket, with `Host: HOST`. The clients' sockets have no path.
    #[must_use]
    pub fn server_unix(method: &str, target: &str, host: &str) -> Self {
        Self::received(method, target)
            .is("server.address", host)
            .is("network.transport", "unix")
    }

    /// A request sent over TCP to `address`, with the address as `Host`, answered with 200 and no content.
    #[must_use]
    pub fn client(method: &str, target: &str, address: SocketAddr) -> Self {
        Self::sent(method, &address.to_string(), target)
            .is("server.address", address.ip().to_string())
            .is("server.port", address.port())
            .is("network.peer.address", address.ip().to_string())
            .is("network.peer.port", address.port())
    }

    /// The same over the Unix socket at `path`, with `Host: HOST`.
    #[must_use]
    pub fn client_unix(method: &str, target: &str, host: &str, path: &str) -> Self {
        Self::sent(method, host, target)
            .is("server.address", host)
            .is("server.port", 80)
            .is("network.peer.address", path)
            .is("network.transport", "unix")
    }

    fn received(method: &str, target: &str) -> Self {
        let (path, query) = path_and_query(method, target);
        let mut expected = Self::any(Kind::Server, method, path)
            .is("url.path", path)
            .is("url.scheme", "http");
        if !query.is_empty() {
            expected = expected.is("url.query", query);
        }
        expected
    }

    fn sent(method: &str, authority: &str, target: &str) -> Self {
        let (path, _) = path_and_query(method, target);
        let url = match (method, target) {
            ("CONNECT", _) => format!("http://{target}"),
            (_, "*") => format!("http://{authority}"),
            _ => format!("http://{authority}{target}"),
        };
        Self::any(Kind::Client, method, path).is("url.full", url)
    }

    /// A span of any protocol, with its [`Span::subject`]; without attributes or events.
    #[must_use]
    pub fn new(kind: Kind, name: &str, subject: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            subject: subject.to_owned(),
            attributes: BTreeMap::new(),
            error: false,
            answered: Some(false),
            service: None,
            pid: None,
        }
    }

    fn any(kind: Kind, method: &str, path: &str) -> Self {
        Self::new(kind, method, path)
            .answered()
            .is("http.request.method", method)
            .is("network.protocol.version", "1.1")
            .status(200)
            .body(0)
    }

    /// The method is none that the conventions know.
    #[must_use]
    pub fn unknown_method(mut self) -> Self {
        let method = std::mem::replace(&mut self.name, "HTTP".to_owned());
        self.is("http.request.method", "_OTHER")
            .is("http.request.method_original", method)
    }

    /// Attribute `key` has exactly this value.
    #[must_use]
    pub fn is(self, key: &'static str, value: impl Into<Value>) -> Self {
        self.with(key, Matcher::Is(value.into()))
    }

    /// Attribute `key` matches.
    #[must_use]
    pub fn with(mut self, key: &'static str, matcher: Matcher) -> Self {
        self.attributes.insert(key, matcher);
        self
    }

    /// There is no attribute `key`.
    #[must_use]
    pub fn without(mut self, key: &'static str) -> Self {
        self.attributes.remove(key);
        self
    }

    /// Status code, with the `error.type` and span status that the conventions give it.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        let error_from = if self.kind == Kind::Server { 500 } else { 400 };
        self.error = status >= error_from;
        let expected = self.is("http.response.status_code", status);
        if status >= error_from {
            expected.is("error.type", status.to_string())
        } else {
            expected.without("error.type")
        }
    }

    /// Length of the response's content.
    #[must_use]
    pub fn body(self, size: u64) -> Self {
        self.is("http.response.body.size", size)
    }

    /// The response has no content, or not all of it came.
    #[must_use]
    pub fn bodiless(self) -> Self {
        self.without("http.response.body.size")
    }

    /// Length of the request's content; there is none otherwise.
    #[must_use]
    pub fn request_body(self, size: u64) -> Self {
        self.is("http.request.body.size", size)
    }

    /// `User-Agent` begins so.
    #[must_use]
    pub fn user_agent(self, prefix: &'static str) -> Self {
        self.with("user_agent.original", Matcher::Begins(prefix))
    }

    /// The first byte of a response was seen.
    #[must_use]
    pub fn answered(mut self) -> Self {
        self.answered = Some(true);
        self
    }

    /// It may have been seen or not.
    #[must_use]
    pub fn perhaps_answered(mut self) -> Self {
        self.answered = None;
        self
    }

    /// There was no response, for this reason.
    #[must_use]
    pub fn unanswered(mut self, error: &'static str) -> Self {
        self.answered = Some(false);
        self.without("http.response.status_code").bodiless().failed(error)
    }

    /// The response broke off, for this reason.
    #[must_use]
    pub fn broken_off(self, error: &'static str) -> Self {
        self.bodiless().failed(error)
    }

    /// It failed with this `error.type`.
    #[must_use]
    pub fn failed(mut self, error: &str) -> Self {
        self.error = true;
        self.is("error.type", error)
    }

    /// `error.type` is one of these: the side that broke a connection off cannot know what the other one saw.
    #[must_use]
    pub fn error_one_of(self, errors: &'static [&'static str]) -> Self {
        self.with("error.type", Matcher::OneOf(errors))
    }

    /// `service.name` of the resource.
    #[must_use]
    pub fn service(mut self, name: &str) -> Self {
        self.service = Some(name.to_owned());
        self
    }

    /// `process.pid` of the resource.
    #[must_use]
    pub fn pid(mut self, pid: u32) -> Self {
        self.pid = Some(pid);
        self
    }

    /// Whether `span` is this, whatever its parent.
    #[must_use]
    pub fn is_this(&self, span: &Span) -> bool {
        self.differences(span).next().is_none()
    }

    /// Every way in which `span` is not this; empty where it is. Said only as far as it is asked for: of many spans most are
    /// another's.
    fn differences<'a>(&'a self, span: &'a Span) -> impl Iterator<Item = String> + 'a {
        let events = || span.events.iter().map(|(name, _)| name.as_str());
        let first_byte = self.answered.unwrap_or(!span.events.is_empty());
        let first_byte = &["http.response.first_byte"][..usize::from(first_byte)];
        let resource = |key: &str| span.resource.get(key).cloned().unwrap_or_default();
        let service = self.service.as_ref();
        let service = service.filter(|service| resource("service.name") != service.as_str());
        let pid = self.pid.filter(|pid| resource("process.pid") != *pid);
        let of_all = [
            (self.kind != span.kind)
                .then(|| differ("kind", format!("{:?}", self.kind), &format!("{:?}", span.kind))),
            (self.name != span.name).then(|| differ("name", &self.name, &span.name)),
            (self.error != span.error).then(|| differ("error status", self.error, &span.error)),
            (!events().eq(first_byte.iter().copied()))
                .then(|| differ("events", format!("{first_byte:?}"), &format!("{:?}", span.events))),
            service.map(|service| differ("service.name", service, &resource("service.name"))),
            pid.map(|pid| differ("process.pid", pid, &resource("process.pid"))),
        ];
        let wanted = self.attributes.iter().filter_map(|(key, matcher)| {
            let value = span.attributes.get(*key);
            let found = || value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            (!matcher.accepts(value)).then(|| differ(key, format!("{matcher:?}"), &found()))
        });
        let over = span.attributes.iter();
        // How a parent was found is for the tests of parents to say. A delivery may be over before anything is published for it.
        let is_of_parent = |key: &str| {
            key == "spanwire.parent.inferred" || key == "spanwire.parent.ended" && span.kind == Kind::Producer
        };
        let over =
            over.filter(move |(key, _)| !self.attributes.contains_key(key.as_str()) && !is_of_parent(key));
        let over = over.map(|(key, value)| differ(key, "nothing", value));
        of_all.into_iter().flatten().chain(wanted).chain(over)
    }
}

fn differ(what: &str, expected: impl Display, found: &impl Display) -> String {
    format!("{what}: expected {expected}, found {found}")
}

/// The target URI of CONNECT and of `*` has neither (RFC 9112, section 3.3).
fn path_and_query<'a>(method: &str, target: &'a str) -> (&'a str, &'a str) {
    if method == "CONNECT" || target == "*" {
        return ("", "");
    }
    target.split_once('?').unwrap_or((target, ""))
}

/// The server's span and the client's span of one exchange over TCP, with the same done to both.
#[must_use]
pub fn both(
    method: &str,
    target: &str,
    address: SocketAddr,
    alike: impl Fn(Expected) -> Expected,
) -> [Expected; 2] {
    [Expected::server, Expected::client].map(|end| alike(end(method, target, address)))
}

/// Compares the whole list, in any order.
///
/// # Errors
/// A span is missing, too many, or different; the message says which and how.
pub fn compare(spans: &[Span], expected: &[Expected]) -> Result<()> {
    let mut by_subject: BTreeMap<(Kind, &str), Vec<&Span>> = BTreeMap::new();
    for span in spans {
        by_subject
            .entry((span.kind, span.subject()))
            .or_default()
            .push(span);
    }
    let mut missing = Vec::new();
    for expected in expected {
        let found = by_subject
            .get_mut(&(expected.kind, expected.subject.as_str()))
            .and_then(|group| {
                let index = group.iter().position(|span| expected.is_this(span))?;
                Some(group.swap_remove(index))
            });
        if found.is_none() {
            missing.push(expected);
        }
    }
    let surplus: Vec<&Span> = by_subject.into_values().flatten().collect();
    if missing.is_empty() && surplus.is_empty() {
        return related(spans);
    }
    bail!("{}", report(spans.len(), expected.len(), &missing, &surplus))
}

/// Whether both ends of each exchange belong together, where both were seen, and what is sent is at most for a request that
/// the same process received.
///
/// # Errors
/// A span has a parent that it cannot have, or none where it has one.
fn related(spans: &[Span]) -> Result<()> {
    let mut senders: BTreeMap<&str, HashSet<&str>> = BTreeMap::new();
    for span in spans.iter().filter(|span| span.kind == Kind::Client) {
        senders.entry(span.subject()).or_default().insert(&span.span_id);
    }
    let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let mut alone: BTreeMap<&str, usize> = BTreeMap::new();
    for span in spans {
        if span.parent.is_empty() {
            ensure!(
                !span.attributes.contains_key("spanwire.parent.inferred"),
                "{span:#?}"
            );
            if span.kind == Kind::Server {
                *alone.entry(span.subject()).or_default() += 1;
            }
            continue;
        }
        let fits = match span.kind {
            Kind::Server => senders
                .get_mut(span.subject())
                .is_some_and(|ids| ids.remove(&*span.parent)),
            Kind::Client | Kind::Producer => by_id.get(&*span.parent).is_some_and(|parent| {
                let process = |span: &Span| span.resource.get("process.pid").cloned();
                matches!(parent.kind, Kind::Server | Kind::Consumer) && process(parent) == process(span)
            }),
            _ => false,
        };
        let parent = by_id.get(&*span.parent);
        ensure!(
            fits && parent.is_some_and(|parent| parent.trace_id == span.trace_id),
            "a parent that it cannot have: {span:#?}\nparent: {parent:#?}"
        );
    }
    for (subject, alone) in alone {
        let childless = senders.get(subject).map_or(0, HashSet::len);
        ensure!(
            childless == 0 || alone == 0,
            "{subject}: {alone} spans of servers and {childless} of clients do not find each other"
        );
    }
    Ok(())
}

/// As much of a report as a person reads.
const SHOWN: usize = 8;

fn report(found: usize, wanted: usize, missing: &[&Expected], surplus: &[&Span]) -> String {
    let mut text = format!(
        "{found} spans, {wanted} expected; {} of these not found, {} spans over",
        missing.len(),
        surplus.len()
    );
    for expected in missing.iter().take(SHOWN) {
        let _ = write!(
            text,
            "\n- not found: {:?} {} {}",
            expected.kind, expected.name, expected.subject
        );
        let nearest = surplus
            .iter()
            .filter(|span| span.kind == expected.kind && span.subject() == expected.subject)
            .map(|span| expected.differences(span).collect::<Vec<_>>())
            .min_by_key(Vec::len);
        for difference in nearest.unwrap_or_default() {
            let _ = write!(text, "\n    nearest: {difference}");
        }
    }
    for span in surplus.iter().take(SHOWN) {
        let _ = write!(
            text,
            "\n- over: {:?} {} {} of {} ({:?})",
            span.kind,
            span.name,
            span.subject(),
            span.resource.get("process.pid").cloned().unwrap_or_default(),
            span.attributes
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 8080))
    }

    fn span(path: &str, id: &str) -> Span {
        let attributes = serde_json::json!({
            "http.request.method": "GET", "url.path": path, "url.scheme": "http",
            "server.address": "127.0.0.1", "server.port": 8080, "client.address": "127.0.0.1",
            "network.peer.address": "127.0.0.1", "network.peer.port": 4242, "network.protocol.version": "1.1",
            "http.response.status_code": 200, "http.response.body.size": 0,
        });
        Span {
            resource: [("process.pid".to_owned(), 7.into())].into(),
            scope: "spanwire".to_owned(),
            schema: "https://opentelemetry.io/schemas/1.0.0".to_owned(),
            trace_id: "1".repeat(32),
            span_id: id.to_owned(),
            parent: String::new(),
            state: String::new(),
            kind: Kind::Server,
            name: "GET".to_owned(),
            start: 1,
            end: 2,
            attributes: serde_json::from_value(attributes).unwrap(),
            events: vec![("http.response.first_byte".to_owned(), 2)],
            links: Vec::new(),
            error: false,
            description: String::new(),
        }
    }

    fn expected(path: &str) -> Expected {
        Expected::server("GET", path, address())
    }

    #[test]
    fn equal_lists_in_any_order_are_equal() {
        let spans = [span("/a", "1"), span("/b", "2"), span("/a", "3")];
        compare(&spans, &[expected("/a"), expected("/a"), expected("/b")]).unwrap();
    }

    #[test]
    fn one_too_many_one_missing_and_one_attribute_each_fail() {
        let one = [span("/a", "1")];
        let two = [span("/a", "1"), span("/a", "2")];
        for (spans, list, complaint) in [
            (&two[..], vec![expected("/a")], "1 spans over"),
            (&one, vec![expected("/a"), expected("/a")], "1 of these not found"),
            (
                &one,
                vec![expected("/a").request_body(3)],
                "http.request.body.size: expected",
            ),
            (
                &one,
                vec![expected("/a").without("url.scheme")],
                "url.scheme: expected nothing",
            ),
            (
                &one,
                vec![expected("/a").status(500)],
                "error status: expected true",
            ),
            (
                &one,
                vec![expected("/a").pid(8)],
                "process.pid: expected 8, found 7",
            ),
            (
                &one,
                vec![expected("/a").unanswered("connection_reset")],
                "events",
            ),
        ] {
            let message = compare(spans, &list).unwrap_err().to_string();
            assert!(message.contains(complaint), "{complaint} in {message}");
        }
    }
}
