//! What was seen, exported and lost, at the end of a run.

use crate::health::{Counter, Health};
use std::io::Write;

/// Writes all counters that are not zero, a line each: `  NAME VALUE`. Names are those of [`Counter`] and of
/// `others`: the kernel half's counters, or a replay's.
pub fn write(health: &Health, others: &[(impl AsRef<str>, u64)], out: &mut impl Write) {
    let own = Counter::ALL
        .iter()
        .map(|counter| (counter.name(), health.value(*counter)));
    let mut text = String::from("spanwire summary\n");
    let others = others.iter().map(|(name, value)| (name.as_ref(), *value));
    for (name, value) in own.chain(others) {
        // What was exported or not is of interest also where it is nothing.
        if value != 0 || matches!(name, "spans.built" | "spans.exported") {
            text += &format!("  {name} {value}\n");
        }
    }
    // At the end there is nobody left to be told that standard error is closed.
    let _ = out.write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroes_are_left_out_but_for_the_spans() {
        let health = Health::default();
        health.add(Counter::Spans, 3);
        health.add(Counter::Exchanges, 2);
        let mut text = Vec::new();
        write(
            &health,
            &[("kernel.lost.records.ring_full", 7), ("kernel.gap.unseen", 0)],
            &mut text,
        );
        assert_eq!(
            String::from_utf8(text).expect("text"),
            "spanwire summary\n  spans.built 3\n  spans.exported 0\n  lost.exchanges.incomplete 2\n  \
             kernel.lost.records.ring_full 7\n"
        );
    }
}
