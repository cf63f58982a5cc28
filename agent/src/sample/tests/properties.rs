//! Whatever comes in whichever order: whole traces or none of them, each span once, and bounds that hold.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashMap;

/// Something that happens: a span of a trace after some milliseconds, what it is like, and how long its texts are.
#[derive(Clone, Debug)]
struct Step {
    trace: u64,
    after: u64,
    failed: bool,
    entry: bool,
    operation: u8,
    duration: u64,
    length: usize,
}

fn step() -> impl Strategy<Value = Step> {
    let what = (0_u64..40, 0_u64..300, 0_u8..20, any::<bool>());
    (what, 0_u8..6, 1_u64..2000, 0_usize..3000).prop_map(
        |((trace, after, failed, entry), operation, duration, length)| Step {
            trace,
            after,
            failed: failed == 0,
            entry,
            operation,
            duration,
            length,
        },
    )
}

const RULES: &[&str] = &[
    "ratio: 0.5",
    "ratio: 0, keep: [{errors: true}]",
    "ratio: 0.3, keep: [{errors: true}, {latency: 1500ms}, {min_spans: 6}], min_traces_per_minute: 2",
    "spans_per_second: 2, decision_wait: 500ms",
    "ratio: 0.9, spans_per_second: 5, min_traces_per_minute: 1, max_operations: 3, max_bytes: 1M",
    "ratio: 0.5, max_traces: 4, keep: [{percentile: 50}]",
    "rates: [{operations: ['op-1', 'op-2'], ratio: 0.1}], ratio: 0.5, decision_wait: 1ms",
];

/// One service for each operation, so that resources come and go.
fn spans(steps: &[Step]) -> Vec<Span> {
    let services: Vec<_> = (0..6)
        .map(|number| resource(&format!("service-{number}")))
        .collect();
    let numbered = (0..).zip(steps);
    let span = |(id, step): (u64, &Step)| {
        let mut span = span(step.trace, id, &services[usize::from(step.operation)]);
        span.name = format!("op-{}", step.operation).into();
        span.kind = if step.entry { Kind::Server } else { Kind::Client };
        span.end = UnixNanoseconds(span.start.0 + step.duration * MILLISECOND);
        span.attributes = vec![text("url.path", &"x".repeat(step.length))];
        if step.failed {
            span.status = Status::Error("".into());
        }
        span
    };
    numbered.map(span).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn of_a_trace_all_comes_out_once_and_in_order_or_nothing(
        steps in vec(step(), 1..250), which in 0..RULES.len(), change in (0..250_usize, 0..RULES.len() + 1),
    ) {
        let mut sampler = sampler(RULES[which]);
        let all = spans(&steps);
        let mut now = SECOND;
        let mut out = Vec::new();
        let mut was_off = false;
        for (number, (step, span)) in steps.iter().zip(&all).enumerate() {
            if number == change.0 {
                let rules = RULES.get(change.1).map(|text| rules(text));
                was_off = rules.is_none();
                sampler.change(rules);
            }
            now += step.after * MILLISECOND;
            out.extend(sampler.turn(vec![redacted(span.clone())], now));
            if let Some(level) = sampler.level() {
                prop_assert!(level.traces.0 <= level.traces.1 && level.bytes.0 <= level.bytes.1);
                let held: usize = sampler.traces.values().map(|trace| trace.spans.len()).sum();
                prop_assert_eq!(level.spans, held);
            }
        }
        out.extend(drained(&mut sampler, now));
        prop_assert_eq!((sampler.bytes, sampler.spans, sampler.traces.len()), (0, 0, 0));
        let by_trace = |spans: &mut dyn Iterator<Item = &Span>| {
            let mut by_trace: HashMap<TraceId, Vec<SpanId>> = HashMap::new();
            for span in spans {
                by_trace.entry(span.trace_id).or_default().push(span.span_id);
            }
            by_trace
        };
        let mut came = by_trace(&mut all.iter());
        let mut went = by_trace(&mut out.iter().map(Redacted::span));
        if was_off {
            // What is held then goes behind what comes after.
            let sort = |traces: &mut HashMap<TraceId, Vec<SpanId>>| {
                traces.values_mut().for_each(|spans| spans.sort_unstable_by_key(|span| span.0));
            };
            sort(&mut came);
            sort(&mut went);
            for (trace, spans) in &went {
                let mut once = spans.clone();
                once.dedup();
                prop_assert_eq!(&once, spans);
                prop_assert!(spans.iter().all(|span| came[trace].contains(span)));
            }
            return Ok(());
        }
        for (trace, spans) in &went {
            prop_assert_eq!(spans, &came[trace]);
        }
        let value = |counter| sampler.health.value(counter);
        let kept = [
            Counter::SpansKeptByPolicy,
            Counter::SpansKeptByFloor,
            Counter::SpansKeptByRatio,
            Counter::SpansKeptLate,
        ];
        let dropped = [
            Counter::SpansDroppedByRatio,
            Counter::SpansDroppedByBudget,
            Counter::SpansDroppedLate,
        ];
        prop_assert_eq!(kept.into_iter().map(value).sum::<u64>(), out.len() as u64);
        let all = all.len() - out.len();
        prop_assert_eq!(dropped.into_iter().map(value).sum::<u64>(), all as u64);
    }

    #[test]
    fn a_trace_that_fails_is_kept_wherever_it_is_seen_to_before_it_is_decided(steps in vec(step(), 1..200)) {
        let mut sampler = sampler("ratio: 0, keep: [{errors: true}], decision_wait: 1h");
        let all = spans(&steps);
        let mut out = sampler.turn(all.iter().cloned().map(redacted).collect(), 0);
        out.extend(drained(&mut sampler, 0));
        let failed: Vec<_> = all.iter().filter(|span| span.status != Status::Unset).map(|span| span.trace_id).collect();
        let expect: Vec<_> = all.iter().filter(|span| failed.contains(&span.trace_id)).map(|span| span.span_id).collect();
        let mut went: Vec<_> = ids(&out).into_iter().map(|(_, span)| span).collect();
        went.sort_unstable_by_key(|span| span.0);
        prop_assert_eq!(went, expect);
    }

    #[test]
    fn no_configuration_panics(text in "[a-z_:\\[\\]{}'*, \n0-9.\\-]{0,60}", keys in vec((0..15_usize, 0..14_usize), 0..6)) {
        const KEYS: [&str; 15] = [
            "enabled", "decision_wait", "max_bytes", "max_traces", "decision_cache", "keep", "ratio", "rates",
            "min_traces_per_minute", "spans_per_second", "max_operations", "kep", "mode", "rate", "'",
        ];
        const VALUES: [&str; 14] = [
            "true", "0", "1", "0.5", "-1", ".nan", ".inf", "1e400", "99999999999999999999", "''", "[]", "10s",
            "[{errors: true}, {attributes: [{name: a, min: .nan}]}]", "[{ratio: 0.1, services: ['[']}]",
        ];
        let lines = keys.iter().map(|(key, value)| format!("{}: {}", KEYS[*key], VALUES[*value]));
        let lines: Vec<_> = lines.collect();
        for text in [format!("sampling: {{tail: {{{}}}}}", lines.join(", ")), format!("sampling: {{tail: {{{text}}}}}")] {
            let file = File { name: "f".into(), text };
            let resolved = config::resolve(Some(&file), &BTreeMap::new(), Layer::default());
            if let Ok(resolved) = resolved && let Some(tail) = &resolved.config.sampling.tail {
                let mut sampler = TailSampler::new(Rules::new(tail).ok(), Arc::default());
                let shop = resource("shop");
                pass(&mut sampler, vec![span(1, 0, &shop), span(1, 1, &shop)], u64::MAX / 2);
                drained(&mut sampler, u64::MAX);
                let again = File { name: "f".into(), text: resolved.yaml() };
                let again = config::resolve(Some(&again), &BTreeMap::new(), Layer::default()).expect("what was printed");
                prop_assert_eq!(again.config.sampling, resolved.config.sampling);
            }
        }
    }
}
