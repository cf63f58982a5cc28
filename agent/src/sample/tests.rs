//! Traces through the sampler.

mod properties;
mod shares;

use super::*;
use crate::config::layer::Layer;
use crate::config::{self, File};
use crate::redact::{Redactor, Rules as Redaction};
use crate::span::example::example;
use crate::span::{Attribute, Kind, OwnRules, Resource, SpanId, Status, UnixNanoseconds, Value};
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// Rules by the text of `sampling.tail`.
fn rules(text: &str) -> Rules {
    let file = File {
        name: "f".into(),
        text: format!("sampling: {{tail: {{{text}}}}}\n"),
    };
    let resolved = config::resolve(Some(&file), &BTreeMap::new(), Layer::default());
    let tail = resolved.expect("a configuration").config.sampling.tail;
    Rules::new(&tail.expect("tail sampling")).expect("rules")
}

fn sampler(text: &str) -> TailSampler {
    TailSampler::new(Some(rules(text)), Arc::default())
}

fn text(key: &'static str, value: &str) -> Attribute {
    Attribute {
        key: key.into(),
        value: Value::Text(value.into()),
    }
}

fn resource(service: &str) -> Arc<Resource> {
    Arc::new(Resource {
        own: OwnRules::default(),
        pid: 1,
        attributes: vec![text("service.name", service)],
    })
}

fn trace_id(number: u64) -> TraceId {
    // Splitmix: numbers in a row are as random as any.
    let mix = |number: u64| {
        let mut bits = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ bits >> 31
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id[8..].copy_from_slice(&mix(number).to_be_bytes());
    TraceId(id)
}

/// A span of 1 ms that is the root of a trace, or else below it.
fn span(trace: u64, id: u64, resource: &Arc<Resource>) -> Span {
    Span {
        trace_id: trace_id(trace),
        span_id: SpanId((id + 1).to_be_bytes()),
        parent: (id > 0).then_some(SpanId([7; 8])),
        kind: if id == 0 { Kind::Server } else { Kind::Client },
        name: "GET /".into(),
        start: UnixNanoseconds(SECOND + id),
        end: UnixNanoseconds(SECOND + MILLISECOND + id),
        resource: Arc::clone(resource),
        ..example()
    }
}

fn redacted(span: Span) -> Redacted {
    Redactor::new(Redaction::none()).span(span)
}

/// Lets spans in at a moment, and returns what goes on.
fn pass(sampler: &mut TailSampler, spans: Vec<Span>, now: u64) -> Vec<(TraceId, SpanId)> {
    let out = sampler.turn(spans.into_iter().map(redacted).collect(), now);
    ids(&out)
}

fn ids(spans: &[Redacted]) -> Vec<(TraceId, SpanId)> {
    let spans = spans.iter().map(Redacted::span);
    spans.map(|span| (span.trace_id, span.span_id)).collect()
}

fn drained(sampler: &mut TailSampler, now: u64) -> Vec<Redacted> {
    std::iter::from_fn(|| sampler.drain(now)).flatten().collect()
}

/// Kept or dropped: what a trace of these spans comes to, and the `tracestate` that the first of them goes on with.
fn outcome(rules: &str, spans: Vec<Span>) -> Option<String> {
    let mut sampler = sampler(rules);
    let count = spans.len();
    let mut out = sampler.turn(spans.into_iter().map(redacted).collect(), 0);
    out.extend(drained(&mut sampler, 0));
    assert!(out.len() == count || out.is_empty());
    assert_eq!((sampler.bytes, sampler.spans, sampler.traces.len()), (0, 0, 0));
    Some(out.first()?.span().state.to_string())
}

#[test]
fn a_trace_is_kept_where_one_span_fits_all_that_a_rule_says() {
    let shop = Arc::new(Resource {
        own: OwnRules::default(),
        pid: 1,
        attributes: vec![
            text("service.name", "shop-1"),
            text("service.namespace", "live"),
            text("host.name", "h"),
        ],
    });
    let spans = |change: fn(&mut Span)| {
        let mut spans: Vec<_> = (0..3).map(|id| span(1, id, &shop)).collect();
        change(&mut spans[1]);
        spans
    };
    let nothing = |_: &mut Span| {};
    let failed: fn(&mut Span) = |span| span.status = Status::Error("".into());
    let slow: fn(&mut Span) = |span| span.end = UnixNanoseconds(span.start.0 + 500 * MILLISECOND);
    let named: fn(&mut Span) = |span| span.name = "POST /orders/{id}".into();
    let marked: fn(&mut Span) = |span| {
        let value = Value::Integer(413);
        let key = "http.response.status_code".into();
        span.attributes = vec![Attribute { key, value }, text("tenant", "acme")];
        span.attributes.push(Attribute {
            key: "list".into(),
            value: Value::Texts(["a".to_owned(), "b".to_owned()].into()),
        });
    };
    let check = |rule: &str, change: fn(&mut Span), expect: bool| {
        let kept = outcome(&format!("ratio: 0, keep: [{rule}]"), spans(change));
        assert_eq!(kept.is_some(), expect, "{rule}");
        assert!(kept.is_none_or(|state| state.is_empty()), "{rule}");
    };
    check("{errors: true}", nothing, false);
    check("{errors: true}", failed, true);
    check("{latency: 500ms}", slow, true);
    check("{latency: 501ms}", slow, false);
    check("{services: ['shop-*']}", nothing, true);
    check("{services: [cart, 'car?']}", nothing, false);
    check("{namespaces: [live]}", nothing, true);
    check("{namespaces: [test]}", nothing, false);
    check("{operations: ['POST *']}", named, true);
    check("{operations: ['POST *']}", nothing, false);
    check("{min_spans: 3}", nothing, true);
    check("{min_spans: 4}", nothing, false);
    let status = "http.response.status_code";
    check("{attributes: [{name: tenant}]}", marked, true);
    check("{attributes: [{name: tenant}]}", nothing, false);
    check("{attributes: [{name: tenant, values: ['a*e']}]}", marked, true);
    check("{attributes: [{name: tenant, values: [b]}]}", marked, false);
    check("{attributes: [{name: list, values: [b]}]}", marked, true);
    check("{attributes: [{name: host.name, values: [h]}]}", nothing, true);
    check(
        &format!("{{attributes: [{{name: {status}, values: ['4*']}}]}}"),
        marked,
        true,
    );
    check(
        &format!("{{attributes: [{{name: {status}, min: 400, max: 413}}]}}"),
        marked,
        true,
    );
    check(
        &format!("{{attributes: [{{name: {status}, min: 414}}]}}"),
        marked,
        false,
    );
    check("{attributes: [{name: tenant, min: 0}]}", marked, false);
    // All of it by one and the same span.
    let both: fn(&mut Span) = |span| {
        span.status = Status::Error("".into());
        span.name = "POST /".into();
    };
    check(
        "{errors: true, operations: ['POST *'], services: ['shop*']}",
        both,
        true,
    );
    check("{errors: true, operations: ['GET *']}", both, false);
    check("{errors: false, operations: ['POST *']}", both, false);
    check("{errors: true, latency: 1s}", failed, false);
}

#[test]
fn what_is_slow_for_its_operation_is_kept() {
    let mut sampler = sampler("ratio: 0, keep: [{percentile: 99}]");
    let shop = resource("shop");
    let took = |number: u64, name: &str, duration: u64| {
        let mut span = span(number, 0, &shop);
        span.name = name.into();
        span.end = UnixNanoseconds(span.start.0 + duration);
        span
    };
    for number in 0..1000 {
        let fast = took(number, "fast", MILLISECOND);
        let slow = took(1000 + number, "slow", 900 * MILLISECOND);
        assert_eq!(pass(&mut sampler, vec![fast, slow], 0), []);
    }
    // What is slow for the one is not for the other.
    let spans = vec![
        took(5000, "fast", 10 * MILLISECOND),
        took(5001, "slow", 900 * MILLISECOND),
        took(5002, "slow", 1200 * MILLISECOND),
        took(5003, "never heard of", 60 * SECOND),
    ];
    let kept = pass(&mut sampler, spans, 1);
    let kept: Vec<_> = kept.into_iter().map(|(trace, _)| trace).collect();
    assert_eq!(kept, [trace_id(5000), trace_id(5002)]);
}

#[test]
fn a_trace_goes_when_a_policy_keeps_it_else_when_it_was_held_for_long_enough() {
    let mut sampler = sampler("decision_wait: 2s, ratio: 0.5, keep: [{errors: true}]");
    let shop = resource("shop");
    let chosen =
        (1..).find(|number| Threshold::of_ratio(0.5).keeps(Randomness::of_trace(trace_id(*number).0)));
    let chosen = chosen.expect("one of them");
    let other =
        (1..).find(|number| !Threshold::of_ratio(0.5).keeps(Randomness::of_trace(trace_id(*number).0)));
    let other = other.expect("one of them");
    let id = |trace, id: u64| (trace_id(trace), SpanId((id + 1).to_be_bytes()));
    assert_eq!(
        pass(
            &mut sampler,
            vec![span(other, 1, &shop), span(chosen, 1, &shop)],
            SECOND
        ),
        []
    );
    let level = sampler.level().expect("a level");
    assert_eq!((level.spans, level.traces.0), (2, 2));
    assert_eq!(pass(&mut sampler, vec![span(chosen, 2, &shop)], 2 * SECOND), []);
    // 2 s after the first of them.
    assert_eq!(pass(&mut sampler, vec![], 3 * SECOND - 1), []);
    assert_eq!(
        pass(&mut sampler, vec![], 3 * SECOND),
        [id(chosen, 1), id(chosen, 2)]
    );
    // Late ones follow, whatever they say.
    let mut failed = span(other, 2, &shop);
    failed.status = Status::Error("".into());
    let late = vec![span(chosen, 0, &shop), failed];
    assert_eq!(pass(&mut sampler, late, 60 * SECOND), [id(chosen, 0)]);
    // At once.
    let mut failed = span(9000, 2, &shop);
    failed.status = Status::Error("".into());
    let spans = vec![span(9000, 1, &shop), failed, span(9000, 0, &shop)];
    assert_eq!(
        pass(&mut sampler, spans, 61 * SECOND),
        [id(9000, 1), id(9000, 2), id(9000, 0)]
    );
    let value = |counter| sampler.health.value(counter);
    assert_eq!(value(Counter::SpansKeptByRatio), 2);
    assert_eq!(value(Counter::SpansKeptByPolicy), 2);
    assert_eq!(value(Counter::SpansKeptLate), 2);
    assert_eq!(value(Counter::SpansDroppedByRatio), 1);
    assert_eq!(value(Counter::SpansDroppedLate), 1);
    assert_eq!(sampler.level().expect("a level").spans, 0);
}

#[test]
fn spans_say_by_what_threshold_their_trace_was_kept() {
    let shop = resource("shop");
    // Its randomness is the greatest, whatever its id.
    let most = "rv:ffffffffffffff";
    let state = |rules: &str, said: &str| {
        let mut one = span(1, 0, &shop);
        one.state = said.into();
        let mut other = span(1, 1, &shop);
        other.state = said.into();
        outcome(rules, vec![other, one]).expect("kept")
    };
    let ratio = "ratio: 0.25";
    assert_eq!(
        state(ratio, &format!("a=1,ot={most}")),
        format!("ot=th:c;{most},a=1")
    );
    // What decided before has kept more, or less: the greater threshold says how many there were.
    assert_eq!(
        state(ratio, &format!("ot=th:8;{most}")),
        format!("ot=th:c;{most}")
    );
    assert_eq!(
        state(ratio, &format!("ot=th:e;{most},a=1")),
        format!("ot=th:e;{most},a=1")
    );
    // Policies and floors have nothing to do with chance.
    for rules in [
        "ratio: 0, keep: [{min_spans: 2}]",
        "ratio: 0, min_traces_per_minute: 1",
    ] {
        assert_eq!(state(rules, ""), "");
        assert_eq!(
            state(rules, &format!("ot=th:e;{most}")),
            format!("ot=th:e;{most}")
        );
        // It cannot have been kept by that.
        assert_eq!(state(rules, "ot=th:e;rv:10000000000000"), "ot=rv:10000000000000");
    }
    // All of an operation: nothing is known of who was before.
    let all = "ratio: 0, rates: [{ratio: 1}]";
    assert_eq!(state(all, ""), "");
    assert_eq!(state(all, &format!("ot=th:8;{most}")), format!("ot=th:8;{most}"));
    // Of a trace id alone.
    let threshold = Threshold::of_ratio(0.25);
    for number in 0..100 {
        let kept = outcome(ratio, vec![span(number, 0, &shop)]);
        let expect = threshold.keeps(Randomness::of_trace(trace_id(number).0));
        assert_eq!(kept, expect.then(|| "ot=th:c".to_owned()));
    }
}

#[test]
fn randomness_that_a_span_names_counts_in_place_of_the_id_s() {
    let shop = resource("shop");
    for number in 0..20 {
        for (randomness, expect) in [("7fffffffffffff", false), ("80000000000000", true)] {
            let mut child = span(number, 1, &shop);
            child.state = format!("ot=rv:{randomness}").into();
            let kept = outcome("ratio: 0.5", vec![span(number, 0, &shop), child]);
            assert_eq!(kept.is_some(), expect);
        }
    }
}

#[test]
fn operations_have_rates_of_their_own_by_what_their_trace_begins_with() {
    let rates = "ratio: 0, rates: [{services: [shop], operations: ['GET /a*'], ratio: 1}, {services: [cart], ratio: 1}]";
    let kept = |service: &str, name: &str| {
        let mut root = span(1, 0, &resource(service));
        root.name = name.into();
        let mut child = span(1, 1, &resource("other"));
        child.name = "GET /a".into();
        outcome(rates, vec![child, root]).is_some()
    };
    assert!(kept("shop", "GET /a") && kept("shop", "GET /ab") && kept("cart", "x"));
    assert!(!kept("shop", "GET /b") && !kept("other", "GET /a"));
}

#[test]
fn the_root_is_what_began_first() {
    let shop = resource("shop");
    let mut spans: Vec<_> = (0..4).map(|id| span(1, id, &shop)).collect();
    let first = |spans: &[Span]| {
        let spans: Vec<_> = spans.iter().cloned().map(redacted).collect();
        root(&spans).map(|span| span.span_id)
    };
    assert_eq!(first(&spans), Some(spans[0].span_id));
    spans.remove(0);
    spans.reverse();
    assert_eq!(first(&spans), Some(spans[2].span_id));
    // Of two that begin together, the one within which the other is.
    spans[0].start = spans[2].start;
    spans[0].end = UnixNanoseconds(spans[2].end.0 + 1);
    assert_eq!(first(&spans), Some(spans[0].span_id));
    assert_eq!(first(&[]), None);
}

#[test]
fn where_there_is_no_room_the_oldest_are_decided_and_counted() {
    let shop = resource("shop");
    let mut by_traces = sampler("ratio: 0, keep: [{errors: true}], max_traces: 3");
    for number in 0..5 {
        pass(&mut by_traces, vec![span(number, 1, &shop)], 0);
    }
    let level = by_traces.level().expect("a level");
    assert_eq!((level.traces, level.spans), ((3, 3), 3));
    assert_eq!(by_traces.health.value(Counter::TailEarlyTraces), 2);
    assert_eq!(by_traces.health.value(Counter::SpansDroppedByRatio), 2);
    // One of them alone has more than there may be, and what comes of it later is late.
    let mut by_bytes = sampler("rates: [{ratio: 1}], ratio: 0, max_bytes: 1M");
    let mut out = 0;
    for number in 0..10_000 {
        let mut long = span(1, number, &shop);
        long.attributes = vec![text("url.path", &"x".repeat(1000))];
        out += pass(&mut by_bytes, vec![long], 0).len();
        assert!(by_bytes.bytes <= 1 << 20);
    }
    assert_eq!((out, by_bytes.health.value(Counter::TailEarlyBytes)), (10_000, 1));
    assert!(by_bytes.health.value(Counter::SpansKeptLate) > 9000);
}

#[test]
fn rules_that_change_are_for_what_is_held_as_well() {
    let shop = resource("shop");
    let mut sampler = sampler("ratio: 0, keep: [{services: [other]}], decision_wait: 10s");
    let mut failed = span(1, 0, &shop);
    failed.status = Status::Error("".into());
    assert_eq!(pass(&mut sampler, vec![failed, span(2, 0, &shop)], 0), []);
    sampler.change(Some(rules(
        "ratio: 0, keep: [{errors: true}], decision_wait: 20s",
    )));
    assert_eq!(pass(&mut sampler, vec![], 10 * SECOND), []);
    let kept = pass(&mut sampler, vec![], 20 * SECOND);
    assert_eq!(
        kept.iter().map(|(trace, _)| *trace).collect::<Vec<_>>(),
        [trace_id(1)]
    );
    // Decisions stand.
    sampler.change(Some(rules("rates: [{ratio: 1}], ratio: 0")));
    assert_eq!(pass(&mut sampler, vec![span(2, 1, &shop)], 21 * SECOND), []);
    // Off: what is held is kept, in its time, and what comes is not held.
    pass(&mut sampler, vec![span(3, 1, &shop)], 22 * SECOND);
    sampler.change(None);
    assert_eq!(sampler.level(), None);
    assert_eq!(
        pass(
            &mut sampler,
            vec![span(3, 2, &shop), span(4, 1, &shop)],
            23 * SECOND
        )
        .len(),
        2
    );
    assert_eq!(pass(&mut sampler, vec![], 31 * SECOND).len(), 0);
    assert_eq!(pass(&mut sampler, vec![], 32 * SECOND).len(), 1);
    assert_eq!((sampler.bytes, sampler.spans), (0, 0));
    // And on again.
    sampler.change(Some(rules("ratio: 0")));
    assert_eq!(pass(&mut sampler, vec![span(5, 0, &shop)], 33 * SECOND), []);
    assert_eq!(drained(&mut sampler, 33 * SECOND).len(), 0);
}

#[test]
fn without_rules_spans_go_through() {
    let mut sampler = TailSampler::new(None, Arc::default());
    let shop = resource("shop");
    let spans: Vec<_> = (0..3).map(|id| span(1, id, &shop)).collect();
    assert_eq!(pass(&mut sampler, spans, 0).len(), 3);
    assert_eq!(drained(&mut sampler, 0).len(), 0);
}

#[test]
fn places_of_traces_that_are_gone_do_not_pile_up() {
    let mut sampler = sampler("ratio: 0, keep: [{errors: true}]");
    let shop = resource("shop");
    for number in 0..10_000 {
        let mut failed = span(number, 0, &shop);
        failed.status = Status::Error("".into());
        assert_eq!(pass(&mut sampler, vec![failed], 0).len(), 1);
    }
    assert!(sampler.order.len() <= GONE, "{}", sampler.order.len());
}

#[test]
fn more_operations_than_are_told_apart_share_what_is_left() {
    let mut sampler = sampler("ratio: 0, min_traces_per_minute: 1, max_operations: 2");
    let shop = resource("shop");
    let mut kept = 0;
    for number in 0..10 {
        let mut root = span(number, 0, &shop);
        root.name = format!("GET /{number}").into();
        pass(&mut sampler, vec![root], 0);
        kept += drained(&mut sampler, 0).len();
    }
    // Two of their own, and one of all others.
    assert_eq!(kept, 3);
    assert_eq!(sampler.health.value(Counter::TailOperationsFull), 8);
    sampler.change(Some(rules(
        "ratio: 0, keep: [{percentile: 99}], max_operations: 2",
    )));
    for number in 0..3 {
        let mut root = span(number, 0, &shop);
        root.name = format!("GET /{number}").into();
        pass(&mut sampler, vec![root], 0);
    }
    assert_eq!(sampler.health.value(Counter::TailPercentilesFull), 1);
}
