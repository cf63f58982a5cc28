//! Exchanges that begin and end in, and where their spans belong out.

use super::*;
use crate::connection::{Address, Endpoints};
use crate::kernel::events::{Decision, Event, Ids};
use crate::span::{Kind, OwnRules, Resource, Status, UnixNanoseconds};
use crate::trace::drop::tests::{asked, rule};
use std::net::SocketAddr;

const SECOND: u64 = 1_000_000_000;

/// Of each trace, unless a test says otherwise.
const KEPT: Decision = Decision {
    is_sampled: true,
    by: None,
};

struct Host {
    causality: Causality,
    table: Table,
    health: Arc<Health>,
    /// The process whose service makes spans itself.
    instrumented: u32,
    client: Client,
    /// The kernel half's, of what begins.
    decision: Decision,
    /// What is received from now on has long content.
    is_long: bool,
}

fn id(number: u8) -> SpanId {
    SpanId([number; 8])
}

fn trace(number: u8) -> TraceId {
    TraceId([number; 16])
}

fn context(trace_id: TraceId, parent: u8) -> Context {
    Context {
        trace_id,
        parent: id(parent),
        flags: 1,
        is_deferred: false,
        state: "a=b".into(),
    }
}

fn tcp() -> Client {
    let address: SocketAddr = "127.0.0.1:40000".parse().expect("address");
    Client::Ip(address)
}

/// A span of that number, as the root of a trace of the same number.
fn span(number: u8) -> Span {
    Span {
        trace_id: trace(number),
        span_id: id(number),
        parent: None,
        state: SmolStr::default(),
        kind: Kind::Server,
        name: "GET".into(),
        start: UnixNanoseconds(0),
        end: UnixNanoseconds(0),
        attributes: Vec::new(),
        dropped_attributes: 0,
        events: Vec::new(),
        dropped_events: 0,
        link: None,
        status: Status::Unset,
        resource: Arc::new(Resource {
            own: OwnRules::default(),
            pid: 0,
            attributes: Vec::new(),
        }),
    }
}

/// Of an exchange on a connection of its own process.
fn origin(direction: Direction, pid: u32, time: u64) -> Origin {
    Origin {
        connection: ConnectionId { sock: 1, born: 1 },
        direction,
        protocol: 0,
        time: time * SECOND,
        pid,
        tid: pid,
        sequence: 0,
        position: 0,
    }
}

impl Host {
    fn new() -> Self {
        let health = Arc::new(Health::default());
        Self {
            causality: Causality::new(Arc::clone(&health)),
            table: Table::new(8, Arc::clone(&health)),
            health,
            instrumented: 0,
            client: tcp(),
            decision: KEPT,
            is_long: false,
        }
    }

    /// Span `number` begins in process `pid`, at second `time`.
    fn begin(
        &mut self,
        number: u8,
        pid: u32,
        direction: Direction,
        time: u64,
        parent: Option<u8>,
        at: Option<u32>,
    ) {
        let origin = origin(direction, pid, time);
        let began = Began {
            ids: Ids {
                trace_id: trace(number),
                span_id: id(number),
                decision: self.decision,
            },
            parent: parent.map(id),
            cause: parent.map_or(Cause::Unknown, |_| Cause::Unit),
            is_told: false,
            at: at.unwrap_or_default(),
        };
        let covered = match direction {
            _ if pid != self.instrumented => Covered::No,
            Direction::Sent => Covered::Named,
            Direction::Received => Covered::All,
        };
        let circumstances = Circumstances {
            client: at.map(|_| self.client),
            is_message: false,
            passes: false,
            is_long: self.is_long,
            covered,
            dropping: DropRules::default().of(|| unreachable!()),
        };
        self.causality.began(&origin, &began, circumstances);
    }

    /// The same of a request of which another host has told that span `parent` of trace `in_trace` has sent it.
    fn told(&mut self, number: u8, pid: u32, time: u64, in_trace: u8, parent: u8) {
        let origin = origin(Direction::Received, pid, time);
        let began = Began {
            ids: Ids {
                trace_id: trace(in_trace),
                span_id: id(number),
                decision: self.decision,
            },
            parent: Some(id(parent)),
            cause: Cause::Remote,
            is_told: false,
            at: 0,
        };
        let circumstances = Circumstances {
            client: Some(self.client),
            is_message: false,
            passes: false,
            is_long: self.is_long,
            covered: Covered::No,
            dropping: DropRules::default().of(|| unreachable!()),
        };
        self.causality.began(&origin, &began, circumstances);
    }

    fn received(&mut self, number: u8, pid: u32, time: u64, at: Option<u32>) {
        self.begin(number, pid, Direction::Received, time, None, at);
    }

    fn sent(&mut self, number: u8, pid: u32, time: u64, parent: Option<u8>, at: Option<u32>) {
        self.begin(number, pid, Direction::Sent, time, parent, at);
    }

    /// The head of request `number` comes by on its connection, and no response.
    fn asks(&mut self, number: u8) {
        let mut origin = origin(Direction::Sent, 10, 1);
        origin.protocol = spanwire_ebpf::protocol::HTTP1;
        let end = || Address::Unix(None);
        let opened = Event::Opened {
            origin,
            endpoints: Endpoints {
                local: end(),
                remote: end(),
            },
            inode: None,
            late: false,
            peer: None,
            aligned: false,
            client: None,
            enrolled: false,
        };
        let began = Began {
            ids: Ids {
                trace_id: trace(number),
                span_id: id(number),
                decision: self.decision,
            },
            parent: None,
            cause: Cause::Unit,
            is_told: false,
            at: 0,
        };
        let head = Event::Bytes {
            origin: Origin {
                sequence: 1,
                ..origin
            },
            request: true,
            starts: Some((0, Some(began))),
            before: None,
            data: b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            ends: None,
            cut: false,
        };
        for event in [opened, head] {
            self.table.accept(&event, &mut Vec::new());
        }
    }

    fn end(&mut self, number: u8, time: u64, context: Option<Context>) {
        self.causality.finished(id(number), time * SECOND, context);
    }

    /// Trace and parent of span `number` at second `now`, once they are known.
    fn place(&mut self, number: u8, now: u64) -> Option<(TraceId, Option<SpanId>)> {
        match self
            .causality
            .place(span(number), KEPT, &self.table, now * SECOND)
        {
            Placed::Here(span) => Some((span.trace_id, span.parent)),
            Placed::Waits | Placed::Unsampled(_) | Placed::LeftOut | Placed::Dropped(_) => None,
        }
    }

    /// What is due at second `now` is forgotten.
    fn sweep(&mut self, now: u64) {
        self.causality.sweep(&self.table, now * SECOND);
        self.causality.forget(now * SECOND);
    }

    /// Spans that waited, and are placed at second `now`.
    fn placed(&mut self, now: u64) -> Vec<Span> {
        let placed = self.causality.placed(&self.table, now * SECOND).into_iter();
        placed.map(here).collect()
    }

    /// Whether span `number` is left out at second `now`.
    fn leaves_out(&mut self, number: u8, now: u64) -> bool {
        let placed = self
            .causality
            .place(span(number), KEPT, &self.table, now * SECOND);
        matches!(placed, Placed::LeftOut)
    }
}

fn here(placed: Placed) -> Span {
    match placed {
        Placed::Here(span) => span,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_ends_of_an_exchange_and_what_it_caused() {
    let mut host = Host::new();
    host.sent(1, 10, 1, None, Some(7));
    host.received(2, 20, 1, Some(7));
    host.sent(3, 20, 1, Some(2), Some(9));
    host.received(4, 30, 1, Some(9));
    assert_eq!(host.place(4, 1), Some((trace(1), Some(id(3)))));
    assert_eq!(host.place(3, 1), Some((trace(1), Some(id(2)))));
    assert_eq!(host.place(2, 1), Some((trace(1), Some(id(1)))));
    assert_eq!(host.place(1, 1), Some((trace(1), None)));
}

#[test]
fn a_receiver_waits_for_its_sender_and_so_does_what_it_caused() {
    let mut host = Host::new();
    host.received(2, 20, 1, Some(7));
    host.sent(3, 20, 1, Some(2), None);
    assert_eq!(host.place(3, 1), None);
    assert_eq!(host.place(2, 1), None);
    assert!(host.placed(1).is_empty());
    host.sent(1, 10, 1, None, Some(7));
    let placed = host.placed(1);
    let placed: Vec<_> = placed
        .iter()
        .map(|span| (span.span_id, span.trace_id, span.parent))
        .collect();
    assert_eq!(
        placed,
        [(id(3), trace(1), Some(id(2))), (id(2), trace(1), Some(id(1)))]
    );
}

#[test]
fn the_sender_of_long_content_is_waited_for_until_it_is_answered() {
    let mut host = Host::new();
    host.is_long = true;
    host.received(2, 20, 1, Some(7));
    host.sent(3, 20, 2, Some(2), None);
    assert_eq!(host.place(3, 4), None);
    host.sent(1, 10, 1, None, Some(7));
    assert_eq!(host.place(2, 4), Some((trace(1), Some(id(1)))));
    let placed = host.placed(4);
    assert_eq!((placed[0].trace_id, placed[0].parent), (trace(1), Some(id(2))));
}

#[test]
fn long_content_from_elsewhere_is_not_waited_for_once_it_is_answered_nor_for_ever() {
    let mut host = Host::new();
    host.is_long = true;
    host.received(2, 20, 1, Some(7));
    host.sent(3, 20, 2, Some(2), None);
    assert_eq!(host.place(3, 30), None);
    let placed = host.placed(32);
    assert_eq!((placed[0].trace_id, placed[0].parent), (trace(2), Some(id(2))));
    host.received(4, 20, 40, Some(9));
    host.causality.over(id(4), 42 * SECOND);
    assert_eq!(host.place(4, 42), None);
    let placed = host.placed(43);
    assert_eq!((placed[0].trace_id, placed[0].parent), (trace(4), None));
}

#[test]
fn a_receiver_whose_sender_is_elsewhere_is_a_root_after_a_moment() {
    let mut host = Host::new();
    host.received(2, 20, 1, Some(7));
    assert_eq!(host.place(2, 1), None);
    let placed = host.placed(2);
    assert_eq!(placed.len(), 1);
    assert_eq!((placed[0].trace_id, placed[0].parent), (trace(2), None));
}

#[test]
fn what_a_request_says_itself() {
    let mut host = Host::new();
    // From elsewhere: its fields count, and all that it causes belongs to that trace.
    host.received(2, 20, 1, Some(7));
    host.sent(3, 20, 1, Some(2), Some(9));
    host.end(2, 2, Some(context(trace(50), 51)));
    let placed = here(host.causality.place(span(3), KEPT, &host.table, 2 * SECOND));
    assert_eq!(
        (placed.trace_id, placed.parent, &*placed.state),
        (trace(50), Some(id(2)), "a=b")
    );
    assert_eq!(host.place(2, 2), Some((trace(50), Some(id(51)))));
    // What the service says of its own request counts more than what it was handling.
    host.sent(4, 20, 2, Some(2), None);
    host.end(4, 3, Some(context(trace(50), 52)));
    assert_eq!(host.place(4, 3), Some((trace(50), Some(id(52)))));
    // What it only passes on does not.
    host.sent(5, 20, 2, Some(2), None);
    host.end(5, 3, Some(context(trace(50), 51)));
    assert_eq!(host.place(5, 3), Some((trace(50), Some(id(2)))));
}

#[test]
fn the_sender_on_this_host_counts_more_than_the_fields_it_wrote() {
    let mut host = Host::new();
    host.sent(1, 10, 1, None, Some(7));
    host.received(2, 20, 1, Some(7));
    host.end(2, 2, Some(context(trace(50), 51)));
    host.end(1, 2, Some(context(trace(50), 51)));
    assert_eq!(host.place(2, 2), Some((trace(50), Some(id(1)))));
    assert_eq!(host.place(1, 2), Some((trace(50), Some(id(51)))));
}

#[test]
fn an_earlier_connection_from_the_same_place() {
    let mut host = Host::new();
    host.client = Client::Unix(1);
    // Its end was never told.
    host.sent(4, 10, 1, None, Some(9));
    host.received(5, 20, 1, Some(9));
    assert_eq!(host.place(5, 1), Some((trace(4), Some(id(4)))));
    host.received(6, 20, 1, Some(9));
    assert_eq!(host.place(6, 2), Some((trace(6), None)));
    // Its end was told.
    host.sent(1, 10, 1, None, Some(0));
    host.end(1, 2, None);
    host.received(2, 20, 3, Some(0));
    assert_eq!(host.place(2, 3), None);
    host.sent(3, 10, 3, None, Some(0));
    let placed = host.placed(3);
    assert_eq!(placed.len(), 1);
    assert_eq!(placed[0].parent, Some(id(3)));
    // Two connections from there, before anybody asks.
    host.received(10, 20, 4, Some(0));
    host.sent(11, 10, 4, None, Some(0));
    host.sent(12, 10, 4, None, Some(0));
    host.received(13, 20, 4, Some(0));
    assert_eq!(host.place(10, 4), Some((trace(11), Some(id(11)))));
    assert_eq!(host.place(13, 4), Some((trace(12), Some(id(12)))));
}

#[test]
fn who_gave_up_before_it_was_received() {
    let mut host = Host::new();
    host.sent(1, 10, 1, None, Some(7));
    host.end(1, 2, None);
    host.received(2, 20, 3, Some(7));
    assert_eq!(host.place(2, 3), Some((trace(1), Some(id(1)))));
}

#[test]
fn the_only_request_in_flight_is_the_one_and_several_are_none() {
    let mut host = Host::new();
    host.received(1, 20, 1, None);
    host.sent(2, 20, 1, None, None);
    host.received(3, 20, 1, None);
    host.sent(4, 20, 1, None, None);
    host.end(1, 1, None);
    host.sent(5, 20, 1, None, None);
    host.end(3, 1, None);
    host.sent(6, 20, 1, None, None);
    let inferred = here(host.causality.place(span(2), KEPT, &host.table, SECOND));
    assert_eq!(inferred.parent, Some(id(1)));
    assert!(
        inferred
            .attributes
            .iter()
            .any(|it| it.key == semconv::PARENT_INFERRED)
    );
    assert_eq!(host.place(4, 1), Some((trace(4), None)));
    assert_eq!(host.health.value(Counter::ParentsAmbiguous), 1);
    assert_eq!(host.place(5, 1), Some((trace(3), Some(id(3)))));
    assert_eq!(host.place(6, 1), Some((trace(6), None)));
}

#[test]
fn what_is_over_is_not_in_flight_though_it_is_finished_later() {
    let mut host = Host::new();
    host.received(1, 20, 1, None);
    host.causality.over(id(1), SECOND);
    host.received(2, 20, 1, None);
    host.sent(3, 20, 1, None, None);
    host.end(1, 1, None);
    host.causality.over(id(2), SECOND);
    host.sent(4, 20, 1, None, None);
    host.end(2, 1, None);
    assert_eq!(host.place(3, 1), Some((trace(2), Some(id(2)))));
    assert_eq!(host.place(4, 1), Some((trace(4), None)));
    assert_eq!(host.health.value(Counter::ParentsAmbiguous), 0);
}

#[test]
fn who_asks_itself_is_not_taken_to_ask_for_that() {
    let mut host = Host::new();
    host.sent(1, 20, 1, None, Some(7));
    host.received(2, 20, 1, Some(7));
    host.sent(3, 20, 1, None, None);
    assert_eq!(host.place(3, 1), Some((trace(3), None)));
}

#[test]
fn who_asks_itself_may_be_told_of_as_a_receiver_first() {
    let mut host = Host::new();
    host.received(2, 20, 1, Some(7));
    host.sent(1, 20, 1, None, Some(7));
    // Beside it, while nothing says yet who has sent that.
    host.received(4, 30, 1, Some(8));
    host.sent(5, 30, 1, None, None);
    host.sent(3, 30, 1, None, Some(8));
    for (number, is_below) in [(1, None), (2, Some(1)), (3, None), (4, Some(3)), (5, None)] {
        let trace = trace(is_below.unwrap_or(number));
        assert_eq!(host.place(number, 1), Some((trace, is_below.map(id))), "{number}");
    }
}

#[test]
fn a_parent_that_was_lost_is_none() {
    let mut host = Host::new();
    host.sent(2, 20, 1, Some(1), None);
    assert_eq!(host.place(2, 1), Some((trace(2), None)));
    assert_eq!(host.health.value(Counter::ParentsLost), 1);
}

#[test]
fn what_goes_on_long_after_its_parent_keeps_it() {
    let mut host = Host::new();
    host.received(1, 10, 1, None);
    host.sent(2, 10, 1, Some(1), None);
    host.asks(2);
    host.end(1, 1, None);
    host.sweep(2);
    host.sweep(9);
    assert!(!host.causality.nodes.contains(id(1)) && host.causality.nodes.contains(id(2)));
    host.end(2, 9, None);
    assert_eq!(host.place(2, 9), Some((trace(1), Some(id(1)))));
    assert_eq!(host.health.value(Counter::ParentsLost), 0);
}

/// Whether a span says that what it was sent for was over before it began.
fn is_late(span: &Span) -> bool {
    span.attributes.iter().any(|it| it.key == semconv::PARENT_ENDED)
}

#[test]
fn what_begins_after_the_end_of_its_parent_says_so() {
    let mut host = Host::new();
    host.received(1, 10, 1, None);
    host.sent(2, 10, 2, Some(1), None);
    host.end(1, 2, None);
    host.sent(3, 10, 3, Some(1), None);
    host.sent(4, 10, 3, Some(1), None);
    host.asks(4);
    host.end(2, 4, None);
    host.end(3, 4, None);
    // It is found out while the parent is remembered.
    host.sweep(4);
    host.sweep(9);
    assert!(!host.causality.nodes.contains(id(1)));
    host.end(4, 9, None);
    let now = 9 * SECOND;
    let late = here(host.causality.place(span(4), KEPT, &host.table, now));
    assert!(late.parent == Some(id(1)) && is_late(&late), "{late:?}");
}

#[test]
fn what_begins_before_the_end_of_its_parent_or_is_received_says_nothing_of_it() {
    let mut host = Host::new();
    host.received(1, 10, 1, None);
    host.sent(2, 10, 2, Some(1), Some(7));
    host.end(2, 3, None);
    host.received(3, 20, 4, Some(7));
    host.sent(4, 10, 2, Some(1), None);
    host.end(1, 2, None);
    host.end(3, 4, None);
    host.end(4, 4, None);
    for number in [1, 2, 3, 4] {
        let placed = here(host.causality.place(span(number), KEPT, &host.table, 5 * SECOND));
        assert!(!is_late(&placed), "{placed:?}");
    }
}

#[test]
fn what_is_over_is_forgotten_and_what_is_in_flight_is_not() {
    let mut host = Host::new();
    host.sent(1, 10, 1, None, Some(7));
    host.end(1, 1, None);
    host.sweep(2);
    assert_eq!(host.causality.nodes.len(), 1);
    host.sweep(4);
    assert!(host.causality.nodes.len() == 0 && host.causality.alone.is_empty());
    // Its connection is gone, and it never came out.
    host.received(2, 20, 5, None);
    host.sweep(6);
    assert!(host.causality.nodes.len() == 0 && host.causality.handled.is_empty());
}

#[test]
fn spans_do_not_wait_without_bound() {
    let mut host = Host::new();
    host.received(1, 20, 1, Some(7));
    for _ in 0..WAITING {
        assert_eq!(host.place(1, 1), None);
    }
    assert_eq!(host.place(1, 1), Some((trace(1), None)));
}

#[test]
fn what_a_service_makes_spans_of_is_left_to_it() {
    let mut host = Host::new();
    host.instrumented = 20;
    // Asked by 10, which names no span; 20's SDK goes on with a trace of its own making.
    host.sent(1, 10, 1, None, Some(7));
    host.received(2, 20, 1, Some(7));
    // With its SDK's context, and without one; to 30 and to 40.
    host.sent(3, 20, 1, Some(2), Some(9));
    host.received(4, 30, 1, Some(9));
    host.sent(5, 20, 1, Some(2), Some(11));
    host.received(6, 40, 1, Some(11));
    for number in [1, 2, 4, 5, 6] {
        host.end(number, 2, None);
    }
    host.end(3, 2, Some(context(trace(50), 51)));
    assert_eq!(host.place(1, 2), Some((trace(1), None)));
    assert!(host.leaves_out(2, 2));
    assert!(host.leaves_out(3, 2));
    assert_eq!(host.place(4, 2), Some((trace(50), Some(id(51)))));
    // What its SDK has no span for is told, below the nearest that is.
    assert_eq!(host.place(5, 2), Some((trace(1), Some(id(1)))));
    assert_eq!(host.place(6, 2), Some((trace(1), Some(id(5)))));
}

#[test]
fn a_service_with_spans_of_its_own_goes_on_with_a_trace() {
    let mut host = Host::new();
    host.instrumented = 20;
    host.received(2, 20, 1, None);
    host.end(2, 2, Some(context(trace(50), 51)));
    host.sent(3, 20, 1, Some(2), None);
    // Only passed on: no SDK made a span of it.
    host.end(3, 2, Some(context(trace(50), 51)));
    host.sent(4, 20, 1, Some(2), None);
    host.end(4, 2, Some(context(trace(50), 52)));
    assert!(host.leaves_out(2, 2));
    assert_eq!(host.place(3, 2), Some((trace(50), Some(id(51)))));
    assert!(host.leaves_out(4, 2));
}

#[test]
fn what_is_not_trusted_begins_a_trace_and_is_linked() {
    let mut host = Host::new();
    let Client::Ip(address) = host.client else {
        panic!("over TCP")
    };
    host.causality = host.causality.refusing(vec![address.ip().into()]);
    host.received(2, 20, 1, Some(7));
    host.end(2, 2, Some(context(trace(50), 51)));
    host.sent(3, 20, 1, Some(2), None);
    host.end(3, 2, None);
    let span = here(host.causality.place(span(2), KEPT, &host.table, 2 * SECOND));
    assert_eq!((span.trace_id, span.parent, &*span.state), (trace(2), None, ""));
    let link = span.link.expect("a link");
    assert_eq!(
        (link.trace_id, link.span_id, &*link.state),
        (trace(50), id(51), "a=b")
    );
    // What it causes has nothing to do with the other.
    let below = here(host.causality.place(self::span(3), KEPT, &host.table, 2 * SECOND));
    assert_eq!(
        (below.trace_id, below.parent, below.link),
        (trace(2), Some(id(2)), None)
    );
    // From elsewhere.
    host.client = Client::Ip("192.0.2.9:80".parse().expect("an address"));
    host.received(4, 20, 1, Some(7));
    host.end(4, 2, Some(context(trace(50), 51)));
    assert_eq!(host.place(4, 2), Some((trace(50), Some(id(51)))));
}

#[test]
fn what_another_host_has_told_is_the_parent_and_nobody_is_waited_for() {
    let mut host = Host::new();
    host.told(1, 10, 1, 90, 91);
    host.sent(2, 10, 1, Some(1), None);
    host.end(2, 2, None);
    host.end(1, 2, None);
    assert_eq!(host.place(1, 1), Some((trace(90), Some(id(91)))));
    assert_eq!(host.place(2, 1), Some((trace(90), Some(id(1)))));
}

#[test]
fn a_request_s_own_context_counts_before_what_another_host_has_told() {
    let mut host = Host::new();
    host.told(1, 10, 1, 90, 91);
    host.end(1, 2, Some(context(trace(80), 81)));
    assert_eq!(host.place(1, 3), Some((trace(80), Some(id(81)))));
}

/// Why span `number` is dropped at second `now`, if it is.
fn dropped(host: &mut Host, number: u8, now: u64) -> Option<Dropped> {
    match host
        .causality
        .place(span(number), KEPT, &host.table, now * SECOND)
    {
        Placed::Dropped(why) => Some(why),
        Placed::Here(_) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_done_for_a_request_is_dropped_with_it() {
    let rules = DropRules::new(vec![rule(&[], &["kube-probe/*"])]);
    let mut host = Host::new();
    host.causality = Causality::new(Arc::clone(&host.health)).dropping(rules);
    // A probe, the statement for it, and that statement's other end.
    host.received(1, 10, 1, None);
    host.sent(2, 10, 1, Some(1), Some(9));
    host.received(3, 20, 1, Some(9));
    // A message of it, and its delivery, which names what was published as its parent.
    host.sent(4, 10, 1, Some(1), None);
    host.received(5, 30, 2, None);
    // Another request.
    host.received(6, 10, 3, None);
    asked(
        "GET / HTTP/1.1\r\nuser-agent: kube-probe/1.29\r\n\r\n",
        |request| host.causality.judge(id(1), request),
    );
    asked("GET / HTTP/1.1\r\nuser-agent: curl/8\r\n\r\n", |request| {
        host.causality.judge(id(6), request);
    });
    for number in 1..=6 {
        let context = (number == 5).then(|| context(trace(1), 4));
        host.end(number, 3, context);
    }
    assert_eq!(dropped(&mut host, 3, 4), Some(Dropped::Below));
    assert_eq!(dropped(&mut host, 2, 4), Some(Dropped::Below));
    assert_eq!(dropped(&mut host, 1, 4), Some(Dropped::Rule));
    assert_eq!(dropped(&mut host, 4, 4), Some(Dropped::Below));
    assert_eq!(dropped(&mut host, 5, 4), Some(Dropped::Below));
    assert_eq!(dropped(&mut host, 6, 4), None);
}

#[test]
fn both_ends_of_a_dropped_request_are_dropped_by_its_rule() {
    let rules = DropRules::new(vec![rule(&["/health*"], &[])]);
    let mut host = Host::new();
    host.causality = Causality::new(Arc::clone(&host.health)).dropping(rules);
    host.sent(1, 10, 1, None, Some(7));
    host.received(2, 20, 1, Some(7));
    for number in [1, 2] {
        asked("GET /healthz?x=1 HTTP/1.1\r\n\r\n", |request| {
            host.causality.judge(id(number), request);
        });
        host.end(number, 1, None);
    }
    assert_eq!(dropped(&mut host, 2, 2), Some(Dropped::Rule));
    assert_eq!(dropped(&mut host, 1, 2), Some(Dropped::Rule));
}

/// Whether the trace of span `number` is kept, at second `now`; `decision` is the kernel half's of what began in it.
fn kept(host: &mut Host, number: u8, decision: Decision, now: u64) -> bool {
    match host
        .causality
        .place(span(number), decision, &host.table, now * SECOND)
    {
        Placed::Here(_) => true,
        Placed::Unsampled(_) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trace_is_kept_or_not_as_a_whole() {
    for is_sampled in [true, false] {
        let mut host = Host::new();
        host.decision.is_sampled = is_sampled;
        host.sent(1, 10, 1, None, Some(7));
        // The kernel half has not heard of its sender, and has decided otherwise.
        host.decision.is_sampled = !is_sampled;
        host.received(2, 20, 1, Some(7));
        host.sent(3, 20, 1, Some(2), Some(9));
        host.received(4, 30, 1, Some(9));
        for number in 1..=4 {
            assert_eq!(kept(&mut host, number, KEPT, 1), is_sampled, "{number}");
        }
    }
}

#[test]
fn what_a_request_says_of_itself_counts_before_what_was_decided_without_it() {
    for is_sampled in [true, false] {
        let mut host = Host::new();
        host.decision.is_sampled = !is_sampled;
        host.received(1, 10, 1, None);
        host.sent(2, 10, 1, Some(1), None);
        let parent = Context {
            flags: u8::from(is_sampled),
            ..context(trace(50), 51)
        };
        host.end(2, 2, None);
        host.end(1, 2, Some(parent));
        assert_eq!(kept(&mut host, 2, KEPT, 2), is_sampled);
        assert_eq!(kept(&mut host, 1, KEPT, 2), is_sampled);
    }
}

#[test]
fn of_who_is_refused_nothing_is_taken_over() {
    let mut host = Host::new();
    host.causality =
        Causality::new(Arc::clone(&host.health)).refusing(vec!["127.0.0.0/8".parse().expect("a range")]);
    host.decision.is_sampled = false;
    host.received(1, 10, 1, Some(7));
    host.end(1, 2, Some(context(trace(50), 51)));
    assert!(!kept(&mut host, 1, KEPT, 2));
}

#[test]
fn what_is_not_remembered_is_as_the_kernel_half_has_decided() {
    let mut host = Host::new();
    assert!(kept(&mut host, 1, KEPT, 2));
    let dropped = Decision {
        is_sampled: false,
        by: None,
    };
    assert!(!kept(&mut host, 1, dropped, 2));
}
