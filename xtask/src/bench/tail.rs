//! What tail sampling costs a span, without a kernel: `agent/benches/tail.rs`.

use super::report::Row;
use crate::{setup, shell};
use anyhow::{Context as _, Result};

/// A row for each kind of rules.
pub(super) fn rows(rounds: usize) -> Result<Vec<Row>> {
    let mut cargo = setup::cargo()?;
    cargo.args(["bench", "--quiet", "-p", "spanwire", "--bench", "tail", "--"]);
    let told = shell::output(cargo.arg(rounds.to_string())).context("the bench of tail sampling")?;
    let named = by_name(&told)?;
    let row = |(name, values): (String, Vec<f64>)| {
        Row::alone(format!("tail sampling, {name}: a span"), "ns", &values)
    };
    Ok(named.into_iter().map(row).collect())
}

/// Lines `NAME<TAB>NUMBER`, by name, in the order in which the names come first.
fn by_name(told: &str) -> Result<Vec<(String, Vec<f64>)>> {
    let mut named: Vec<(String, Vec<f64>)> = Vec::new();
    for line in told.lines() {
        let (name, value) = line
            .split_once('\t')
            .with_context(|| format!("not a row: {line}"))?;
        let value = value.parse().with_context(|| format!("not a row: {line}"))?;
        match named.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value),
            None => named.push((name.to_owned(), vec![value])),
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_of_a_name_are_one_row() {
        let rows = by_name("a b\t1.5\nc\t2\na b\t3\n").unwrap();
        assert_eq!(
            rows,
            [("a b".to_owned(), vec![1.5, 3.0]), ("c".to_owned(), vec![2.0])]
        );
        assert!(by_name("a 1\n").is_err() && by_name("a\tb\n").is_err());
    }
}
