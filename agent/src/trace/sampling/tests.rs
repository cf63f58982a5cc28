//! Shares, consistency, parents' decisions, and limits.

use super::*;
use crate::span::{Attribute, SpanId, TraceId, Value};
use globset::Glob;
use proptest::prelude::*;
use spanwire_ebpf::sampling::By;

const SECOND: u64 = 1_000_000_000;

/// Random numbers that are the same each time (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn globs(pattern: &str) -> GlobSet {
    globs::compiled("", [Glob::new(pattern).expect("a pattern")]).expect("patterns")
}

fn resource(service: &str, namespace: Option<&str>) -> Resource {
    let attribute = |key: &'static str, value: &str| Attribute {
        key: key.into(),
        value: Value::Text(value.into()),
    };
    let mut attributes = vec![attribute("service.name", service)];
    attributes.extend(namespace.map(|it| attribute("service.namespace", it)));
    Resource {
        own: crate::span::OwnRules::default(),
        pid: 1,
        attributes,
    }
}

/// What the kernel half decides of a trace that begins in a process of that slot.
fn decided(sampler: &Sampler, slot: u32, low: u64) -> Decision {
    let flags = sampling::decide(sampler.slots[slot as usize].word(), slot, low);
    Decision {
        is_sampled: flags & sampling::SAMPLED != 0,
        by: sampling::by(flags),
    }
}

fn id(low: u64) -> TraceId {
    let mut id = [7; 16];
    id[8..].copy_from_slice(&low.to_ne_bytes());
    TraceId(id)
}

fn context(low: u64, flags: u8, state: &str) -> Context {
    Context {
        trace_id: id(low),
        parent: SpanId([1; 8]),
        flags,
        is_deferred: false,
        state: state.into(),
    }
}

fn ratio(ratio: f64) -> Policy {
    Policy {
        ratio,
        ..Policy::default()
    }
}

#[test]
fn of_a_million_traces_as_many_are_kept_as_was_asked() {
    const TRACES: u32 = 1_000_000;
    let ratios = [
        0.0, 0.000_01, 0.000_1, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.125, 0.2, 0.25, 0.3, 0.333_333, 0.5,
        0.6, 0.75, 0.8, 0.9, 0.95, 0.99, 0.999, 0.999_9, 1.0,
    ];
    let samplers = ratios.map(|it| Sampler::new(ratio(it)));
    let mut kept = [0_u32; 24];
    let mut random = Random(20_261_122);
    for _ in 0..TRACES {
        let low = random.next();
        let mut before = false;
        for (kept, sampler) in kept.iter_mut().zip(&samplers) {
            let is_kept = decided(sampler, 0, low).is_sampled;
            // Whoever is kept at one ratio is at each greater one.
            assert!(is_kept || !before);
            before = is_kept;
            *kept += u32::from(is_kept);
        }
    }
    for (ratio, kept) in ratios.into_iter().zip(kept) {
        let expect = ratio * f64::from(TRACES);
        let sigma = (expect * (1.0 - ratio)).sqrt();
        let off = (f64::from(kept) - expect).abs();
        assert!(
            off <= 4.0 * sigma,
            "{kept} at {ratio}, {off} off, sigma is {sigma}"
        );
    }
}

#[test]
fn what_begins_here_says_by_which_threshold_it_is_kept() {
    let mut sampler = Sampler::new(ratio(0.25));
    let all = u64::from_ne_bytes([0xff; 8]);
    let before = decided(&sampler, 0, all);
    sampler.follow(ratio(0.5));
    let after = decided(&sampler, 0, all);
    assert_eq!(sampler.begins(before).1, "ot=th:c");
    assert_eq!(sampler.begins(after).1, "ot=th:8");
    // Not kept, and kept certainly.
    assert_eq!(sampler.begins(decided(&sampler, 0, 0)).1, "");
    sampler.follow(ratio(1.0));
    assert_eq!(sampler.begins(decided(&sampler, 0, all)).1, "");
    // Decided by others.
    let others = Decision {
        is_sampled: true,
        by: None,
    };
    assert_eq!(sampler.begins(others).1, "");
}

#[test]
fn as_many_thresholds_as_there_are_generations_can_be_told_apart() {
    let mut sampler = Sampler::default();
    let all = u64::from_ne_bytes([0xff; 8]);
    let mut past = Vec::new();
    for step in 1..=200 {
        sampler.follow(ratio(f64::from(step) / 256.0));
        past.push((
            decided(&sampler, 0, all),
            Threshold::of_ratio(f64::from(step) / 256.0),
        ));
        for (decision, threshold) in past.iter().rev().take(GENERATIONS as usize) {
            assert_eq!(sampler.begins(*decision).1, format!("ot=th:{threshold}"));
        }
    }
}

#[test]
fn a_sampler_on_its_own_decides_whatever_others_have() {
    let alone = |it| {
        Sampler::new(Policy {
            parent_based: false,
            ..ratio(it)
        })
    };
    let (most, least) = (u64::from_ne_bytes([0xff; 8]), 0);
    let of = |sampler: &Sampler, low, flags, state| {
        let (verdict, state) = sampler.continues(&context(low, flags, state), decided(sampler, 0, 5));
        (verdict.is_sampled, state.to_string())
    };
    let sampler = alone(0.25);
    assert_eq!(of(&sampler, most, 0, "a=b"), (true, "ot=th:c,a=b".to_owned()));
    assert_eq!(
        of(&sampler, most, 1, "ot=th:8,a=b"),
        (true, "ot=th:c,a=b".to_owned())
    );
    assert_eq!(of(&sampler, least, 1, ""), (false, String::new()));
    // Randomness that is given counts before that of the id.
    assert!(of(&sampler, least, 0, "ot=rv:ffffffffffffff").0);
    assert!(!of(&sampler, most, 1, "ot=rv:00000000000000").0);
    // Kept for certain, a threshold of others no longer holds; where there is none, none is needed.
    assert_eq!(of(&alone(1.0), least, 0, "ot=th:8"), (true, "ot=th:0".to_owned()));
    assert_eq!(of(&alone(1.0), least, 0, "a=b"), (true, "a=b".to_owned()));
    assert!(!of(&alone(0.0), most, 1, "").0);
}

#[test]
fn who_leaves_the_decision_to_others_gets_one() {
    let sampler = Sampler::new(ratio(0.25));
    let of = |low| {
        let context = Context {
            is_deferred: true,
            ..context(low, 0, "")
        };
        sampler.continues(&context, decided(&sampler, 0, 5)).0.is_sampled
    };
    assert!(of(u64::from_ne_bytes([0xff; 8])));
    assert!(!of(0));
}

proptest! {
    #[test]
    fn a_parent_s_decision_is_never_broken(
        low: u64, own: u64, kept: bool, part in 0.0..=1.0f64, state in "(a=b)?|ot=th:8|ot=rv:0123456789abcd",
    ) {
        let sampler = Sampler::new(ratio(part));
        for decision in [decided(&sampler, 0, own), Decision { is_sampled: !kept, by: None }] {
            let (verdict, after) = sampler.continues(&context(low, u8::from(kept), &state), decision);
            prop_assert_eq!(verdict.is_sampled, kept);
            prop_assert_eq!(after, &state);
        }
    }

    #[test]
    fn both_halves_decide_alike(low: u64, part in 0.0..=1.0f64, slot in 0..SLOTS) {
        let threshold = Threshold::of_ratio(part);
        for alone in [false, true] {
            let word = sampling::word(threshold.number(), 1, alone);
            let flags = sampling::decide(word, slot, low);
            prop_assert_eq!(flags & sampling::SAMPLED != 0, threshold.keeps(Randomness::of_trace(id(low).0)));
            prop_assert_eq!(sampling::by(flags), Some(By { slot, generation: 1 }));
        }
    }
}

fn rule(services: Option<&str>, namespaces: Option<&str>, ratio: f64) -> Rule {
    Rule {
        services: services.map(globs).unwrap_or_default(),
        namespaces: namespaces.map(globs).unwrap_or_default(),
        ratio,
    }
}

#[test]
fn the_first_rule_that_fits_a_service_counts() {
    let mut sampler = Sampler::new(Policy {
        rules: vec![
            rule(Some("shop"), Some("prod*"), 0.25),
            rule(Some("shop*"), None, 0.5),
            rule(None, Some("test"), 0.0),
        ],
        ..ratio(1.0)
    });
    let mut check = |service, namespace, expect: &str| {
        let slot = sampler.slot(&resource(service, namespace));
        assert_eq!(slot, sampler.slot(&resource(service, namespace)));
        let word = Threshold::of_word(sampler.slots[slot as usize].word());
        assert_eq!(
            word,
            Threshold::of_ratio(expect.parse().unwrap()),
            "{service} {namespace:?}"
        );
    };
    check("shop", Some("production"), "0.25");
    check("shop", Some("test"), "0.5");
    check("shop", None, "0.5");
    check("other", Some("test"), "0");
    check("other", None, "1");
    // Each was told once, and what another policy changes is told again.
    assert_eq!(sampler.changes().len(), 6);
    sampler.follow(ratio(1.0));
    let changes = sampler.changes();
    assert_eq!(changes.len(), 4);
    assert!(
        changes
            .iter()
            .all(|(_, word)| Threshold::of_word(*word) == Threshold::ALWAYS)
    );
}

#[test]
fn there_are_no_more_slots_than_the_kernel_half_has() {
    let mut sampler = Sampler::default();
    for number in 1..SLOTS {
        assert_eq!(sampler.slot(&resource(&format!("s{number}"), None)), number);
    }
    assert_eq!(sampler.slot(&resource("one more", None)), 0);
    assert_eq!(sampler.slot(&resource("s1", None)), 1);
}

/// Services with so many traces a second, of so many spans each; how many spans and traces of each are kept in the last ten of
/// thirty seconds.
fn run(sampler: &mut Sampler, loads: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut random = Random(1);
    let mut kept = vec![(0, 0); loads.len()];
    let slots: Vec<_> = (0..loads.len())
        .map(|number| sampler.slot(&resource(&format!("s{number}"), None)))
        .collect();
    sampler.turn(SECOND);
    for second in 0..30 {
        for ((slot, (traces, spans)), kept) in slots.iter().zip(loads).zip(&mut kept) {
            for _ in 0..*traces {
                let (verdict, _) = sampler.begins(decided(sampler, *slot, random.next()));
                for span in 0..*spans {
                    sampler.saw(verdict, span == 0);
                }
                if second >= 20 && verdict.is_sampled {
                    kept.0 += 1;
                    kept.1 += spans;
                }
            }
        }
        sampler.turn((second + 2) * SECOND);
    }
    kept
}

#[test]
fn a_limit_of_traces_is_shared_so_that_the_rare_stay() {
    let mut sampler = Sampler::new(Policy {
        traces_per_second: Some(100.0),
        ..ratio(1.0)
    });
    let kept = run(&mut sampler, &[(2000, 1), (500, 3), (5, 1), (1, 1)]);
    // 94 are left for the two that have more than their part.
    for busy in &kept[..2] {
        assert!((400..=540).contains(&busy.0), "{kept:?}");
    }
    assert_eq!((kept[2].0, kept[3].0), (50, 10));
    let all: u32 = kept.iter().map(|(traces, _)| traces).sum();
    assert!(all <= 1_100, "{kept:?}");
}

#[test]
fn a_limit_of_spans_counts_what_traces_cost() {
    let mut sampler = Sampler::new(Policy {
        spans_per_second: Some(1000.0),
        ..ratio(1.0)
    });
    let kept = run(&mut sampler, &[(1000, 10), (1000, 1), (10, 1)]);
    for busy in &kept[..2] {
        assert!((4_200..=5_700).contains(&busy.1), "{kept:?}");
    }
    assert_eq!(kept[2].1, 100);
}

#[test]
fn who_is_within_the_limits_loses_nothing_and_ratios_hold() {
    let mut sampler = Sampler::new(Policy {
        traces_per_second: Some(1000.0),
        spans_per_second: Some(10_000.0),
        ..ratio(1.0)
    });
    assert_eq!(
        run(&mut sampler, &[(100, 2), (50, 1)]),
        [(1000, 2000), (500, 500)]
    );
    let mut sampler = Sampler::new(Policy {
        traces_per_second: Some(1000.0),
        ..ratio(0.0)
    });
    assert_eq!(run(&mut sampler, &[(100, 2)]), [(0, 0)]);
}

#[test]
fn after_a_rush_all_is_kept_again() {
    let mut sampler = Sampler::new(Policy {
        traces_per_second: Some(10.0),
        ..ratio(1.0)
    });
    run(&mut sampler, &[(1000, 1)]);
    for second in 40..80 {
        sampler.turn(second * SECOND);
    }
    let word = sampler.slots[1].word();
    assert_eq!(Threshold::of_word(word), Threshold::ALWAYS);
}

#[test]
fn time_that_stands_still_changes_nothing() {
    let mut sampler = Sampler::new(Policy {
        traces_per_second: Some(1.0),
        ..ratio(1.0)
    });
    sampler.turn(SECOND);
    for _ in 0..1000 {
        let (verdict, _) = sampler.begins(decided(&sampler, 0, 0));
        sampler.saw(verdict, true);
    }
    sampler.turn(SECOND);
    sampler.turn(0);
    assert_eq!(Threshold::of_word(sampler.common_word()), Threshold::ALWAYS);
    sampler.turn(SECOND);
    assert!(Threshold::of_word(sampler.common_word()) > Threshold::ALWAYS);
}

#[test]
fn slots_of_services_that_are_gone_are_others_and_what_was_decided_by_them_holds() {
    let half = Policy {
        ratio: 0.5,
        rules: vec![Rule {
            services: globs("late*"),
            namespaces: GlobSet::default(),
            ratio: 0.25,
        }],
        ..Policy::default()
    };
    let mut sampler = Sampler::new(half);
    let slots: Vec<u32> = (1..SLOTS)
        .map(|number| sampler.slot(&resource(&format!("s{number}"), None)))
        .collect();
    assert!(sampler.is_full());
    assert_eq!(sampler.slot(&resource("late", None)), 0);
    let (stays, goes) = (slots[6], slots[0]);
    let begun = decided(&sampler, goes, u64::from_be(sampling::NEVER - 1));
    let before = sampler.begins(begun);
    assert_eq!(before.1, "ot=th:8");
    // All are there yet.
    sampler.give_back(&slots.iter().copied().collect());
    assert_eq!(sampler.slot(&resource("late", None)), 0);
    sampler.give_back(&HashSet::from([0, stays]));
    assert!(!sampler.is_full());
    sampler.changes();
    for number in 2..SLOTS {
        let slot = sampler.slot(&resource(&format!("late{number}"), None));
        assert!(slot != 0 && slot != stays, "{number}");
        let kept = decided(&sampler, slot, u64::from_be(sampling::NEVER / 4 * 3));
        assert!(kept.is_sampled);
        assert!(!decided(&sampler, slot, u64::from_be(sampling::NEVER / 4 * 3 - 1)).is_sampled);
    }
    assert!(sampler.is_full());
    assert_eq!(sampler.changes().len(), SLOTS as usize - 2);
    assert_eq!(sampler.slot(&resource("s7", None)), stays);
    assert_eq!(sampler.slot(&resource("s1", None)), 0);
    // A trace that began in the service that is gone, and goes on.
    assert_eq!(sampler.begins(begun), before);
}
