//! `spanwire services`: which processes there are, what is known of them, whether they are watched, and why or why not.
//!
//! The pipeline tells what it alone knows ([`Survey`]); all else is read from procfs by whoever asks, so that a host full of
//! processes holds up nothing but the answer.

pub mod ask;
mod table;

use crate::process::watch::{Asks, Decision, Filter, Why};
use crate::process::{Identity, Languages, Seen, Table};
use serde::{Deserialize, Serialize};
use spanwire_ebpf::propagate;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Most processes of an answer; those that are watched come first.
const MOST: usize = 4_096;

/// Longest that is spent on reading processes. Those that are left then are left out.
const READING: Duration = Duration::from_secs(4);

/// What the pipeline knows at one moment.
#[derive(Debug)]
pub struct Survey {
    /// A table of its own, which reads processes as that of the pipeline does.
    pub table: Table,
    /// Which processes are watched.
    pub filter: Filter,
    /// Nobody is watched but a command and what it starts.
    pub descendants_only: bool,
    /// Processes that the kernel half watches.
    pub watched: HashSet<u32>,
    /// What was seen of processes.
    pub seen: HashMap<u32, Seen>,
    /// Connections, and those of them that are enrolled for injection, by process.
    pub connections: HashMap<u32, (u64, u64)>,
    /// Whether contexts are injected.
    pub injection: Injection,
}

/// Whether contexts are injected.
#[derive(Clone, Debug, Default)]
pub struct Injection {
    /// Protocols that somebody asked for, as bits of [`propagate`].
    pub loaded: u32,
    /// Why the kernel lets nothing be injected.
    pub refusal: Option<String>,
    /// It answers FIONREAD on an enrolled socket with 0.
    pub breaks_fionread: bool,
}

/// All that is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Services {
    /// Processes, those that are watched first, by number.
    pub processes: Vec<Process>,
    /// Processes that are left out, there being too many, or no time.
    pub left_out: usize,
}

/// A process.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Process {
    /// Its number on the host.
    pub pid: u32,
    /// `service.name` of its spans.
    pub service: String,
    /// File name of its executable.
    pub executable: String,
    /// Its language, or what runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Name of its container, else the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Its pod, as `NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Its systemd service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Ports of TCP that it listens on.
    pub listens: Vec<u16>,
    /// What it was seen to speak.
    pub seen: Vec<Spoken>,
    /// Whether it is watched.
    pub watched: bool,
    /// Why, or why not.
    pub why: String,
    /// Injection of contexts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub injection: Option<Injected>,
}

/// A language runtime.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Runtime {
    /// Its name, in the words of the conventions.
    pub name: String,
    /// Its version, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What a process was seen to speak.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spoken {
    /// The protocol.
    pub protocol: String,
    /// `server` or `client`.
    pub role: String,
    /// The server's port; none of a Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// Injection of contexts into what a process sends.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Injected {
    /// Into which protocols.
    pub protocols: Vec<String>,
    /// Connections of it that are open, and followed or enrolled.
    pub connections: u64,
    /// Those of them that are enrolled.
    pub enrolled: u64,
    /// Why nothing is injected, or not into all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

impl Survey {
    /// What is to be told: of `all` processes, or of those that are watched.
    #[must_use]
    pub fn services(self, all: bool) -> Services {
        self.services_until(Instant::now() + READING, all)
    }

    fn services_until(mut self, deadline: Instant, all: bool) -> Services {
        let own_asks = self.filter.asks().clone();
        let asks = Asks {
            command_line: own_asks.command_line,
            ..Asks::everything()
        };
        let mut pids = self.table.proc().pids();
        pids.retain(|pid| all || self.watched.contains(pid));
        pids.sort_unstable_by_key(|pid| (!self.watched.contains(pid), *pid));
        let mut services = Services::default();
        let mut languages = Languages::default();
        for (place, pid) in pids.iter().copied().enumerate() {
            // Threads of the kernel among them, since nobody has looked.
            if Instant::now() >= deadline {
                services.left_out += pids.len() - place;
                break;
            }
            let Some(glance) = self.table.proc().glance(pid, &asks) else {
                continue;
            };
            // A thread of the kernel has no executable, and its memory nothing to read.
            if glance.executable.is_none() && !self.seen.contains_key(&pid) {
                continue;
            }
            if services.processes.len() == MOST {
                services.left_out += 1;
                continue;
            }
            let decision = self.filter.decide(&glance);
            let watched = self.watched.contains(&pid);
            let mut process = Process {
                pid,
                executable: glance.name,
                container: glance.container.map(|it| it.name.unwrap_or(it.id)),
                pod: glance
                    .pod
                    .map(|pod| format!("{}/{}", pod.namespace.name, pod.name)),
                listens: glance.ports,
                seen: self.seen.get(&pid).map(spoken).unwrap_or_default(),
                watched,
                why: self.why(&decision, watched),
                ..Process::default()
            };
            self.table.follow(pid, decision.own.clone());
            process.service = self.table.resource(pid).service_name().to_owned();
            if let Some(identity) = self.table.identity(pid) {
                let runtime = languages.of(self.table.proc(), &identity);
                process.runtime = runtime.map(|runtime| Runtime {
                    name: runtime.name.to_owned(),
                    version: runtime.version,
                });
                process.unit.clone_from(&identity.unit);
                let (connections, enrolled) = self.connections.get(&pid).copied().unwrap_or_default();
                process.injection = match watched {
                    true => Some(self.injected(pid, &decision, &identity)),
                    false if enrolled == 0 => None,
                    false => Some(Injected {
                        connections,
                        enrolled,
                        why_not: Some(
                            "not watched any more, and its sockets are about to be left".to_owned(),
                        ),
                        ..Injected::default()
                    }),
                };
            }
            services.processes.push(process);
        }
        services
    }

    fn why(&self, decision: &Decision, watched: bool) -> String {
        match (self.descendants_only, watched, decision.is_watched()) {
            (_, false, _) if decision.why == Why::Own => decision.why.to_string(),
            (true, true, _) => "started by the command".to_owned(),
            (true, false, _) => "only the command is watched, and what it starts".to_owned(),
            (false, true, false) => "forked by a process that is watched".to_owned(),
            (false, false, true) => format!("about to be watched: {}", decision.why),
            _ => decision.why.to_string(),
        }
    }

    fn injected(&mut self, pid: u32, decision: &Decision, identity: &Identity) -> Injected {
        let bits = self.table.propagates(pid);
        let names = [
            (propagate::HTTP1, "http1"),
            (propagate::HTTP2, "http2"),
            (propagate::AMQP, "amqp"),
            (propagate::SQL, "sql"),
            (propagate::TCP, "tcp"),
        ];
        let protocols = names.into_iter().filter(|(bit, _)| bits & bit != 0);
        let (connections, enrolled) = self.connections.get(&pid).copied().unwrap_or_default();
        let own = decision.own.as_ref().and_then(|own| own.propagate);
        let why_not = match &self.injection {
            Injection {
                loaded: 0,
                refusal: None,
                ..
            } => Some("not asked for (propagate.headers)".to_owned()),
            Injection {
                refusal: Some(refusal),
                ..
            } => Some(format!("the kernel refuses: {refusal}")),
            _ if bits != 0 && self.table.makes_spans(pid) => {
                Some("requests that its own SDK has named are left as they are".to_owned())
            }
            _ if bits != 0 => None,
            _ if own == Some(0) => Some(format!("{}.propagate says none", decision.why)),
            _ if own.is_none() && self.table.propagates_none() => {
                Some("not asked for (propagate.headers)".to_owned())
            }
            Injection {
                breaks_fionread: true,
                ..
            } => Some(format!(
                "{} may ask how many bytes wait (FIONREAD), which this kernel answers with 0 on enrolled sockets",
                identity.executable_name()
            )),
            _ => Some("not asked for".to_owned()),
        };
        Injected {
            protocols: protocols.map(|(_, name)| name.to_owned()).collect(),
            connections,
            enrolled,
            why_not,
        }
    }
}

fn spoken(seen: &Seen) -> Vec<Spoken> {
    let spoken = seen.iter().map(|(protocol, is_server, port)| Spoken {
        protocol: protocol.name().to_owned(),
        role: if is_server { "server" } else { "client" }.to_owned(),
        port,
    });
    let mut spoken: Vec<_> = spoken.collect();
    spoken.sort_unstable();
    spoken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Watch;
    use crate::process::Proc;

    fn survey() -> Survey {
        Survey {
            table: Table::new(Proc::host(), Vec::new()),
            filter: Filter::new(&Watch::default(), 0),
            descendants_only: false,
            watched: HashSet::new(),
            seen: HashMap::new(),
            connections: HashMap::new(),
            injection: Injection::default(),
        }
    }

    #[test]
    fn no_process_is_looked_at_once_the_time_is_over() {
        let late = survey().services_until(Instant::now(), true);
        assert_eq!(late.processes, []);
        assert!(late.left_out > 0);
        let in_time = survey().services(true);
        let own = std::process::id();
        assert!(in_time.processes.iter().any(|process| process.pid == own));
    }

    #[test]
    fn what_is_still_enrolled_of_a_process_that_is_left_is_told() {
        let own = std::process::id();
        let told = |enrolled| {
            let mut survey = survey();
            survey.connections.insert(own, (3, enrolled));
            let services = survey.services(true);
            let process = services.processes.into_iter().find(|process| process.pid == own);
            process.unwrap().injection.map(|it| (it.connections, it.enrolled))
        };
        assert_eq!(told(2), Some((3, 2)));
        assert_eq!(told(0), None);
    }
}
