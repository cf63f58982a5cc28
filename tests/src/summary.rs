//! The summary that spanwire prints on standard error when it ends.

use std::collections::BTreeMap;

/// Counters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary(BTreeMap<String, u64>);

impl Summary {
    /// The lines `  NAME VALUE` after the line `spanwire summary`; `None` where there is no such line.
    #[must_use]
    pub fn parse(lines: &[String]) -> Option<Self> {
        let start = lines.iter().position(|line| line == "spanwire summary")?;
        let entry = |line: &String| {
            let (name, value) = line.trim().split_once(char::is_whitespace)?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        Some(Self(
            lines[start + 1..]
                .iter()
                .take_while(|line| line.starts_with("  "))
                .filter_map(entry)
                .collect(),
        ))
    }

    /// Value of the counter `name`; what is not listed is 0.
    #[must_use]
    pub fn value(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Exchanges that were on the wire and have no span at the receiver, by all counters that count exchanges.
    #[must_use]
    pub fn lost_exchanges(&self) -> u64 {
        const EACH_ONE_EXCHANGE: [&str; 5] = [
            "kernel.lost.exchanges.ring_full",
            "lost.exchanges.incomplete",
            "lost.messages.unparsed",
            "lost.spans.queue_full",
            "lost.spans.export_failed",
        ];
        EACH_ONE_EXCHANGE.iter().map(|name| self.value(name)).sum()
    }

    /// Connections and messages that were looked at and found to be no HTTP, by all reasons together.
    #[must_use]
    pub fn not_http(&self) -> u64 {
        let is_reason = |name: &str| {
            name.starts_with("kernel.unclaimed.")
                || name == "kernel.gap.syntax"
                || name == "lost.messages.unparsed"
        };
        let reasons = self.0.iter().filter(|(name, _)| is_reason(name));
        reasons.map(|(_, value)| value).sum()
    }

    /// Counters above 0 that speak of a loss or a gap.
    #[must_use]
    pub fn losses(&self) -> Vec<String> {
        let speaks_of_loss = |name: &str| {
            name.starts_with("lost.")
                || name.starts_with("cut.")
                || name.starts_with("kernel.lost.")
                || name.starts_with("kernel.gap.")
                || name.starts_with("kernel.cut.")
        };
        let lost = self
            .0
            .iter()
            .filter(|(name, value)| **value > 0 && speaks_of_loss(name));
        lost.map(|(name, value)| format!("{name} {value}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn only_the_block_after_the_heading_counts() {
        let text = "spanwire ready\n  spans.built 9\nspanwire summary\n  spans.built 3\n  kernel.gap.fault  1\nbye\n  spans.exported 7";
        let summary = Summary::parse(&lines(text)).unwrap();
        assert_eq!(summary.value("spans.built"), 3);
        assert_eq!(summary.value("spans.exported"), 0);
        assert_eq!(summary.losses(), ["kernel.gap.fault 1"]);
        assert_eq!(Summary::parse(&lines("spanwire ready")), None);
    }
}
