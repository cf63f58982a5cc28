//! Records in, exchanges and counted losses out.

use super::*;
use crate::connection::Address;
use crate::kernel::events::{Began, Cause, Decision};
use crate::span::{SpanId, TraceId};

const ID: ConnectionId = ConnectionId { sock: 1, born: 2 };

fn origin(direction: Direction, sequence: u32, position: u64) -> Origin {
    Origin {
        connection: ID,
        direction,
        protocol: spanwire_ebpf::protocol::HTTP1,
        time: 10,
        pid: 3,
        tid: 4,
        sequence,
        position,
    }
}

fn opened() -> Event<'static> {
    let end = || Address::Unix(None);
    let endpoints = Endpoints {
        local: end(),
        remote: end(),
    };
    Event::Opened {
        origin: origin(Direction::Received, 0, 0),
        endpoints,
        inode: None,
        late: false,
        peer: None,
        aligned: false,
        client: None,
        enrolled: false,
    }
}

fn head(direction: Direction, sequence: u32, ordinal: u32, data: &[u8], content: u64) -> Event<'_> {
    let request = direction == Direction::Received;
    let began = Began {
        ids: Ids {
            trace_id: TraceId([1; 16]),
            span_id: SpanId([2; 8]),
            decision: Decision {
                is_sampled: true,
                by: None,
            },
        },
        parent: None,
        cause: Cause::Unknown,
        is_told: false,
        at: 0,
    };
    Event::Bytes {
        origin: origin(direction, sequence, 0),
        request,
        starts: Some((ordinal, request.then_some(began))),
        before: None,
        data,
        ends: Some(MessageEnd {
            wire: content,
            content,
        }),
        cut: false,
    }
}

fn http1(finished: &Finished) -> &protocol::http1::Exchange<Stamp> {
    let Exchange::Http1(exchange) = &finished.exchange else {
        panic!("{finished:?}");
    };
    exchange
}

#[test]
fn a_request_and_its_response_are_an_exchange() {
    let mut table = Table::new(8, Arc::new(Health::default()));
    let mut finished = Vec::new();
    table.accept(&opened(), &mut finished);
    table.accept(
        &head(
            Direction::Received,
            0,
            0,
            b"GET /x HTTP/1.1\r\nHost: y\r\n\r\n",
            0,
        ),
        &mut finished,
    );
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    table.accept(&head(Direction::Sent, 0, 0, response, 2), &mut finished);
    assert_eq!(finished.len(), 1);
    let exchange = http1(&finished[0]);
    assert_eq!(exchange.request.head.target(), b"/x");
    assert_eq!(
        exchange.response.as_ref().and_then(|response| response.body),
        Some(2)
    );
}
#[test]
fn heads_that_the_kernel_cut_are_counted() {
    let health = Arc::new(Health::default());
    let mut table = Table::new(8, Arc::clone(&health));
    let mut finished = Vec::new();
    table.accept(&opened(), &mut finished);
    let request = b"GET /x HTTP/1.1\r\nHost: y\r\nLong: ";
    table.accept(&head(Direction::Received, 0, 0, request, 9), &mut finished);
    let response = b"HTTP/1.1 200 OK\r\nLong: ";
    table.accept(&head(Direction::Sent, 0, 0, response, 9), &mut finished);
    assert_eq!(http1(&finished[0]).request.head.target(), b"/x");
    assert_eq!(health.value(Counter::HeadsCut), 2);
}

#[test]
fn an_answer_lost_right_before_the_close_is_no_error_of_the_request() {
    let request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84";
    // Behind the records that came, the server has sent so many bytes.
    for (unseen, spans, lost) in [(0, 1, 0), (20, 0, 1)] {
        let health = Arc::new(Health::default());
        let mut table = Table::new(8, Arc::clone(&health));
        let mut finished = Vec::new();
        table.accept(&opened(), &mut finished);
        let mut asked = head(Direction::Received, 0, 0, request, 0);
        if let Event::Bytes { origin, ends, .. } = &mut asked {
            origin.protocol = spanwire_ebpf::protocol::HTTP2;
            *ends = None;
        }
        table.accept(&asked, &mut finished);
        let closed = Event::Closed {
            origin: origin(Direction::Sent, 0, unseen),
            close: Close::Closed,
            end: MessageEnd { wire: 0, content: 0 },
            requests: 1,
            responses: 0,
        };
        table.accept(&closed, &mut finished);
        assert_eq!((finished.len(), health.value(Counter::Exchanges)), (spans, lost));
    }
}
