//! How many traces of how many are kept.

use super::*;
use std::collections::HashSet;

/// Standard deviations that a count of chosen traces may be off by.
const SIGMA: f64 = 4.0;

fn is_share(kept: u64, of: u64, ratio: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "some million")]
    let (kept, of) = (kept as f64, of as f64);
    (kept - of * ratio).abs() <= SIGMA * (of * ratio * (1.0 - ratio)).sqrt()
}

#[test]
fn of_a_million_traces_the_share_is_kept_that_was_asked_for() {
    let traces: Vec<_> = (0..1_000_000)
        .map(|number| Randomness::of_trace(trace_id(number).0))
        .collect();
    for ratio in [
        0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999, 0.9999,
    ] {
        let threshold = Threshold::of_ratio(ratio);
        let kept = traces.iter().filter(|trace| threshold.keeps(**trace)).count() as u64;
        assert!(is_share(kept, 1_000_000, ratio), "{kept} at {ratio}");
    }
}

/// The traces that are kept of the first `count`.
fn kept(rules: &str, count: u64) -> HashSet<TraceId> {
    let mut sampler = sampler(rules);
    let shop = resource("shop");
    let mut all = HashSet::new();
    for number in 0..count {
        let out = sampler.turn(vec![redacted(span(number, 0, &shop))], number * MILLISECOND);
        all.extend(out.iter().map(|span| span.span().trace_id));
    }
    let out = drained(&mut sampler, count * MILLISECOND);
    all.extend(out.iter().map(|span| span.span().trace_id));
    all
}

#[test]
fn the_sampler_keeps_exactly_those_that_the_threshold_does_and_more_at_greater_shares() {
    const COUNT: u64 = 20_000;
    let mut fewer = HashSet::new();
    for ratio in [0.001, 0.05, 0.1, 0.5, 0.99] {
        let threshold = Threshold::of_ratio(ratio);
        let expect = (0..COUNT)
            .map(trace_id)
            .filter(|id| threshold.keeps(Randomness::of_trace(id.0)));
        let kept = kept(&format!("ratio: {ratio}"), COUNT);
        assert_eq!(kept, expect.collect());
        assert!(
            kept.is_superset(&fewer) && is_share(kept.len() as u64, COUNT, ratio),
            "{ratio}"
        );
        fewer = kept;
    }
}

/// Sends traces of operations, so many of each a second, of two spans each; returns how many of each were decided and kept
/// in each window of 10 s.
fn windows(sampler: &mut TailSampler, rates: &[u64], seconds: u64) -> Vec<Vec<(u64, u64)>> {
    let services: Vec<_> = (0..rates.len())
        .map(|number| resource(&format!("service-{number}")))
        .collect();
    let mut number = 0;
    let mut windows: Vec<Vec<(u64, u64)>> = Vec::new();
    for second in 0..seconds {
        for tenth in 0..10 {
            let now = 1000 * SECOND + second * SECOND + tenth * SECOND / 10;
            for (service, rate) in services.iter().zip(rates) {
                for _ in 0..rate * (tenth + 1) / 10 - rate * tenth / 10 {
                    number += 1;
                    let spans = vec![span(number, 1, service), span(number, 0, service)];
                    sampler.turn(spans.into_iter().map(redacted).collect(), now);
                }
            }
            // All of it is decided here.
            let window = usize::try_from(second / 10).expect("some windows");
            windows.resize(window + 1, vec![(0, 0); rates.len()]);
            for (count, rate) in windows[window].iter_mut().zip(rates) {
                count.0 += rate * (tenth + 1) / 10 - rate * tenth / 10;
            }
            for span in drained(sampler, now) {
                let service = span.span().resource.service_name().rsplit('-').next();
                let place: usize = service.and_then(|it| it.parse().ok()).expect("a number");
                if span.span().parent.is_none() {
                    windows[window][place].1 += 1;
                }
            }
        }
    }
    windows
}

#[test]
fn a_budget_holds_in_each_window_and_rare_operations_are_kept_whole() {
    // 60 spans a second.
    let mut sampler = sampler("spans_per_second: 60");
    let rates = [400, 100, 3, 2, 1, 1];
    let windows = windows(&mut sampler, &rates, 60);
    for (number, window) in windows.iter().enumerate() {
        let spans: u64 = window.iter().map(|(_, kept)| 2 * kept).sum();
        assert!(spans <= 600, "{window:?}");
        if number > 0 {
            // As good as all of it is used.
            assert!(spans >= 480, "{window:?}");
            for (all, kept) in &window[2..] {
                assert_eq!(all, kept, "{window:?}");
            }
            // The two others have as much of the rest as each other.
            let (one, other) = (window[0].1, window[1].1);
            assert!(one.abs_diff(other) < 40 && one > 60, "{window:?}");
        }
    }
    let value = |counter| sampler.health.value(counter);
    assert_eq!(
        value(Counter::SpansKeptByRatio) + value(Counter::SpansDroppedByBudget),
        rates.iter().sum::<u64>() * 60 * 2
    );
}

#[test]
fn what_a_budget_keeps_says_how_many_it_stands_for() {
    let mut sampler = sampler("spans_per_second: 50");
    let shop = resource("shop");
    let mut stands_for = 0.0;
    for second in 0..200 {
        let now = 1000 * SECOND + second * SECOND;
        for number in 0..200 {
            let spans = vec![redacted(span(second * 200 + number, 0, &shop))];
            sampler.turn(spans, now);
        }
        for span in drained(&mut sampler, now) {
            let said = Said::of(&span.span().state)
                .threshold
                .map_or(1.0, Threshold::ratio);
            // Until an operation is known, its bound is not by chance.
            stands_for += if second < 10 { 0.0 } else { 1.0 / said };
        }
    }
    let off: f64 = stands_for / (190.0 * 200.0);
    assert!((0.95..1.05).contains(&off), "{off}");
}

#[test]
fn floors_hold_each_minute_for_each_operation() {
    let mut sampler = sampler("ratio: 0, min_traces_per_minute: 20, spans_per_second: 1");
    let rates = [50, 10, 1];
    let windows = windows(&mut sampler, &rates, 240);
    // From 1000 s on: minutes begin at 1020 s.
    for minute in windows[2..].chunks_exact(6) {
        for place in 0..rates.len() {
            let kept: u64 = minute.iter().map(|window| window[place].1).sum();
            assert_eq!(kept, 20, "{minute:?}");
        }
    }
}
