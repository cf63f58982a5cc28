//! What each hook set adds to one call, of a process that is watched and of one that is not; and what tail sampling costs a span.

use super::agent::{Agent, Start};
use super::goal::Goal;
use super::loops::{Loops, NAMES};
use super::report::{Report, Row};
use super::tail;
use anyhow::{Context as _, Result};
use std::process;

/// One hook set, from one point of view.
struct Variant {
    hooks: String,
    /// `--pid` of this process, or of one that does nothing here.
    watched: bool,
    /// By round, then by loop.
    rounds: Vec<Vec<f64>>,
}

/// Rounds of: bare, then each variant, in an order that turns by one each round.
pub(super) fn measure(hooks: &[String], rounds: usize) -> Result<Report> {
    let about =
        "ns of CPU a call, bare and under spanwire; watched: 200 B of HTTP to the ring buffer".to_owned();
    let mut report = Report::new("micro", about);
    let mut variants = Vec::new();
    for set in hooks {
        match start(set, false)? {
            Start::Ready(agent) => {
                agent.stop()?;
                let variant = |watched| Variant {
                    hooks: set.clone(),
                    watched,
                    rounds: Vec::new(),
                };
                variants.extend([variant(false), variant(true)]);
            }
            Start::Refused(said) => report.note(format!("hooks {set} do not load here: {said}")),
        }
    }
    let mut bare = Vec::new();
    for round in 0..rounds {
        println!("  micro: round {} of {rounds}", round + 1);
        bare.push(Loops::new()?.measure()?);
        for turn in 0..variants.len() {
            let place = (turn + round) % variants.len();
            let variant = &mut variants[place];
            let agent = match start(&variant.hooks, variant.watched)? {
                Start::Ready(agent) => agent,
                Start::Refused(said) => {
                    anyhow::bail!("hooks {} loaded before, and now: {said}", variant.hooks)
                }
            };
            // New connections: those of before are known to a spanwire that is gone.
            let times = Loops::new()?.measure();
            agent.stop()?;
            variant.rounds.push(times.context("the loops under spanwire")?);
        }
    }
    for variant in &variants {
        for (place, name) in NAMES.iter().enumerate() {
            let column = |rounds: &[Vec<f64>]| rounds.iter().map(|round| round[place]).collect::<Vec<_>>();
            let state = if variant.watched { "watched" } else { "unwatched" };
            let what = format!("{}, {state}: {name}", variant.hooks);
            let row = Row::paired(what, "ns", &column(&variant.rounds), &column(&bare));
            report.push(row.judged(goal(&variant.hooks, variant.watched, name)));
        }
    }
    for row in tail::rows(rounds)? {
        report.push(row);
    }
    Ok(report)
}

fn start(hooks: &str, watched: bool) -> Result<Start> {
    let pid = if watched { process::id() } else { 1 }.to_string();
    Agent::start(&["--hooks", hooks, "--pid", &pid, "--output", "none"], &[])
}

/// What a call may cost more with hook set `socket`; of the others nothing was promised.
fn goal(hooks: &str, watched: bool, name: &str) -> Option<Goal> {
    let on_a_socket = name.ends_with("a send or receive");
    (hooks == "socket").then_some(match (on_a_socket, watched) {
        (false, _) => Goal::NoDifference,
        (true, false) => Goal::DifferenceUpTo(150.0),
        (true, true) => Goal::DifferenceUpTo(600.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_for_socket_hooks_and_for_what_a_loop_does() {
        let goals = |hooks, watched| NAMES.map(|name| goal(hooks, watched, name));
        let none = Some(Goal::NoDifference);
        let most = |most| Some(Goal::DifferenceUpTo(most));
        assert_eq!(
            goals("socket", false),
            [none, none, none, most(150.0), most(150.0)]
        );
        assert_eq!(
            goals("socket", true),
            [none, none, none, most(600.0), most(600.0)]
        );
        assert_eq!(goals("syscall", true), [None; 5]);
    }
}
