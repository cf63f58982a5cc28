//! Which part of the agent may know which: data flows one way, and a `use` must not run against it.
//!
//!     Event -> Chunk -> Message -> Exchange -> Span -> stitched -> redacted -> sampled -> Batch

use super::{Finding, Source};

/// The stages of the agent in the order in which data passes them. A stage may know what came before it (it takes
/// that stage's values), and never what comes after.
const STAGES: &[&str] = &[
    "kernel",
    "connection",
    "protocol",
    "exchange",
    "span",
    "trace",
    "redact",
    "sample",
    "export",
];

/// What wires the stages together: above all of them, so that none of them knows it.
const WIRING: &[&str] = &["pipeline", "cli"];

/// A word that only some files may contain, and why.
struct Reserved {
    words: &'static [&'static str],
    /// Where the rule holds.
    within: &'static str,
    /// Where it does not.
    except: &'static [&'static str],
    why: &'static str,
}

const RESERVED: &[Reserved] = &[
    Reserved {
        words: &["unsafe"],
        within: "",
        except: &["agent/src/kernel/", "agent-ebpf/", "agent/build.rs"],
        why: "unsafe belongs in agent/src/kernel and agent-ebpf",
    },
    Reserved {
        words: &["aya", "aya_obj", "aya_log"],
        within: "agent/src/",
        except: &["agent/src/kernel/"],
        why: "only agent/src/kernel uses aya",
    },
    Reserved {
        words: &[
            "opentelemetry",
            "opentelemetry_sdk",
            "opentelemetry_otlp",
            "opentelemetry_proto",
        ],
        within: "agent/src/",
        except: &["agent/src/export/", "agent/src/export.rs"],
        why: "nothing before export knows OTLP",
    },
    Reserved {
        words: &[
            "pid",
            "tgid",
            "tid",
            "process",
            "tokio",
            "Instant",
            "SystemTime",
            "UNIX_EPOCH",
            "clock_gettime",
            "procfs",
        ],
        within: "agent/src/protocol/",
        except: &[],
        why: "protocol sees no process, clock or runtime: bytes in, values out",
    },
];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = || {
        source
            .code
            .iter()
            .enumerate()
            .map(|(index, code)| (index + 1, code.as_str()))
    };
    let mut found = |line, what| findings.push(source.finding(line, what));
    for rule in RESERVED {
        let holds = source.path.starts_with(rule.within);
        if !holds || rule.except.iter().any(|except| source.path.starts_with(except)) {
            continue;
        }
        for (line, code) in lines() {
            if let Some(word) = words(code).find(|word| rule.words.contains(word)) {
                found(line, format!("`{word}`: {}", rule.why));
            }
        }
    }
    let Some(stage) = stage(&source.path) else {
        return findings;
    };
    let place = STAGES.iter().position(|name| *name == stage);
    for (line, module) in crate_modules(&source.code) {
        let target = STAGES.iter().position(|name| *name == module);
        if place.zip(target).is_some_and(|(place, target)| target > place) {
            found(
                line,
                format!("runs upstream: `{stage}` must not know `{module}`, which comes after it"),
            );
        }
        if place.is_some() && WIRING.contains(&module.as_str()) {
            found(
                line,
                format!("runs upstream: `{stage}` must not know `{module}`, which wires it"),
            );
        }
    }
    findings
}

/// `protocol` of `agent/src/protocol/http1/mod.rs`.
fn stage(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("agent/src/")?;
    inner
        .split('/')
        .next()
        .map(|name| name.strip_suffix(".rs").unwrap_or(name))
}

/// Names right behind `crate::`, also those within braces: `crate::{a::B, c::{D, e}}` names `a` and `c`.
fn crate_modules(code: &[String]) -> Vec<(usize, String)> {
    let mut modules = Vec::new();
    // Some(depth) within the braces of a `crate::{…}` that goes over several lines.
    let mut depth: Option<usize> = None;
    for (index, code) in code.iter().enumerate() {
        let mut rest = code.as_str();
        loop {
            let Some(level) = depth else {
                let Some(at) = rest.find("crate::") else { break };
                let before = rest[..at].chars().next_back();
                rest = &rest[at + "crate::".len()..];
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                    continue;
                }
                if let Some(inner) = rest.strip_prefix('{') {
                    (depth, rest) = (Some(1), inner);
                } else if let Some(word) = words(rest).next() {
                    modules.push((index + 1, word.to_owned()));
                }
                continue;
            };
            rest = rest.trim_start_matches([' ', ',']);
            let Some(first) = rest.chars().next() else { break };
            let step = match first {
                '{' => {
                    depth = Some(level + 1);
                    1
                }
                '}' => {
                    depth = if level > 1 { Some(level - 1) } else { None };
                    1
                }
                _ if first.is_alphanumeric() || first == '_' => {
                    let end = rest
                        .find(|c: char| !c.is_alphanumeric() && c != '_')
                        .unwrap_or(rest.len());
                    if level == 1 {
                        modules.push((index + 1, rest[..end].to_owned()));
                    }
                    // The rest of that path says nothing more: up to the next item or brace.
                    rest.find([',', '{', '}']).unwrap_or(rest.len())
                }
                _ => first.len_utf8(),
            };
            rest = &rest[step..];
        }
    }
    modules
}

/// Identifiers and keywords in a line.
pub(super) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::tidy::findings;

    fn broken(path: &str, text: &str, expect: &str) {
        let findings = findings(path, text);
        assert!(
            findings.len() == 1 && findings[0].contains(expect),
            "{path}: {text}: {findings:?}"
        );
    }

    fn kept(path: &str, text: &str) {
        assert_eq!(findings(path, text), Vec::<String>::new(), "{path}: {text}");
    }

    #[test]
    fn a_use_against_the_flow_is_found_in_every_form() {
        let path = "agent/src/protocol/http1/mod.rs";
        broken(path, "use crate::span::Span;", "runs upstream");
        broken(path, "let span = crate::span::Span::default();", "runs upstream");
        broken(path, "use crate::{connection::Piece, export::Queue};", "`export`");
        broken(
            path,
            "use crate::{\n    connection::{Close, span},\n    trace,\n};",
            "`trace`",
        );
        broken(
            "agent/src/span/mod.rs",
            "use crate::pipeline::Stage;",
            "which wires it",
        );
        kept("agent/src/span/build.rs", "use crate::protocol::http1::Head;");
        kept(
            "agent/src/protocol/mod.rs",
            "use crate::connection::Close; // as crate::span has it",
        );
        kept("agent/src/protocol/mod.rs", "use other_crate::span::Span;");
        kept("agent/src/pipeline.rs", "use crate::{kernel, export};");
        kept("agent/src/export/mod.rs", "use crate::{redact::Redacted, span};");
    }

    #[test]
    fn reserved_words_stay_in_their_rooms() {
        broken(
            "agent/src/protocol/detect.rs",
            "fn detect(pid: u32) {}",
            "protocol sees no process",
        );
        broken(
            "agent/src/protocol/detect.rs",
            "use std::time::Instant;",
            "protocol sees no process",
        );
        broken(
            "agent/src/process/mod.rs",
            "use aya::Ebpf;",
            "only agent/src/kernel uses aya",
        );
        broken(
            "agent/src/span/mod.rs",
            "use opentelemetry::trace::Status;",
            "nothing before export",
        );
        broken(
            "agent/src/connection/mod.rs",
            "unsafe { read() }",
            "unsafe belongs",
        );
        broken("xtask/src/main.rs", "unsafe { read() }", "unsafe belongs");
        kept("agent/src/kernel/bpf.rs", "unsafe { aya::read() }");
        kept("agent-ebpf/src/maps.rs", "unsafe { read() }");
        kept(
            "agent/src/export/otlp.rs",
            "use opentelemetry_sdk::trace::SpanData;",
        );
        kept(
            "agent/src/protocol/detect.rs",
            "/// Not a pid. \nconst RAPID: &str = \"pid\";",
        );
    }
}
