//! Two hosts, as far as the network is concerned.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;

use crate::child::{self, Child};
use crate::workload;

/// Two network namespaces and a wire between them, gone when this is. The first has the address 10.77.0.1, the second
/// 10.77.0.2.
#[derive(Debug)]
pub struct Namespaces([String; 2]);

impl Namespaces {
    /// Makes them, with `name` in their names.
    ///
    /// # Errors
    /// There is no `ip`, or not the right to use it.
    pub fn new(name: &str) -> Result<Self> {
        let own = Self(["a", "b"].map(|end| format!("spanwire-{}-{name}-{end}", std::process::id())));
        let [a, b] = &own.0;
        for line in [
            format!("netns add {a}"),
            format!("netns add {b}"),
            format!("link add near netns {a} type veth peer name far netns {b}"),
            format!("-n {a} address add 10.77.0.1/24 dev near"),
            format!("-n {b} address add 10.77.0.2/24 dev far"),
            format!("-n {a} link set near up"),
            format!("-n {b} link set far up"),
            // Also what is sent to their own addresses goes by way of it.
            format!("-n {a} link set lo up"),
            format!("-n {b} link set lo up"),
        ] {
            ip(&line)?;
        }
        Ok(own)
    }

    /// Python of the distribution in one of them.
    #[must_use]
    pub fn python(&self, end: usize) -> Command {
        self.command(end, workload::PYTHON)
    }

    /// A program in one of them.
    #[must_use]
    pub fn command(&self, end: usize, program: &str) -> Command {
        let mut command = child::command("ip");
        command.args(["netns", "exec", &self.0[end], program]);
        command
    }

    /// What is sent from the first namespace to `from` goes to `to`, as kube-proxy does it with a service's address.
    ///
    /// # Errors
    /// There is no nft, or it refuses.
    pub fn translate(&self, from: SocketAddr, to: SocketAddr) -> Result<()> {
        let a = &self.0[0];
        ip(&format!("-n {a} route add {} via 10.77.0.2", from.ip()))?;
        let rules = format!(
            "table ip t {{ chain c {{ type nat hook output priority -100; ip daddr {} tcp dport {} dnat to {to}\n}}\n}}",
            from.ip(),
            from.port()
        );
        let mut nft = child::command("ip");
        nft.args(["netns", "exec", a, "nft", &rules]);
        Child::spawn(nft)?.succeed().map(drop)
    }

    /// Of a hundred packets that arrive at one of them, `share` get lost.
    ///
    /// # Errors
    /// There is no nft, or it refuses.
    pub fn lose(&self, end: usize, share: u32) -> Result<()> {
        let rules = format!(
            "table ip loss {{ chain c {{ type filter hook input priority 0; numgen random mod 100 < {share} drop\n}}\n}}"
        );
        let mut nft = child::command("ip");
        nft.args(["netns", "exec", &self.0[end], "nft", &rules]);
        Child::spawn(nft)?.succeed().map(drop)
    }

    /// What is sent from one of them goes at so many kilobits a second, and so waits for its turn.
    ///
    /// # Errors
    /// There is no tc, or it refuses.
    pub fn slow(&self, end: usize, rate: u32) -> Result<()> {
        let name = ["near", "far"][end];
        let mut tc = child::command("tc");
        tc.args([
            "-n",
            &self.0[end],
            "qdisc",
            "add",
            "dev",
            name,
            "root",
            "tbf",
            "rate",
        ]);
        tc.args([&format!("{rate}kbit"), "burst", "20kb", "latency", "500ms"]);
        Child::spawn(tc)?.succeed().map(drop)
    }

    /// A program that captures what one of them sends and gets.
    #[must_use]
    pub fn tcpdump(&self, end: usize) -> Command {
        let mut command = self.command(end, "tcpdump");
        command.args([
            "-Z",
            "root",
            "-U",
            "--immediate-mode",
            "-n",
            "-i",
            ["near", "far"][end],
        ]);
        command
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = ip(&format!("netns delete {name}"));
        }
    }
}

fn ip(line: &str) -> Result<()> {
    let mut command = child::command("ip");
    command.args(line.split(' '));
    Child::spawn(command)?.succeed().map(drop)
}
