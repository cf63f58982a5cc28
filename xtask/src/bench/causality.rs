//! The truth bench: of requests whose trees are known, how many come out right. Who serves them is another in each row.

use super::report::{Machine, write_json};
use crate::{setup, shell, workspace};
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::process::Command;

/// How many requests at a time, and how many in all to each of a runtime's paths.
const LEVELS: [(usize, usize); 4] = [(1, 100), (10, 200), (50, 400), (200, 600)];

/// The level that the goals for whole trees are for.
const JUDGED: usize = 50;

/// Per cent of all requests at [`JUDGED`] that are to be wholly right; where nothing is said there is no goal.
const WHOLLY_RIGHT: [(&str, f64); 8] = [
    ("threads", 99.0),
    ("flask", 99.0),
    ("go", 99.0),
    ("aiohttp", 99.0),
    ("fastapi", 99.0),
    ("node", 95.0),
    ("nginx", 99.0),
    ("haproxy", 99.0),
];

/// Per cent of all spans that may have a wrong parent, at any level.
const WRONG: f64 = 0.1;

/// What `truth` says of one runtime.
#[derive(Debug, Deserialize)]
struct Found {
    levels: BTreeMap<usize, Tally>,
    strangers: usize,
    stranger: Option<String>,
    losses: Vec<String>,
    example: Option<String>,
}

/// Of one level; what `truth::Tally` of the tests says.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Tally {
    requests: usize,
    right: usize,
    spans: usize,
    open: usize,
    without: usize,
    wrong: usize,
    certain: usize,
    missing: usize,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    runtime: String,
    at_a_time: usize,
    requests: usize,
    wholly_right_percent: f64,
    spans: usize,
    without_parent: usize,
    wrong_parent: usize,
    wrong_and_certain: usize,
    lost: usize,
    /// Each goal that there is for it, and whether it is met.
    goals: Vec<(String, bool)>,
}

/// All of them.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    name: &'static str,
    machine: Machine,
    rows: Vec<Row>,
    notes: Vec<String>,
}

/// Loads each of `runtimes`, or all where none is named.
pub(super) fn measure(runtimes: &[String]) -> Result<Table> {
    setup::tests()?;
    shell::run(setup::cargo()?.args(["build", "--release", "-p", "spanwire-tests", "--bin", "truth"]))?;
    let known = shell::output(&mut truth())?;
    if let Some(other) = runtimes.iter().find(|name| known.lines().all(|it| it != *name)) {
        bail!(
            "no runtime {other}, but {}",
            known.lines().collect::<Vec<_>>().join(", ")
        );
    }
    let mut table = Table {
        name: "causality",
        machine: Machine::this(),
        rows: Vec::new(),
        notes: Vec::new(),
    };
    for runtime in known.lines() {
        if !runtimes.is_empty() && runtimes.iter().all(|it| it != runtime) {
            continue;
        }
        println!("  causality: {runtime}");
        let mut command = truth();
        command.arg(runtime);
        command.args(LEVELS.map(|(level, count)| format!("{level}:{count}")));
        let said = shell::output(&mut command)?;
        table.push(runtime, serde_json::from_str(&said).context("what truth said")?);
    }
    Ok(table)
}

fn truth() -> Command {
    let release = workspace::target().join("release");
    let mut command = Command::new(release.join("truth"));
    command.env("SPANWIRE_BIN", release.join("spanwire"));
    command
}

impl Table {
    fn push(&mut self, runtime: &str, found: Found) {
        for (at_a_time, tally) in found.levels {
            self.rows.push(row(runtime, at_a_time, tally));
        }
        if let Some(stranger) = found.stranger {
            let count = found.strangers;
            self.notes.push(format!(
                "{runtime}: {count} spans of no request, such as {stranger}"
            ));
        }
        if !found.losses.is_empty() {
            self.notes
                .push(format!("{runtime}: counted as lost: {}", found.losses.join(", ")));
        }
        if let Some(example) = found.example {
            self.notes
                .push(format!("{runtime}: not right, such as {example}"));
        }
    }

    /// To standard output.
    pub(super) fn print(&self) {
        println!("\n{}: requests whose trees are known", self.name);
        println!("  {}", self.machine);
        println!(
            "  {:<11} {:>9} {:>8} {:>12} {:>8} {:>14} {:>7} {:>8} {:>6}  goals",
            "",
            "at a time",
            "requests",
            "wholly right",
            "spans",
            "without parent",
            "wrong",
            "certain",
            "lost"
        );
        for row in &self.rows {
            let goals = row.goals.iter().map(|(goal, is_met)| {
                let met = if *is_met { "met" } else { "MISSED" };
                format!("{goal}: {met}")
            });
            let line = format!(
                "  {:<11} {:>9} {:>8} {:>10.1} % {:>8} {:>14} {:>7} {:>8} {:>6}  {}",
                row.runtime,
                row.at_a_time,
                row.requests,
                row.wholly_right_percent,
                row.spans,
                row.without_parent,
                row.wrong_parent,
                row.wrong_and_certain,
                row.lost,
                goals.collect::<Vec<_>>().join(", ")
            );
            println!("{}", line.trim_end());
        }
        for note in &self.notes {
            println!("  {note}");
        }
    }

    /// As JSON into `folder`.
    pub(super) fn write(&self, folder: &std::path::Path) -> Result<()> {
        write_json(folder, self.name, self)
    }
}

fn row(runtime: &str, at_a_time: usize, tally: Tally) -> Row {
    let whole = percent(tally.right, tally.requests);
    let least = WHOLLY_RIGHT.iter().find(|(name, _)| *name == runtime);
    let mut goals = Vec::new();
    if let Some((_, least)) = least.filter(|_| at_a_time == JUDGED) {
        goals.push((format!(">= {least} %"), whole >= *least));
    }
    // Which are there at every level; said only where there is something to say.
    if at_a_time == JUDGED || tally.wrong > 0 {
        let is_met = percent(tally.wrong, tally.spans) <= WRONG;
        goals.push((format!("wrong <= {WRONG} %"), is_met));
        goals.push(("certain 0".to_owned(), tally.certain == 0));
    }
    Row {
        runtime: runtime.to_owned(),
        at_a_time,
        requests: tally.requests,
        wholly_right_percent: whole,
        spans: tally.spans,
        without_parent: tally.open + tally.without,
        wrong_parent: tally.wrong,
        wrong_and_certain: tally.certain,
        lost: tally.missing,
        goals,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of some minutes are far below 2^52"
)]
fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    100.0 * part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goals(runtime: &str, at_a_time: usize, tally: Tally) -> Vec<bool> {
        let row = row(runtime, at_a_time, tally);
        row.goals.into_iter().map(|(_, is_met)| is_met).collect()
    }

    #[test]
    fn each_goal_has_two_sides() {
        let good = Tally {
            requests: 1000,
            right: 990,
            spans: 10_000,
            without: 10,
            ..Tally::default()
        };
        assert_eq!(goals("go", 50, good), [true, true, true]);
        assert_eq!(goals("go", 50, Tally { right: 989, ..good }), [false, true, true]);
        assert_eq!(
            goals("node", 50, Tally { right: 950, ..good }),
            [true, true, true]
        );
        let wrong = Tally { wrong: 11, ..good };
        assert_eq!(goals("go", 50, wrong), [true, false, true]);
        let certain = Tally {
            certain: 1,
            wrong: 1,
            ..good
        };
        assert_eq!(goals("go", 50, certain), [true, true, false]);
    }

    #[test]
    fn a_wrong_parent_is_judged_at_each_level_and_wholeness_at_one() {
        let tally = Tally {
            requests: 10,
            spans: 100,
            ..Tally::default()
        };
        assert!(goals("go", 200, tally).is_empty());
        assert_eq!(
            goals(
                "go",
                200,
                Tally {
                    wrong: 1,
                    certain: 1,
                    ..tally
                }
            ),
            [false, false]
        );
        assert_eq!(goals("event_loop", 50, tally), [true, true]);
    }
}
