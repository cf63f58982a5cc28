//! The way from HTTP/1.1 (RFC 7540, section 3.2): what was asked there is answered on stream 1.

use super::connection::Connection;
use super::fields::Fields;
use super::head::Head;
use super::stream::Half;
use super::{Limits, Outcome};
use crate::protocol::http1;

/// Fields of a request that concern its connection alone (RFC 9113, section 8.2.2), or that a pseudo-header field says.
const LEFT_OUT: [&str; 5] = ["connection", "host", "http2-settings", "keep-alive", "upgrade"];

impl<S: Copy> Connection<S> {
    /// Goes on where `first` was upgraded by `exchange`, whose request is answered here.
    ///
    /// # Errors
    ///
    /// Gives `exchange` back where that was no upgrade to HTTP/2.
    pub fn upgraded(
        limits: Limits,
        first: &mut http1::Connection<S>,
        exchange: Box<http1::Exchange<S>>,
        out: &mut Vec<Outcome<S>>,
    ) -> Result<Self, Box<http1::Exchange<S>>> {
        let is_upgrade = exchange.ending == http1::Ending::Upgraded;
        let Some(rest) = first.take_rest().filter(|_| is_upgrade) else {
            return Err(exchange);
        };
        let mut connection = Self::new(limits);
        connection
            .streams
            .begin_with(request(&exchange.request, limits.head));
        for (flow, released) in rest {
            connection.read(flow, released.stamp, released.piece(), out);
        }
        Ok(connection)
    }
}

/// The same request in the words of HTTP/2.
fn request<S: Copy>(request: &http1::Request<S>, limit: usize) -> Half<S> {
    let head = &request.head;
    let mut fields = Fields::new(limit);
    fields.push(Some(b":method"), Some(head.method()));
    fields.push(Some(b":scheme"), Some(b"http"));
    fields.push(Some(b":path"), Some(head.target()));
    if let Some(host) = head.header("host") {
        fields.push(Some(b":authority"), Some(host));
    }
    for (name, value) in head.headers() {
        let name = name.to_ascii_lowercase();
        if !LEFT_OUT.iter().any(|left| left.as_bytes() == name) {
            fields.push(Some(&name), Some(value));
        }
    }
    if head.is_cut() {
        fields.cut_here();
    }
    let mut half = Half::new(request.first);
    half.begin(Head::new(fields), request.first, request.last);
    half.body = request.body;
    half.complete = request.complete;
    // It was not counted.
    half.counter.lose();
    half
}
