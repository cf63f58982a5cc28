//! A table for people, and the same as JSON for machines.

use super::goal::Goal;
use super::spread::Spread;
use crate::shell;
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

/// One table.
#[derive(Serialize)]
pub(super) struct Report {
    name: &'static str,
    /// What the rows have in common, one sentence.
    about: String,
    machine: Machine,
    rows: Vec<Row>,
    /// What was left out, and why.
    notes: Vec<String>,
}

/// One line of it.
#[derive(Serialize)]
pub(super) struct Row {
    what: String,
    unit: &'static str,
    /// Absent where nothing can be measured without spanwire.
    without: Option<Spread>,
    with: Spread,
    difference: Option<Spread>,
    ratio: Option<Spread>,
    /// Absent where none was set.
    goal: Option<Judged>,
}

/// A goal, and whether the row reaches it.
#[derive(Clone, Copy, Serialize)]
struct Judged {
    goal: Goal,
    met: bool,
}

impl Row {
    /// A pair, value by value of the same rounds.
    pub(super) fn paired(what: String, unit: &'static str, with: &[f64], without: &[f64]) -> Self {
        Self {
            what,
            unit,
            without: Some(Spread::of(without)),
            with: Spread::of(with),
            difference: Some(Spread::of_differences(with, without)),
            ratio: Some(Spread::of_ratios(with, without)),
            goal: None,
        }
    }

    /// Something that exists only with spanwire.
    pub(super) fn alone(what: String, unit: &'static str, values: &[f64]) -> Self {
        Self {
            what,
            unit,
            without: None,
            with: Spread::of(values),
            difference: None,
            ratio: None,
            goal: None,
        }
    }

    /// Judged by `goal`, where there is one.
    pub(super) fn judged(mut self, goal: Option<Goal>) -> Self {
        self.goal = goal.map(|goal| Judged {
            goal,
            met: goal.is_met(&self.with, self.difference.as_ref(), self.ratio.as_ref()),
        });
        self
    }
}

/// Where it was measured, without which a number says little.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    kernel: String,
    cpu: String,
    cores: usize,
    commit: String,
}

impl Machine {
    pub(super) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpu = read("/proc/cpuinfo");
        let cpu = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let mut git = Command::new("git");
        git.current_dir(crate::workspace::root())
            .args(["describe", "--always", "--dirty"]);
        Self {
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: cpu.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            commit: shell::output(&mut git).unwrap_or_default().trim().to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kernel,
            cpu,
            cores,
            commit,
        } = self;
        write!(out, "Linux {kernel}, {cpu}, {cores} cores, {commit}")
    }
}

impl Report {
    pub(super) fn new(name: &'static str, about: String) -> Self {
        Self {
            name,
            about,
            machine: Machine::this(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// To standard output.
    pub(super) fn print(&self) {
        println!("\n{}: {}", self.name, self.about);
        println!("  {}", self.machine);
        let what = self
            .rows
            .iter()
            .map(|row| row.what.chars().count())
            .max()
            .unwrap_or_default();
        println!(
            "  {:<what$}  {:>12} {:>12} {:>26} {:>22}  {:<10}  goal",
            "", "without", "with", "difference", "ratio", ""
        );
        for row in &self.rows {
            let without = row
                .without
                .map_or_else(String::new, |spread| number(spread.median));
            let with = number(row.with.median);
            let difference = range(&row.difference.unwrap_or(row.with));
            let ratio = row.ratio.map_or_else(String::new, |spread| range(&spread));
            let goal = row.goal.map_or_else(String::new, |judged| {
                let word = if judged.met { "met" } else { "not met" };
                format!("{word}: {}", judged.goal)
            });
            let line = format!(
                "  {:<what$}  {without:>12} {with:>12} {difference:>26} {ratio:>22}  {:<10}  {goal}",
                row.what, row.unit
            );
            println!("{}", line.trim_end());
        }
        for note in &self.notes {
            println!("  {note}");
        }
    }

    /// Writes `NAME.json` in `folder`.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        write_json(folder, self.name, self)
    }
}

/// Writes `NAME.json` in `folder`, and says so.
pub(super) fn write_json(folder: &Path, name: &str, content: &impl Serialize) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join(format!("{name}.json"));
    fs::write(&path, serde_json::to_string_pretty(content)?)
        .with_context(|| format!("writing {}", path.display()))?;
    println!("  {}", path.display());
    Ok(())
}

/// Median and the middle half: `+12 (10 to 15)`.
fn range(spread: &Spread) -> String {
    format!(
        "{} ({} to {})",
        number(spread.median),
        number(spread.lower_quartile),
        number(spread.upper_quartile)
    )
}

/// With as many places as its size makes sense of.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_both_sides_and_their_relation() {
        let row = Row::paired("getppid".to_owned(), "ns", &[110.0, 220.0], &[100.0, 200.0]);
        let json = serde_json::to_value(&row).unwrap_or_default();
        assert_eq!(
            (&json["without"]["median"], &json["difference"]["median"]),
            (&150.0.into(), &15.0.into())
        );
        assert_eq!(json["ratio"]["median"], 1.1);
    }

    #[test]
    fn a_goal_stands_beside_its_row() {
        let row = Row::alone("memory".to_owned(), "MiB", &[60.0, 66.0]).judged(Some(Goal::UpTo(64.0)));
        let json = serde_json::to_value(&row).unwrap_or_default();
        assert_eq!(json["goal"], serde_json::json!({"goal": "<= 64", "met": true}));
        let none = Row::alone("memory".to_owned(), "MiB", &[60.0]).judged(None);
        assert!(serde_json::to_value(&none).unwrap_or_default()["goal"].is_null());
    }

    #[test]
    fn numbers_are_as_long_as_they_need() {
        assert_eq!([0.987, 12.34, 34567.8].map(number), ["0.99", "12.3", "34568"]);
    }
}
