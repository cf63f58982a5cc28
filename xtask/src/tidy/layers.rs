//! Which part of the agent may know which: data flows one way, and a `use` must not run against it.
//!
//!     Event -> Chunk -> Message -> Exchange -> Span -> stitched -> redacted -> counted -> sampled -> Batch

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
    "metrics",
    "sample",
    "export",
];

/// Plain values that travel the whole line from the kernel on (which ids are made there, and which sock, direction
/// and time were seen there), and that every stage may name.
const VOCABULARY: &[(&str, &str)] = &[
    ("connection", "Address"),
    ("connection", "Close"),
    ("connection", "Direction"),
    ("connection", "Endpoints"),
    ("span", "SpanId"),
    ("span", "TraceId"),
    ("span", "UnixNanoseconds"),
];

/// What wires the stages together: above all of them, so that none of them knows it.
const WIRING: &[&str] = &["cli", "pipeline", "replay", "run"];

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
        words: &["kube", "k8s_openapi"],
        within: "agent/src/",
        except: &["agent/src/kubernetes/"],
        why: "only agent/src/kubernetes asks an API server",
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
    for (line, path) in crate_paths(&source.code) {
        let [module, words @ ..] = path.as_slice() else {
            continue;
        };
        let target = STAGES.iter().position(|name| name == module);
        let is_word = words
            .first()
            .is_some_and(|word| VOCABULARY.contains(&(module, word)));
        if place.zip(target).is_some_and(|(place, target)| target > place) && !is_word {
            found(
                line,
                format!("runs upstream: `{stage}` must not know `{module}`, which comes after it"),
            );
        }
        if place.is_some() && WIRING.contains(module) {
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

/// Every path that begins with `crate::`, without that, and its line: `crate::{a::B, c::{D, e}}` is `a::B`, `c::D`
/// and `c::e`.
fn crate_paths(code: &[String]) -> Vec<(usize, Vec<&str>)> {
    let mut paths = Vec::new();
    let mut cursor = Cursor {
        code,
        line: 0,
        column: 0,
    };
    while cursor.line < code.len() {
        let line = code[cursor.line].as_str();
        match line[cursor.column..].find("crate::") {
            Some(at) => {
                let before = line[..cursor.column + at].chars().next_back();
                cursor.column += at + "crate::".len();
                // `$crate::` is a macro's, `other_crate::` another crate.
                if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                    cursor.tree(&mut Vec::new(), &mut paths);
                }
            }
            None => (cursor.line, cursor.column) = (cursor.line + 1, 0),
        }
    }
    paths
}

/// A place in the code.
struct Cursor<'a> {
    code: &'a [String],
    line: usize,
    column: usize,
}

impl<'a> Cursor<'a> {
    /// The text up to the end of the line, white space and line ends before it skipped; empty at the end.
    fn rest(&mut self) -> &'a str {
        while let Some(line) = self.code.get(self.line) {
            let rest = line[self.column..].trim_start();
            if !rest.is_empty() {
                self.column = line.len() - rest.len();
                return rest;
            }
            (self.line, self.column) = (self.line + 1, 0);
        }
        ""
    }

    fn skip(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        if found {
            self.column += what.len();
        }
        found
    }

    /// Steps over an identifier or keyword; empty when there is none.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        self.column += end;
        &rest[..end]
    }

    /// A path or a tree of paths behind `prefix`, which is left as it was.
    fn tree(&mut self, prefix: &mut Vec<&'a str>, paths: &mut Vec<(usize, Vec<&'a str>)>) {
        let length = prefix.len();
        loop {
            if self.skip("{") {
                while !self.skip("}") && !self.rest().is_empty() {
                    let before = (self.line, self.column);
                    self.tree(prefix, paths);
                    // Whatever is no path (a comma, `*`): one sign on.
                    if before == (self.line, self.column) && !self.skip(",") {
                        self.column += self.rest().chars().next().map_or(0, char::len_utf8);
                    }
                }
                break;
            }
            let word = self.word();
            if word.is_empty() {
                break;
            }
            prefix.push(word);
            let line = self.line + 1;
            if !self.skip("::") {
                if self.skip("as ") {
                    self.word();
                }
                paths.push((line, prefix.clone()));
                break;
            }
        }
        prefix.truncate(length);
    }
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
        broken(
            "agent/src/kernel/events.rs",
            "use crate::span::{\n    SpanId,\n    build::Rules};",
            "`span`",
        );
        kept(
            "agent/src/kernel/events.rs",
            "use crate::span::{SpanId, TraceId as Id};",
        );
        kept(
            "agent/src/kernel/events.rs",
            "let close = crate::connection::Close::Reset;",
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
