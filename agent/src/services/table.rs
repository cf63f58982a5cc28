//! Services as people read them.

use super::{Process, Services, Spoken};
use std::fmt::Write as _;

const HEAD: [&str; 8] = [
    "PID",
    "SERVICE",
    "RUNTIME",
    "IN",
    "LISTENS",
    "SEEN",
    "WATCHED",
    "INJECTION",
];

/// Most ports, or protocols, of one process.
const LISTED: usize = 4;

impl Services {
    /// A table, its columns as wide as what is in them.
    #[must_use]
    pub fn text(&self) -> String {
        let rows: Vec<_> = self.processes.iter().map(row).collect();
        let mut widths = HEAD.map(str::len);
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in std::iter::once(&HEAD.map(str::to_owned)).chain(&rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                // Writing to a string does not fail.
                let _ = write!(line, "{cell:width$}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        if self.left_out > 0 {
            let _ = writeln!(text, "and {} more", self.left_out);
        }
        text
    }
}

fn row(process: &Process) -> [String; 8] {
    let runtime = process.runtime.as_ref().map(|runtime| match &runtime.version {
        Some(version) => format!("{} {version}", runtime.name),
        None => runtime.name.clone(),
    });
    let within = process
        .pod
        .as_ref()
        .or(process.container.as_ref())
        .or(process.unit.as_ref());
    let or_nothing = |text: Option<String>| {
        text.filter(|text| !text.is_empty())
            .unwrap_or_else(|| "-".to_owned())
    };
    [
        process.pid.to_string(),
        or_nothing(Some(printable(match process.service.is_empty() {
            true => &process.executable,
            false => &process.service,
        }))),
        or_nothing(runtime),
        or_nothing(within.map(|within| printable(within))),
        or_nothing(Some(list(process.listens.iter().map(u16::to_string)))),
        or_nothing(Some(list(process.seen.iter().map(spoken)))),
        format!("{}: {}", if process.watched { "yes" } else { "no" }, process.why),
        or_nothing(process.injection.as_ref().map(|injection| {
            let what = match injection.protocols.is_empty() {
                true => "none".to_owned(),
                false => format!(
                    "{}, {} of {} connections",
                    injection.protocols.join(" "),
                    injection.enrolled,
                    injection.connections
                ),
            };
            match &injection.why_not {
                Some(why) => format!("{what}: {}", printable(why)),
                None => what,
            }
        })),
    ]
}

fn spoken(spoken: &Spoken) -> String {
    let port = spoken
        .port
        .map_or_else(|| "unix".to_owned(), |port| port.to_string());
    match spoken.role.as_str() {
        "server" => format!("{}:{port}", spoken.protocol),
        _ => format!("->{}:{port}", spoken.protocol),
    }
}

fn list(items: impl ExactSizeIterator<Item = String>) -> String {
    let count = items.len();
    let mut items: Vec<_> = items.take(LISTED).collect();
    if count > LISTED {
        items.push(format!("+{}", count - LISTED));
    }
    items.join(" ")
}

/// Names are others' to choose, and a terminal does what it is told.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Injected, Runtime};
    use super::*;

    #[test]
    fn a_table_for_people() {
        let spoken = |protocol: &str, role: &str, port: Option<u16>| Spoken {
            protocol: protocol.into(),
            role: role.into(),
            port,
        };
        let cart = Process {
            pid: 7,
            service: "cart".into(),
            executable: "server".into(),
            runtime: Some(Runtime {
                name: "go".into(),
                version: Some("go1.26.8".into()),
            }),
            pod: Some("shop/cart-1".into()),
            container: Some("server".into()),
            listens: vec![80, 81, 82, 83, 84, 85],
            seen: vec![
                spoken("http1", "server", Some(80)),
                spoken("postgres", "client", Some(5432)),
                spoken("http2", "server", None),
            ],
            watched: true,
            why: "watch.include[0]".into(),
            injection: Some(Injected {
                protocols: vec!["http1".into(), "http2".into()],
                connections: 5,
                enrolled: 3,
                why_not: None,
            }),
            ..Process::default()
        };
        let evil = Process {
            pid: 12_345,
            service: String::new(),
            executable: "\u{1b}[2Jx".into(),
            why: "not asked for".into(),
            ..Process::default()
        };
        let services = Services {
            processes: vec![cart, evil],
            left_out: 3,
        };
        assert_eq!(
            services.text(),
            "\
PID    SERVICE  RUNTIME      IN           LISTENS         SEEN                                 WATCHED                INJECTION
7      cart     go go1.26.8  shop/cart-1  80 81 82 83 +2  http1:80 ->postgres:5432 http2:unix  yes: watch.include[0]  http1 http2, 3 of 5 connections
12345  ?[2Jx    -            -            -               -                                    no: not asked for      -
and 3 more
"
        );
    }
}
