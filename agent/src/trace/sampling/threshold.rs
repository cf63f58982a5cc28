//! Consistent probability sampling: 56 bits of randomness that all of a trace's samplers see alike, held against a threshold.
//! Whoever decides by it keeps the same traces, or more or fewer of the same, after [TraceState: Probability Sampling].
//!
//! [TraceState: Probability Sampling]: https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/

use smol_str::SmolStr;
use spanwire_ebpf::sampling::{ALWAYS, NEVER, is_sampled};
use std::fmt::{self, Display, Write as _};

/// Hexadecimal digits of them.
const DIGITS: i32 = 14;

/// Digits of a threshold that say something, beside those that are all 0 or all f in front: as many as SDKs and the Collector
/// take, so that all come to the same threshold for the same share.
const PRECISION: i32 = 4;

/// Most members of a `tracestate` (W3C Trace Context, section 3.3.1.1).
const MEMBERS: usize = 32;

/// Most characters of the value of `ot`.
const LONGEST: usize = 256;

/// How many of 2^56 traces are rejected: a trace is kept whose randomness is not below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Threshold(u64);

/// Randomness of a trace: 56 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Randomness(u64);

impl Threshold {
    /// Rejects nothing.
    pub const ALWAYS: Self = Self(ALWAYS);

    /// Rejects all. It has no form in `tracestate`.
    pub const NEVER: Self = Self(NEVER);

    /// The one that keeps this share of all traces: of 0 and less none, of 1 and more all.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between 0 and 2^56, in steps that a float of 53 bits has to round"
    )]
    pub fn of_ratio(ratio: f64) -> Self {
        let all = Self::NEVER.0;
        if ratio.is_nan() || ratio * all as f64 <= 0.5 {
            return Self::NEVER;
        }
        if ratio >= 1.0 {
            return Self::ALWAYS;
        }
        let exact = all - (ratio * all as f64).round() as u64;
        let digits = PRECISION + alike(ratio).max(alike(1.0 - ratio));
        let Some(cut @ 1..) = u32::try_from(4 * (DIGITS - digits)).ok() else {
            return Self(exact);
        };
        let rounded = (exact + (1 << (cut - 1))) >> cut << cut;
        // Rounding must not make none of some.
        Self(if rounded < all { rounded } else { exact })
    }

    /// That of the low bits of a word of the kernel half's.
    pub(super) const fn of_word(word: u64) -> Self {
        Self(word & (2 * NEVER - 1))
    }

    /// From 0 to 2^56.
    pub(super) const fn number(self) -> u64 {
        self.0
    }

    /// The share that it keeps.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn ratio(self) -> f64 {
        (Self::NEVER.0 - self.0) as f64 / Self::NEVER.0 as f64
    }

    /// Whether a trace is kept.
    #[must_use]
    pub const fn keeps(self, trace: Randomness) -> bool {
        is_sampled(trace.0, self.0)
    }

    /// Reads the value of `th`: 1 to 14 hexadecimal digits in lower case, the rest being 0.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let missing = 14_usize.checked_sub(text.len())?;
        Some(Self(hexadecimal(text)? << (4 * missing)))
    }
}

/// As the value of `th`, without the zeroes at its end.
impl Display for Threshold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:014x}", self.0);
        let text = text.trim_end_matches('0');
        formatter.write_str(if text.is_empty() { "0" } else { text })
    }
}

impl Randomness {
    /// That of a trace that says nothing else: the last 7 bytes of its id.
    #[must_use]
    pub const fn of_trace(id: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(id) as u64 & (Threshold::NEVER.0 - 1))
    }

    /// Reads the value of `rv`: 14 hexadecimal digits in lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 14).then(|| hexadecimal(text))?.map(Self)
    }
}

/// How many hexadecimal digits in front say nothing but that a share is small.
fn alike(share: f64) -> i32 {
    let bits = share.to_bits() >> 52 & 0x7ff;
    // The exponent `e` of `share = m * 2^e`, with m from 0.5 to 1.
    let exponent = i32::try_from(bits).unwrap_or(0) - 1022;
    (-exponent / 4).clamp(0, DIGITS - PRECISION)
}

fn hexadecimal(text: &str) -> Option<u64> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (!text.is_empty() && text.bytes().all(is_digit))
        .then(|| u64::from_str_radix(text, 16).ok())
        .flatten()
}

/// What a `tracestate` says of sampling. What is malformed says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The threshold by which the trace was kept so far (`th`).
    pub threshold: Option<Threshold>,
    /// The randomness that counts in place of the trace id's (`rv`).
    pub randomness: Option<Randomness>,
}

impl Said {
    /// Reads the member `ot` of a `tracestate`.
    #[must_use]
    pub fn of(state: &str) -> Self {
        let mut said = Self::default();
        for (key, value) in parts(state) {
            match key {
                "th" => said.threshold = said.threshold.or(Threshold::parse(value)),
                "rv" => said.randomness = said.randomness.or(Randomness::parse(value)),
                _ => {}
            }
        }
        said
    }
}

/// Members of a `tracestate`.
fn members(state: &str) -> impl Iterator<Item = &str> {
    state
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
}

/// Keys and values of the first member `ot`.
fn parts(state: &str) -> impl Iterator<Item = (&str, &str)> {
    let ot = members(state).find_map(|member| member.strip_prefix("ot="));
    ot.unwrap_or_default()
        .split(';')
        .filter_map(|part| part.split_once(':'))
}

/// `state` with this threshold in place of what it says, or with none. What was changed stands in front.
#[must_use]
pub fn with_threshold(state: &str, threshold: Option<Threshold>) -> SmolStr {
    let mut ot = String::new();
    let mut add = |key: &str, value: &dyn Display| {
        let before = ot.len();
        let between = if ot.is_empty() { "" } else { ";" };
        // Writing to a string does not fail.
        let _ = write!(ot, "{between}{key}:{value}");
        if ot.len() > LONGEST {
            ot.truncate(before);
        }
    };
    if let Some(threshold) = threshold {
        add("th", &threshold);
    }
    // Randomness before what we do not know: it must not fall to the limit.
    for is_randomness in [true, false] {
        for (key, value) in parts(state).filter(|(key, _)| *key != "th" && (*key == "rv") == is_randomness) {
            add(key, &value);
        }
    }
    let ot = (!ot.is_empty()).then(|| format!("ot={ot}"));
    let others = members(state).filter(|member| !member.starts_with("ot="));
    let all: Vec<&str> = ot.as_deref().into_iter().chain(others).take(MEMBERS).collect();
    all.join(",").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of the specification's table at 4 digits, and what the Collector 0.155.0 makes of more of them
    /// (`ProbabilityToThresholdWithPrecision` of its pkg/sampling, at the 4 digits that its samplers take).
    #[test]
    fn thresholds_are_those_of_the_specification_and_of_the_collector() {
        for (ratio, expect) in [
            (1.0, "0"),
            (0.999_999, "000010c7"),
            (0.999_99, "0000a7c6"),
            (0.9999, "00068dc"),
            (0.999, "004189"),
            (0.99, "028f6"),
            (0.97, "07ae1"),
            (0.9375, "1"),
            (0.9, "199a"),
            (0.7, "4ccd"),
            (0.5, "8"),
            (1.0 / 3.0, "aaab"),
            (0.3, "b333"),
            (0.25, "c"),
            (0.2, "cccd"),
            (0.125, "e"),
            (0.1, "e666"),
            (0.07, "ee14"),
            (0.0625, "f"),
            (0.05, "f3333"),
            (0.02, "fae14"),
            (0.01, "fd70a"),
            (0.005, "feb85"),
            (1e-3, "ffbe77"),
            (1e-4, "fff9724"),
            (1e-5, "ffff583a"),
            (1e-6, "ffffef39"),
            (1e-9, "fffffffbb48"),
        ] {
            let threshold = Threshold::of_ratio(ratio);
            assert_eq!(threshold.to_string(), expect, "{ratio}");
            assert_eq!(Threshold::parse(expect), Some(threshold));
            assert!((threshold.ratio() / ratio - 1.0).abs() < 2e-4, "{ratio}");
        }
        assert_eq!(Threshold::of_ratio(0.0), Threshold::NEVER);
        assert_eq!(Threshold::of_ratio(-1.0), Threshold::NEVER);
        assert_eq!(Threshold::of_ratio(f64::NAN), Threshold::NEVER);
        assert_eq!(Threshold::of_ratio(2.0), Threshold::ALWAYS);
        let least = Threshold::of_ratio(2_f64.powi(-56));
        assert!(least < Threshold::NEVER && least.to_string() == "ffffffffffffff");
    }

    #[test]
    fn randomness_is_the_end_of_the_trace_id() {
        let mut id = [0xff; 16];
        id[9..].copy_from_slice(&[0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(Randomness::of_trace(id), Randomness(0x00_0102_0304_0506));
        assert_eq!(
            Randomness::parse("00010203040506"),
            Some(Randomness::of_trace(id))
        );
        assert_eq!(Randomness::parse("0001020304050"), None);
        assert_eq!(Randomness::parse("000102030405ZZ"), None);
        assert_eq!(Randomness::parse("0001020304050A"), None);
        // Never has all of them below it, and always none.
        let most = Randomness::of_trace([0xff; 16]);
        assert!(!Threshold::NEVER.keeps(most) && Threshold::of_ratio(2_f64.powi(-56)).keeps(most));
        assert!(Threshold::ALWAYS.keeps(Randomness(0)));
    }

    #[test]
    fn what_ot_says_is_read_and_what_is_malformed_says_nothing() {
        let said = |state: &str| {
            let Said {
                threshold,
                randomness,
            } = Said::of(state);
            (threshold.map(|it| it.to_string()), randomness.map(|it| it.0))
        };
        assert_eq!(said(""), (None, None));
        assert_eq!(said("ot=th:8"), (Some("8".into()), None));
        assert_eq!(
            said("a=b , ot=x:y;rv:00000000000010;th:0 ,ot=th:c"),
            (Some("0".into()), Some(16))
        );
        for wrong in [
            "ot=th:",
            "ot=th:G",
            "ot=th:+1",
            "ot=th:123456789012345",
            "ot=th",
            "ot",
            "OT=th:8",
            "ot=rv:1",
        ] {
            assert_eq!(said(wrong), (None, None), "{wrong}");
        }
    }

    #[test]
    fn a_threshold_takes_the_place_of_what_was_said_and_all_else_stays() {
        let check = |state: &str, threshold: Option<&str>, expect: &str| {
            let threshold = threshold.map(|text| Threshold::parse(text).unwrap());
            assert_eq!(with_threshold(state, threshold), expect, "{state}");
        };
        check("", Some("e666"), "ot=th:e666");
        check("", None, "");
        check("ot=th:8", None, "");
        check(
            "a=1,ot=p:8;th:8;rv:00000000000010,b=2",
            Some("c"),
            "ot=th:c;rv:00000000000010;p:8,a=1,b=2",
        );
        check("a=1, ot=rv:00000000000010", None, "ot=rv:00000000000010,a=1");
        let many: Vec<_> = (0..40).map(|number| format!("k{number}=v")).collect();
        let with = with_threshold(&many.join(","), Threshold::parse("8"));
        assert!(
            with.starts_with("ot=th:8,k0=v,") && with.ends_with(",k30=v"),
            "{with}"
        );
        let long = format!("ot=x:{};rv:00000000000010;y:z", "1".repeat(250));
        check(&long, Some("8"), "ot=th:8;rv:00000000000010;y:z");
    }

    proptest::proptest! {
        #[test]
        fn what_is_kept_at_a_share_is_kept_at_each_greater_one(
            id in proptest::prelude::any::<[u8; 16]>(), one in 0.0..=1.0_f64, other in 0.0..=1.0_f64,
        ) {
            let trace = Randomness::of_trace(id);
            let (less, more) = (one.min(other), one.max(other));
            proptest::prop_assert!(Threshold::of_ratio(less) >= Threshold::of_ratio(more));
            let keeps = |ratio| Threshold::of_ratio(ratio).keeps(trace);
            proptest::prop_assert!(!keeps(less) || keeps(more));
        }

        #[test]
        fn a_threshold_reads_back_from_any_state(
            state in "[a-z]{0,3}(=[a-z:;0-9]{0,20})?(, ?(ot|[a-z]{1,3})=[a-z:;0-9]{0,20}){0,4}", bits in 0_u64..1 << 56,
        ) {
            let threshold = Threshold(bits);
            let before = Said::of(&state);
            let after = with_threshold(&state, Some(threshold));
            let expect = Said { threshold: Some(threshold), ..before };
            proptest::prop_assert_eq!(Said::of(&after), expect, "{}", after);
        }
    }
}
