//! spanwire's own metrics, as families.
//!
//! Counters have names with dots (`kernel.lost.records.ring_full`), and become labels of a few families by one rule, so that
//! a new counter is exported without a word about it here.

use super::family::{Family, Kind, Value};
use super::report::{Fill, Held, Report, Waiting};
use crate::health::{Counter, Health};
use procfs::process::Process;

/// What counters begin with, the family that those become, and what it says. The rest of the name is split into `what` and
/// `reason` where the family is about losses, else it is `kind`.
const GROUPS: &[(&str, &str, &str)] = &[
    (
        "lost",
        "spanwire.lost",
        "What was lost, by place, what it was and why.",
    ),
    (
        "gap",
        "spanwire.gaps",
        "Places in streams whose bytes were not seen, by reason.",
    ),
    (
        "spans",
        "spanwire.spans",
        "Spans built, exported, and left out, by what became of them.",
    ),
    (
        "connections",
        "spanwire.connections",
        "Connections by what they speak.",
    ),
    (
        "unclaimed",
        "spanwire.unclaimed",
        "Connections that are not followed, by what they are.",
    ),
    ("cut", "spanwire.cut", "What was longer than what is kept of it."),
    (
        "skipped",
        "spanwire.skipped",
        "What was asked for and never executed.",
    ),
    (
        "malformed",
        "spanwire.malformed",
        "What is not as its format says.",
    ),
    (
        "propagation",
        "spanwire.propagation",
        "Contexts put into requests, or not, by reason.",
    ),
    (
        "probes",
        "spanwire.probes",
        "Probes in functions of programs, by what became of them.",
    ),
    (
        "causality",
        "spanwire.causality",
        "Requests whose parent cannot be told, by reason.",
    ),
    (
        "spool",
        "spanwire.spool",
        "Spans that the spool took and had, and where it failed.",
    ),
    (
        "routes",
        "spanwire.routes",
        "Requests that no route is learnt of, by reason.",
    ),
    (
        "sampling",
        "spanwire.sampling",
        "Traces that were not decided as they would be with more room, by reason.",
    ),
    (
        "kubernetes",
        "spanwire.kubernetes",
        "What was asked of the API server and failed, and annotations that are wrong.",
    ),
    (
        "containers",
        "spanwire.containers",
        "What was asked of engines that run containers and failed, or was left out.",
    ),
    (
        "runtimes",
        "spanwire.runtimes",
        "Versions of language runtimes that were not looked for, by reason.",
    ),
];

/// Counters of no group above.
const OTHERS: (&str, &str) = ("spanwire.events.other", "What else is counted.");

/// Everything: the counters, what the pipeline reports, what waits to be sent, and the process.
#[must_use]
pub fn families(health: &Health, report: Option<&Report>, waiting: &Waiting) -> Vec<Family> {
    let mut families = vec![
        Family::new("spanwire.build_info", Kind::Gauge, "", "Which spanwire this is.")
            .with([("version", env!("CARGO_PKG_VERSION"))], Value::Count(1)),
        Family::new(
            "spanwire.pipeline.answers",
            Kind::Gauge,
            "",
            "Whether the pipeline told what it knows; where not, only counters of the agent are here.",
        )
        .with([], Value::Count(u64::from(report.is_some()))),
    ];
    let own = Counter::ALL
        .iter()
        .map(|counter| (counter.name(), health.value(*counter)));
    let kernel = report
        .into_iter()
        .flat_map(|report| report.kernel.iter().copied());
    families.extend(counters(own.chain(kernel)));
    families.push(of_fills(
        "spanwire.queue.length",
        "{span}",
        "What waits in a queue.",
        &waiting.queues,
        |fill| fill.used,
    ));
    families.push(of_fills(
        "spanwire.queue.capacity",
        "{span}",
        "What fits into a queue.",
        &waiting.queues,
        |fill| fill.capacity,
    ));
    families.extend(of_spool(waiting));
    if let Some(report) = report {
        families.extend(of_report(report));
    }
    families.extend(process());
    if let Some(report) = report {
        families.extend_from_slice(&report.requests);
    }
    families
}

/// Counters by name, as families.
fn counters(counters: impl Iterator<Item = (&'static str, u64)>) -> Vec<Family> {
    let mut families: Vec<Family> = GROUPS
        .iter()
        .map(|(_, name, help)| (*name, *help))
        .chain([OTHERS])
        .map(|(name, help)| Family::new(name, Kind::Counter, "", help))
        .collect();
    for (name, count) in counters {
        let (place, rest) = match name.strip_prefix("kernel.") {
            Some(rest) => ("kernel", rest),
            None => ("agent", name),
        };
        let (group, rest) = rest.split_once('.').unwrap_or(("", rest));
        let at = GROUPS.iter().position(|(prefix, ..)| *prefix == group);
        let value = Value::Count(count);
        let family = &mut families[at.unwrap_or(GROUPS.len())];
        match (group, rest.split_once('.')) {
            ("lost", Some((what, reason))) => {
                family.push([("place", place), ("what", what), ("reason", reason)], value);
            }
            ("gap", _) => family.push([("place", place), ("reason", rest)], value),
            _ if at.is_none() => family.push([("place", place), ("kind", name)], value),
            _ => family.push([("place", place), ("kind", rest)], value),
        }
    }
    families
}

fn of_fills(
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    fills: &[Fill],
    value: impl Fn(&Fill) -> u64,
) -> Family {
    let mut family = Family::new(name, Kind::Gauge, unit, help);
    for fill in fills {
        family.push([("name", fill.name)], Value::Count(value(fill)));
    }
    family
}

/// Nothing where there is no spool.
fn of_spool(waiting: &Waiting) -> Vec<Family> {
    let Some(spool) = waiting.spool else {
        return Vec::new();
    };
    let gauge =
        |name, unit, help, value| Family::new(name, Kind::Gauge, unit, help).with([], Value::Count(value));
    vec![
        gauge(
            "spanwire.spool.length",
            "{span}",
            "Spans in the spool.",
            waiting.spooled,
        ),
        gauge(
            "spanwire.spool.size",
            "By",
            "Size of the spool on the disk.",
            spool.used,
        ),
        gauge(
            "spanwire.spool.capacity",
            "By",
            "Size that the spool may have.",
            spool.capacity,
        ),
    ]
}

fn of_report(report: &Report) -> Vec<Family> {
    let by = |mut family: Family, key: &'static str, counts: &[(&'static str, u64)]| {
        for (name, count) in counts {
            family.push([(key, name)], Value::Count(*count));
        }
        family
    };
    let mut runs = Family::new(
        "spanwire.bpf.runs",
        Kind::Counter,
        "{run}",
        "Runs of the programs in the kernel, while the kernel counts them.",
    );
    let mut time = Family::new(
        "spanwire.bpf.run_time",
        Kind::Counter,
        "s",
        "Time spent in the programs in the kernel, while the kernel measures it.",
    );
    for program in &report.programs {
        runs.push([("program", &program.name)], Value::Count(program.runs));
        time.push(
            [("program", &program.name)],
            Value::Number(program.time.as_secs_f64()),
        );
    }
    let ring = report.ring.as_slice();
    let of_held = |name, unit, help, value: fn(&Held) -> u64| {
        let mut family = Family::new(name, Kind::Gauge, unit, help);
        if let Some(held) = &report.held {
            family.push([], Value::Count(value(held)));
        }
        family
    };
    vec![
        by(
            Family::new(
                "spanwire.events",
                Kind::Counter,
                "{event}",
                "Records of the kernel half that the agent took, by kind.",
            ),
            "kind",
            &report.events,
        ),
        by(
            Family::new(
                "spanwire.processes",
                Kind::Gauge,
                "{process}",
                "Processes that spanwire knows of, by state.",
            ),
            "state",
            &report.processes,
        ),
        of_fills(
            "spanwire.map.entries",
            "{entry}",
            "Entries of maps of the kernel half and tables of the agent.",
            &report.tables,
            |fill| fill.used,
        ),
        of_fills(
            "spanwire.map.capacity",
            "{entry}",
            "Entries that fit into maps of the kernel half and tables of the agent.",
            &report.tables,
            |fill| fill.capacity,
        ),
        of_fills(
            "spanwire.ring_buffer.used",
            "By",
            "Bytes in the ring buffer that the agent has not taken yet.",
            ring,
            |fill| fill.used,
        ),
        of_fills(
            "spanwire.ring_buffer.size",
            "By",
            "Size of the ring buffer.",
            ring,
            |fill| fill.capacity,
        ),
        of_held(
            "spanwire.tail.spans",
            "{span}",
            "Spans held until it is decided whether their trace is kept.",
            |held| held.spans,
        ),
        of_held(
            "spanwire.tail.used",
            "By",
            "Bytes of spans held until it is decided whether their trace is kept.",
            |held| held.bytes,
        ),
        of_held(
            "spanwire.tail.size",
            "By",
            "Most bytes of spans that are held until it is decided whether their trace is kept.",
            |held| held.most,
        ),
        runs,
        time,
    ]
}

/// The process's own, with the names that Prometheus' client libraries have for them.
fn process() -> Vec<Family> {
    let gauge = |name, unit, help| Family::new(name, Kind::Gauge, unit, help);
    let mut families = Vec::new();
    let Ok(process) = Process::myself() else {
        return families;
    };
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second();
        #[expect(clippy::cast_precision_loss, reason = "hundredths of seconds of CPU time")]
        let cpu = (stat.utime + stat.stime) as f64 / ticks as f64;
        families.push(
            Family::new(
                "process.cpu",
                Kind::Counter,
                "s",
                "CPU time of spanwire, user and system.",
            )
            .with([], Value::Number(cpu)),
        );
        let memory = Value::Count(stat.rss * procfs::page_size());
        families
            .push(gauge("process.resident_memory", "By", "Resident memory of spanwire.").with([], memory));
        let threads = Value::Count(stat.num_threads.try_into().unwrap_or(0));
        families.push(gauge("process.threads", "", "Threads of spanwire.").with([], threads));
        if let Ok(start) = procfs::boot_time_secs() {
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
            let start = start as f64 + stat.starttime as f64 / ticks as f64;
            let help = "When spanwire was started, since the Unix epoch.";
            families.push(gauge("process.start_time", "s", help).with([], Value::Number(start)));
        }
    }
    if let Ok(count) = process.fd_count() {
        families.push(
            gauge("process.open_fds", "", "Descriptors that spanwire has open.")
                .with([], Value::Count(count as u64)),
        );
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::report::Program;
    use crate::metrics::text::{self, Format};
    use std::time::Duration;

    fn shown(report: Option<&Report>) -> String {
        let health = Health::default();
        health.add(Counter::SpansQueueFull, 3);
        let queue = Fill {
            name: "export",
            used: 5,
            capacity: 2048,
        };
        let waiting = Waiting {
            queues: vec![queue],
            spool: Some(Fill {
                name: "spool",
                used: 4096,
                capacity: 1 << 20,
            }),
            spooled: 7,
        };
        text::write(&families(&health, report, &waiting), Format::Prometheus)
    }

    #[test]
    fn counters_become_families_by_place_what_and_reason() {
        let report = Report {
            kernel: vec![
                ("kernel.lost.records.ring_full", 4),
                ("kernel.gap.unseen", 2),
                ("kernel.propagation.skipped.cut", 1),
                ("kernel.novelty", 9),
            ],
            ..Report::default()
        };
        let text = shown(Some(&report));
        for line in [
            r#"spanwire_lost_total{place="agent",what="spans",reason="queue_full"} 3"#,
            r#"spanwire_lost_total{place="kernel",what="records",reason="ring_full"} 4"#,
            r#"spanwire_gaps_total{place="kernel",reason="unseen"} 2"#,
            r#"spanwire_propagation_total{place="kernel",kind="skipped.cut"} 1"#,
            r#"spanwire_events_other_total{place="kernel",kind="kernel.novelty"} 9"#,
            r#"spanwire_spans_total{place="agent",kind="built"} 0"#,
            r#"spanwire_queue_length{name="export"} 5"#,
            r#"spanwire_queue_capacity{name="export"} 2048"#,
            "spanwire_spool_length 7",
            "spanwire_spool_size_bytes 4096",
            "spanwire_spool_capacity_bytes 1048576",
            "spanwire_pipeline_answers 1",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} in\n{text}");
        }
    }

    #[test]
    fn every_counter_of_both_halves_has_a_group() {
        let kernel = spanwire_ebpf::Counter::ALL.iter().map(|counter| counter.name());
        let own = Counter::ALL.iter().map(|counter| counter.name());
        let families = counters(own.chain(kernel).map(|name| (name, 1)));
        let others = families.iter().find(|family| family.name == OTHERS.0).unwrap();
        assert_eq!(others.points, []);
        // No two become the same series.
        for family in families {
            let mut labels: Vec<_> = family
                .points
                .iter()
                .map(|point| format!("{:?}", point.labels))
                .collect();
            let all = labels.len();
            labels.sort_unstable();
            labels.dedup();
            assert_eq!(labels.len(), all, "{}", family.name);
        }
    }

    #[test]
    fn a_pipeline_that_does_not_answer_leaves_the_agent_s_own() {
        let text = shown(None);
        assert!(text.contains("spanwire_pipeline_answers 0\n"), "{text}");
        assert!(text.contains("process_cpu_seconds_total "), "{text}");
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
        assert!(!text.contains("spanwire_events_total"), "{text}");
    }

    #[test]
    fn programs_maps_and_processes_are_told() {
        let report = Report {
            events: vec![("bytes", 12)],
            programs: vec![Program {
                name: "sock_send_length".to_owned(),
                runs: 1000,
                time: Duration::from_micros(1500),
            }],
            tables: vec![Fill {
                name: "connections",
                used: 1,
                capacity: 65_536,
            }],
            held: Some(Held {
                spans: 5,
                bytes: 6000,
                most: 1 << 20,
            }),
            ring: Some(Fill {
                name: "events",
                used: 4096,
                capacity: 8 << 20,
            }),
            processes: vec![("read", 3)],
            ..Report::default()
        };
        let text = shown(Some(&report));
        for line in [
            r#"spanwire_events_total{kind="bytes"} 12"#,
            r#"spanwire_bpf_runs_total{program="sock_send_length"} 1000"#,
            r#"spanwire_bpf_run_time_seconds_total{program="sock_send_length"} 0.0015"#,
            r#"spanwire_map_entries{name="connections"} 1"#,
            r#"spanwire_map_capacity{name="connections"} 65536"#,
            r#"spanwire_ring_buffer_used_bytes{name="events"} 4096"#,
            "spanwire_tail_spans 5",
            "spanwire_tail_used_bytes 6000",
            "spanwire_tail_size_bytes 1048576",
            r#"spanwire_processes{state="read"} 3"#,
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} in\n{text}");
        }
    }
}
