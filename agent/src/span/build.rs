//! An HTTP exchange becomes a span, to the letter of the stable HTTP conventions
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>, version in [`name::SCHEMA_URL`]).
//!
//! What is not known has no attribute: nothing here is made up.

use smol_str::{SmolStr, ToSmolStr as _, format_smolstr};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use super::address;
use super::forwarded::Forwarded;
use super::semconv as name;
use super::target::{Authority, Target, default_port};
use super::{Attribute, Event, Kind, Resource, Span, SpanId, Status, TraceId, UnixNanoseconds, Value};
use crate::connection::{Address, Close, Endpoints};

#[cfg(test)]
mod tests;

/// What configuration decides about HTTP spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRules {
    /// Methods that are taken as known, case-sensitive (`OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` overrides all).
    pub known_methods: Vec<String>,
    /// Request headers to record, in lower case. None by default: headers hold secrets.
    pub request_headers: Vec<String>,
    /// Response headers to record, in lower case. None by default.
    pub response_headers: Vec<String>,
}

impl Default for HttpRules {
    fn default() -> Self {
        Self {
            known_methods: name::KNOWN_METHODS
                .iter()
                .map(|method| (*method).to_owned())
                .collect(),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
        }
    }
}

/// Version of HTTP on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl HttpVersion {
    /// `network.protocol.version`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// The request of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// Method as it was sent; `None` where it is not known.
    pub method: Option<&'a str>,
    /// Request target as it was sent, in any of its forms; `None` where it is not known.
    pub target: Option<&'a str>,
    /// Scheme, where the request names it apart from its target.
    pub scheme: Option<&'a str>,
    /// Version.
    pub version: HttpVersion,
    /// Header fields in the order on the wire; names in any case. At least those that [`is_header_used`] names.
    pub headers: &'a [(&'a str, &'a str)],
    /// Length of the content in bytes without its transfer coding, `None` where it is not known.
    pub body_size: Option<u64>,
    /// The head was over the limit: fields, or the end of the target, are missing.
    pub is_cut: bool,
    /// Fields that refer to what was never seen, on a connection joined late.
    pub unknown_fields: usize,
}

/// The final response of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct HttpResponse<'a> {
    /// Status code; `None` where it is not known.
    pub status: Option<u16>,
    /// Header fields, as in [`HttpRequest::headers`].
    pub headers: &'a [(&'a str, &'a str)],
    /// Length of the content in bytes without its transfer coding, `None` where it is not known.
    pub body_size: Option<u64>,
    /// When its first byte was on the wire.
    pub first_byte: UnixNanoseconds,
    /// The message ended where it should.
    pub complete: bool,
    /// The head was over the limit: fields are missing.
    pub is_cut: bool,
    /// Fields that refer to what was never seen, on a connection joined late.
    pub unknown_fields: usize,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the end of the response.
    Complete,
    /// The connection speaks something else from here on (101, or 2xx to CONNECT).
    Upgraded,
    /// Unknown: bytes of the response were lost, and perhaps its end with them.
    Unseen,
    /// The client or the server gave up this exchange alone, for a reason that has a name in HTTP/2.
    Reset(Kind, &'static str),
    /// The server went away without having looked at the request.
    Refused,
    /// With the connection, or with spanwire.
    Close(Close),
}

/// A request, its response if there was one, and where and when that was.
#[derive(Clone, Debug)]
pub struct HttpExchange<'a> {
    /// `Server` where the request was received, `Client` where it was sent.
    pub kind: Kind,
    /// Trace.
    pub trace_id: TraceId,
    /// Id of the span to be built.
    pub span_id: SpanId,
    /// Parent, `None` at the root.
    pub parent: Option<SpanId>,
    /// W3C `tracestate`, empty where there is none.
    pub state: SmolStr,
    /// The process.
    pub resource: Arc<Resource>,
    /// Both ends of the connection.
    pub endpoints: &'a Endpoints,
    /// First byte of the request.
    pub start: UnixNanoseconds,
    /// Last byte of the response, or the moment at which it was clear that there is none to come.
    pub end: UnixNanoseconds,
    /// Request.
    pub request: HttpRequest<'a>,
    /// Final response, `None` where not one byte of its head was seen whole.
    pub response: Option<HttpResponse<'a>>,
    /// How it ended.
    pub ending: Ending,
}

/// Whether a request header, its name in any case, has any part in a span under `rules`; the rest need not be kept.
#[must_use]
pub fn is_header_used(header: &[u8], rules: &HttpRules) -> bool {
    const ALWAYS: [&str; 6] = [
        "host",
        "user-agent",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    let rules = rules.request_headers.iter().map(String::as_str);
    ALWAYS
        .into_iter()
        .chain(rules)
        .any(|used| header.eq_ignore_ascii_case(used.as_bytes()))
}

/// The span of `exchange`.
#[must_use]
pub fn http(exchange: HttpExchange<'_>, rules: &HttpRules) -> Span {
    let request = &exchange.request;
    let mut attributes = Attributes(Vec::with_capacity(20));
    let method = attributes.method(request.method, rules);
    let target = Target::parse(
        request.target.unwrap_or_default(),
        request.method == Some("CONNECT"),
    );
    match exchange.kind {
        Kind::Server => attributes.server(&exchange, target),
        Kind::Client | Kind::Producer | Kind::Consumer => attributes.client(&exchange, target),
    }
    attributes.network(&exchange.endpoints.remote, exchange.request.version.as_str());
    if let Some(agent) = header(request.headers, "user-agent").filter(|agent| !agent.is_empty()) {
        attributes.copy(name::USER_AGENT_ORIGINAL, agent);
    }
    attributes.size(name::HTTP_REQUEST_BODY_SIZE, request.body_size);
    attributes.mark(name::REQUEST_HEAD_TRUNCATED, request.is_cut);
    attributes.count(name::REQUEST_HEAD_UNKNOWN_FIELDS, request.unknown_fields);
    if let Some(response) = &exchange.response {
        if let Some(status) = response.status {
            attributes.integer(name::HTTP_RESPONSE_STATUS_CODE, status.into());
        }
        attributes.size(name::HTTP_RESPONSE_BODY_SIZE, response.body_size);
        attributes.mark(name::RESPONSE_HEAD_TRUNCATED, response.is_cut);
        attributes.count(name::RESPONSE_HEAD_UNKNOWN_FIELDS, response.unknown_fields);
    }
    let (error, status) = outcome(&exchange);
    if let Some(error) = error {
        attributes.text(name::ERROR_TYPE, error);
    }
    // Last, since only they can be so many that a limit takes some away.
    attributes.headers(name::HTTP_REQUEST_HEADER, &rules.request_headers, request.headers);
    if let Some(response) = &exchange.response {
        attributes.headers(
            name::HTTP_RESPONSE_HEADER,
            &rules.response_headers,
            response.headers,
        );
    }
    let end = exchange.end.max(exchange.start);
    let first_byte = exchange.response.map(|response| Event {
        name: SmolStr::new_static(name::EVENT_FIRST_BYTE),
        time: response.first_byte.clamp(exchange.start, end),
        attributes: Vec::new(),
        dropped_attributes: 0,
    });
    Span {
        trace_id: exchange.trace_id,
        span_id: exchange.span_id,
        parent: exchange.parent,
        state: exchange.state,
        kind: exchange.kind,
        name: method,
        start: exchange.start,
        end,
        attributes: attributes.0,
        dropped_attributes: 0,
        events: first_byte.into_iter().collect(),
        dropped_events: 0,
        link: None,
        status,
        resource: exchange.resource,
    }
}

/// `error.type` and status. A code that is an error by itself needs no description.
fn outcome(exchange: &HttpExchange<'_>) -> (Option<SmolStr>, Status) {
    let failed_from = match exchange.kind {
        Kind::Server => 500,
        Kind::Client | Kind::Producer | Kind::Consumer => 400,
    };
    let status = exchange.response.and_then(|response| response.status);
    if let Some(status) = status.filter(|status| *status >= failed_from || *status < 100) {
        return (Some(status.to_smolstr()), Status::Error(SmolStr::new_static("")));
    }
    ended(
        exchange.ending,
        exchange.response.map(|response| response.complete),
    )
}

/// `error.type` and status of what ended otherwise than by what was said; `response` tells whether it is complete.
pub(super) fn ended(ending: Ending, response: Option<bool>) -> (Option<SmolStr>, Status) {
    let what = match response {
        None => "before the response",
        Some(false) => "in the middle of the response",
        Some(true) => return (None, Status::Unset),
    };
    let (error, how) = match ending {
        Ending::Complete | Ending::Upgraded | Ending::Unseen => return (None, Status::Unset),
        Ending::Reset(Kind::Server, code) => (code, "server gave up"),
        Ending::Reset(_, code) => (code, "client gave up"),
        Ending::Refused => ("REFUSED_STREAM", "server went away"),
        Ending::Close(Close::Closed) => ("connection_closed", "connection closed"),
        Ending::Close(Close::Reset) => ("connection_reset", "connection reset"),
        Ending::Close(Close::TimedOut) => ("connection_timeout", "connection timed out"),
        Ending::Close(Close::Stopped) => ("spanwire_stopped", "spanwire stopped"),
    };
    (
        Some(SmolStr::new_static(error)),
        Status::Error(format_smolstr!("{how} {what}")),
    )
}

/// Attributes under construction.
pub(super) struct Attributes(pub(super) Vec<Attribute>);

impl Attributes {
    pub(super) fn push(&mut self, key: impl Into<Cow<'static, str>>, value: Value) {
        self.0.push(Attribute {
            key: key.into(),
            value,
        });
    }

    pub(super) fn text(&mut self, key: &'static str, value: impl Into<SmolStr>) {
        self.push(key, Value::Text(value.into()));
    }

    pub(super) fn copy(&mut self, key: &'static str, value: &str) {
        self.text(key, SmolStr::new(value));
    }

    pub(super) fn integer(&mut self, key: &'static str, value: i64) {
        self.push(key, Value::Integer(value));
    }

    /// An attribute that is there only where it is true.
    pub(super) fn mark(&mut self, key: &'static str, applies: bool) {
        if applies {
            self.push(key, Value::Boolean(true));
        }
    }

    /// A number that is there only where it is not 0.
    pub(super) fn count(&mut self, key: &'static str, count: usize) {
        self.size(key, Some(count as u64).filter(|count| *count > 0));
    }

    pub(super) fn size(&mut self, key: &'static str, size: Option<u64>) {
        if let Some(size) = size.and_then(|size| i64::try_from(size).ok()) {
            self.integer(key, size);
        }
    }

    /// The method, and the span's name made of it: there is no route on the wire.
    fn method(&mut self, method: Option<&str>, rules: &HttpRules) -> SmolStr {
        let Some(method) = method else {
            return SmolStr::new_static("HTTP");
        };
        if !rules.known_methods.iter().any(|known| known == method) {
            self.text(name::HTTP_REQUEST_METHOD, name::OTHER);
            self.copy(name::HTTP_REQUEST_METHOD_ORIGINAL, method);
            return SmolStr::new_static("HTTP");
        }
        let method = SmolStr::new(method);
        self.text(name::HTTP_REQUEST_METHOD, method.clone());
        method
    }

    fn server(&mut self, exchange: &HttpExchange<'_>, target: Target<'_>) {
        let headers = exchange.request.headers;
        let forwarded = Forwarded::read(headers.iter().copied());
        let (path, query) = target.path_and_query();
        let scheme = match (forwarded.scheme.or(exchange.request.scheme), target) {
            (Some(scheme), _) | (None, Target::Absolute { scheme, .. }) => lower_case(scheme),
            _ => SmolStr::new_static("http"),
        };
        let own = exchange.endpoints.local.port();
        let server = forwarded
            .host
            .map(|host| (host, forwarded.scheme.and_then(default_port)));
        if exchange.request.target.is_some() {
            self.copy(name::URL_PATH, path);
        }
        if let Some(query) = query.filter(|query| !query.is_empty()) {
            self.copy(name::URL_QUERY, query);
        }
        // A host without a port means the scheme's, but clients and proxies that rewrite the header are careless:
        // it is believed where the connection agrees, and left out where it does not.
        let server = server.or_else(|| Some((authority(target, headers)?, own.filter(|port| *port == 80))));
        self.text(name::URL_SCHEME, scheme);
        match server {
            Some((authority, implied)) => self.server_address(authority, implied),
            None => self.address(name::SERVER_ADDRESS, name::SERVER_PORT, &exchange.endpoints.local),
        }
        match (forwarded.client, &exchange.endpoints.remote) {
            (Some(client), _) => self.text(name::CLIENT_ADDRESS, client.to_smolstr()),
            (None, Address::Ip(peer)) => {
                self.text(name::CLIENT_ADDRESS, address::text(peer.ip()));
            }
            (None, Address::Unix(Some(path))) => self.copy(name::CLIENT_ADDRESS, path),
            (None, Address::Unix(None)) => {}
        }
    }

    fn client(&mut self, exchange: &HttpExchange<'_>, target: Target<'_>) {
        let peer = &exchange.endpoints.remote;
        let authority = authority(target, exchange.request.headers);
        if let Some(url) = full_url(&exchange.request, target, authority, peer) {
            self.text(name::URL_FULL, url);
        }
        match authority {
            Some(authority) => {
                // Required of clients, and a Unix socket has none: then it is what `url.full` implies.
                let implied = peer.port().or_else(|| target.default_port());
                self.server_address(authority, implied);
            }
            None => self.address(name::SERVER_ADDRESS, name::SERVER_PORT, peer),
        }
    }

    pub(super) fn server_address(&mut self, authority: Authority<'_>, implied: Option<u16>) {
        self.copy(name::SERVER_ADDRESS, authority.host);
        if let Some(port) = authority.port.or(implied) {
            self.integer(name::SERVER_PORT, port.into());
        }
    }

    pub(super) fn network(&mut self, peer: &Address, version: &'static str) {
        self.address(name::NETWORK_PEER_ADDRESS, name::NETWORK_PEER_PORT, peer);
        self.text(name::NETWORK_PROTOCOL_VERSION, version);
        if matches!(peer, Address::Unix(_)) {
            self.text(name::NETWORK_TRANSPORT, "unix");
        }
    }

    pub(super) fn address(&mut self, key: &'static str, port_key: &'static str, address: &Address) {
        match address {
            Address::Ip(address) => {
                self.text(key, address::text(address.ip()));
                self.integer(port_key, address.port().into());
            }
            Address::Unix(Some(path)) => self.copy(key, path),
            Address::Unix(None) => {}
        }
    }

    pub(super) fn headers(&mut self, prefix: &str, allowed: &[String], headers: &[(&str, &str)]) {
        for allowed in allowed {
            let same = headers
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(allowed));
            let values: Vec<String> = same.map(|(_, value)| (*value).to_owned()).collect();
            if !values.is_empty() {
                self.push(format!("{prefix}{allowed}"), Value::Texts(values.into()));
            }
        }
    }
}

/// Whom the request is for: the target's own authority, which overrules `Host` (RFC 9112, section 3.2.2), else `Host`.
fn authority<'a>(target: Target<'a>, headers: &[(&'a str, &'a str)]) -> Option<Authority<'a>> {
    match target {
        Target::Absolute {
            authority: Some(authority),
            ..
        }
        | Target::Authority(authority) => Some(authority),
        _ => header(headers, "host").and_then(Authority::parse),
    }
}

/// The target URI, put together as RFC 9112, section 3.3 says; user information stays for `redact`. `None` where
/// nobody said which host is meant and the socket has no address to stand in for it.
fn full_url(
    request: &HttpRequest<'_>,
    target: Target<'_>,
    authority: Option<Authority<'_>>,
    peer: &Address,
) -> Option<String> {
    let raw = request.target?;
    if matches!(target, Target::Absolute { .. }) {
        return Some(raw.to_owned());
    }
    let mut url = String::with_capacity(96);
    url.push_str(request.scheme.unwrap_or("http"));
    url.push_str("://");
    match (authority, peer) {
        (Some(Authority { host, port }), _) => push_authority(&mut url, host, port),
        (None, Address::Ip(peer)) => {
            let port = Some(peer.port()).filter(|port| *port != 80);
            push_authority(&mut url, &address::text(peer.ip()), port);
        }
        (None, Address::Unix(_)) => return None,
    }
    match target {
        Target::Origin { .. } => url.push_str(raw),
        Target::Other(target) => {
            url.push('/');
            url.push_str(target);
        }
        Target::Absolute { .. } | Target::Authority(_) | Target::Asterisk => {}
    }
    Some(url)
}

fn push_authority(url: &mut String, host: &str, port: Option<u16>) {
    if host.contains(':') {
        url.push('[');
        url.push_str(host);
        url.push(']');
    } else {
        url.push_str(host);
    }
    if let Some(port) = port {
        // A string takes all.
        let _ = write!(url, ":{port}");
    }
}

/// Value of the first field called `name`, in lower case.
fn header<'a>(headers: &[(&'a str, &'a str)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| *value)
}

fn lower_case(text: &str) -> SmolStr {
    match text {
        "http" => SmolStr::new_static("http"),
        "https" => SmolStr::new_static("https"),
        other => other.to_ascii_lowercase().into(),
    }
}
