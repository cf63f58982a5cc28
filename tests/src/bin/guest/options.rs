//! Contexts in options of TCP, between two spanwires that take each other for another host's.

use crate::Verdict;
use crate::agent::{Agent, Start};
use crate::propagation::{EACH, WAITING, asked_by};
use crate::spans;
use anyhow::{Result, bail, ensure};

/// One watches who asks, the other who answers: each request that is sent alone is told, and the first of those that are sent
/// together.
pub(crate) fn assert(verdict: &mut Verdict) {
    verdict.assert("options of TCP: requests have their parents", run());
}

fn start(start: Result<Start>) -> Result<Agent> {
    match start? {
        Start::Ready(agent) => Ok(agent),
        Start::Refused(said) => bail!("refused: {said}"),
    }
}

fn run() -> Result<()> {
    let near = start(Agent::start_with(
        "auto",
        &["--exe", "asker", "--propagate", "tcp"],
    ))?;
    let far = start(Agent::start_beside(&["--exe", "guest", "--propagate", "tcp"]))?;
    for agent in [&near, &far] {
        let refusal = agent.said.iter().find(|line| line.contains("options of TCP"));
        ensure!(refusal.is_none(), "{refusal:?}");
    }
    let contexts = asked_by("asker")?;
    let header = contexts.iter().find(|context| context.len() > "OWN".len());
    ensure!(header.is_none(), "a header: {header:?}");
    let (far, near) = (far.stop()?, near.stop()?);
    let joined = spans::joined(&near, &far)?;
    ensure!(
        joined == 2 * EACH + WAITING + 2,
        "{joined}: {:?} {:?}",
        near.summary,
        far.summary
    );
    Ok(())
}
