//! Every system call that moves bytes through a socket, by `tests/workloads/peer.c`.

use crate::workload::{Due, Made, Over, socket};
use anyhow::{Context as _, Result, ensure};
use spanwire_tests::peer::{CASES, Case, HEADS_FROM_FILES, SEVERAL_MESSAGES, TCP_CASES};
use std::process::Command;

/// Where the initramfs has it.
const BINARY: &str = "/bin/peer";

/// Longest body: emulated, what takes a second otherwise takes a minute.
const LIMIT: u64 = 100_000;

/// All of them over IPv4; the rest of the ways differ in a few functions of the kernel.
pub(crate) fn run(name: &str) -> Result<Vec<Made>> {
    let counted = [SEVERAL_MESSAGES, HEADS_FROM_FILES].concat();
    let tcp4 = Over::Tcp { port: 8005 };
    let tcp6 = Over::Tcp { port: 8006 };
    let prefix = |family| format!("/{name}/{family}");
    Ok([
        peer(
            "tcp4",
            "8005",
            tcp4,
            &prefix("tcp4"),
            &[&CASES[..], &TCP_CASES].concat(),
            Due::Both,
        )?,
        peer(
            "tcp4",
            "8005",
            tcp4,
            &prefix("tcp4"),
            &counted,
            Due::BothOrCounted,
        )?,
        peer(
            "tcp6",
            "8006",
            tcp6,
            &prefix("tcp6"),
            &[&CASES[3..7], &TCP_CASES].concat(),
            Due::Both,
        )?,
        peer(
            "unix",
            &socket(&format!("{name}-peer"))?,
            Over::Unix,
            &prefix("unix"),
            &CASES[3..],
            Due::Both,
        )?,
    ]
    .concat())
}

fn peer(
    family: &str,
    address: &str,
    over: Over,
    prefix: &str,
    cases: &[Case],
    due: Due,
) -> Result<Vec<Made>> {
    let cases = cases.iter().map(|case| case.at_most(LIMIT));
    let mut peer = Command::new(BINARY);
    peer.args([family, address, prefix])
        .args(cases.clone().map(|case| case.to_string()));
    let said = peer.output().with_context(|| format!("starting {BINARY}"))?;
    ensure!(
        said.status.success(),
        "{family}: {}: {}",
        said.status,
        String::from_utf8_lossy(&said.stderr).trim()
    );
    let made = cases.flat_map(|case| {
        case.targets(prefix).map(move |path| Made {
            method: "POST",
            path,
            over,
            request: Some(case.request),
            response: case.response,
            due,
        })
    });
    Ok(made.collect())
}
