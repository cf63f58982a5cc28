//! What `tracestate` says of sampling: the member `ot`, a list of keys and values with colons and semicolons
//! (<https://opentelemetry.io/docs/specs/otel/trace/tracestate-handling/>).

use super::Threshold;
use smol_str::{SmolStr, format_smolstr};

/// Most members of a `tracestate` (W3C Trace Context, section 3.3.1.1).
const MEMBERS: usize = 32;

/// Digits of a randomness value.
const RANDOMNESS: usize = 14;

/// The randomness that takes the place of that of the trace id, where one is given.
pub(super) fn randomness(state: &str) -> Option<u64> {
    let value = sampling(state)?
        .split(';')
        .find_map(|pair| pair.strip_prefix("rv:"))?;
    let is_value = value.len() == RANDOMNESS
        && value
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    is_value.then(|| u64::from_str_radix(value, 16).ok())?
}

fn sampling(state: &str) -> Option<&str> {
    members(state).find_map(|member| member.strip_prefix("ot="))
}

fn members(state: &str) -> impl Iterator<Item = &str> {
    let members = state.split(',').map(|member| member.trim_matches([' ', '\t']));
    members.filter(|member| !member.is_empty())
}

/// `state` with this threshold. Whatever else is there stays; the member that was changed comes first (W3C Trace Context,
/// section 3.5). Of too many members, the last makes room.
pub(super) fn with_threshold(state: &str, threshold: Threshold) -> SmolStr {
    let others = sampling(state).unwrap_or_default().split(';');
    let others: Vec<_> = others
        .filter(|pair| !pair.is_empty() && !pair.starts_with("th:"))
        .collect();
    let mut all = format!("ot=th:{threshold}");
    for pair in others {
        all.push(';');
        all.push_str(pair);
    }
    for member in members(state)
        .filter(|member| !member.starts_with("ot="))
        .take(MEMBERS - 1)
    {
        all.push(',');
        all.push_str(member);
    }
    format_smolstr!("{all}")
}

/// Whether there is a threshold.
pub(super) fn has_threshold(state: &str) -> bool {
    sampling(state).is_some_and(|value| value.split(';').any(|pair| pair.starts_with("th:")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn randomness_is_fourteen_digits() {
        assert_eq!(randomness("a=b,ot=th:8;rv:00000000000abc,c=d"), Some(0xabc));
        for state in [
            "",
            "a=rv:00000000000abc",
            "ot=rv:abc",
            "ot=rv:0000000000ABCD",
            "ot=rv:000000000000abc",
            "ot=rv:+0000000000abc",
            "xot=rv:00000000000abc",
            "ot=th:rv:00000000000abc",
        ] {
            assert_eq!(randomness(state), None, "{state}");
        }
    }

    #[test]
    fn a_threshold_takes_the_place_of_another() {
        let check = |state: &str, expect: &str| {
            let changed = with_threshold(state, Threshold::of(0.25));
            assert_eq!(changed, expect);
            assert!(has_threshold(&changed));
            assert_eq!(randomness(&changed), randomness(state));
        };
        check("", "ot=th:c");
        check("a=b", "ot=th:c,a=b");
        check(
            "a=b, ot=rv:00000000000abc;th:8;x:y ,c=d",
            "ot=th:c;rv:00000000000abc;x:y,a=b,c=d",
        );
        let full: Vec<_> = (0..32).map(|number| format!("k{number}=v")).collect();
        assert_eq!(
            with_threshold(&full.join(","), Threshold::ALWAYS)
                .split(',')
                .count(),
            32
        );
        assert!(!has_threshold("ot=rv:00000000000abc,x=th:8"));
    }
}
