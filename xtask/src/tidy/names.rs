//! House rules for files, names and leftovers.

use super::layers::words;
use super::{Finding, Source};

/// Lines at which a file is a question, and at which it has to be split.
const LONG: usize = 500;
const TOO_LONG: usize = 800;

/// Written in a file of generated code or of one large table, which may be as long as it needs.
const TABLE: &str = "// tidy: table";

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "helper", "helpers", "manager", "managers", "common", "misc",
];

/// What is only ever left behind by accident.
const LEFTOVERS: &[&str] = &["todo!", "unimplemented!", "dbg!"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |line, what| findings.push(source.finding(line, what));
    let length = length(source);
    if length > TOO_LONG {
        found(
            0,
            format!("{length} lines: split it (or mark a table with `{TABLE}`)"),
        );
    }
    for part in source.path.split('/') {
        let name = part.strip_suffix(".rs").unwrap_or(part);
        if EMPTY_NAMES.contains(&name) {
            found(0, format!("`{name}` says nothing about what is inside"));
        }
    }
    for (index, code) in source.code.iter().enumerate() {
        let line = index + 1;
        let all: Vec<_> = words(code).collect();
        for pair in all.windows(2) {
            if pair[0] == "fn" && pair[1].starts_with("get_") {
                found(line, format!("`{}`: name it without `get_`", pair[1]));
            }
            if pair[0] == "mod" && EMPTY_NAMES.contains(&pair[1]) {
                found(line, format!("`{}` says nothing about what is inside", pair[1]));
            }
        }
        if let Some(leftover) = LEFTOVERS.iter().find(|leftover| contains_macro(code, leftover)) {
            found(line, format!("`{leftover}` was left behind"));
        }
        if code.contains("#[ignore]") {
            found(
                line,
                "`#[ignore]` without a reason: `#[ignore = \"…\"]`".to_owned(),
            );
        }
        if code.contains("#[allow(") || code.contains("#![allow(") {
            found(
                line,
                "`allow` hides what may be gone: `#[expect(…, reason = \"…\")]`".to_owned(),
            );
        }
        if code.contains("[expect(") && !expects_with_reason(&source.code, index) {
            found(line, "`expect` without a reason".to_owned());
        }
    }
    findings
}

/// A word about a file that is on its way to be too long.
pub(super) fn long(source: &Source) -> Option<String> {
    let length = length(source);
    (length > LONG && length <= TOO_LONG)
        .then(|| format!("{}: {length} lines: one room or two?", source.path))
}

fn length(source: &Source) -> usize {
    let is_table = source.text.lines().take(20).any(|line| line.trim() == TABLE);
    if is_table { 0 } else { source.text.lines().count() }
}

/// `dbg!`, but not `my_dbg!`.
fn contains_macro(code: &str, name: &str) -> bool {
    code.match_indices(name)
        .any(|(at, _)| !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'))
}

/// An attribute may go over a few lines.
fn expects_with_reason(code: &[String], index: usize) -> bool {
    let attribute = code[index..].iter().take(6);
    let mut text = String::new();
    for line in attribute {
        text.push_str(line);
        if line.contains(")]") {
            break;
        }
    }
    words(&text).any(|word| word == "reason")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::findings;

    fn check(text: &str, expect: &[&str]) {
        let findings = findings("agent/src/span/mod.rs", text);
        assert_eq!(findings.len(), expect.len(), "{text}: {findings:?}");
        for (finding, expect) in findings.iter().zip(expect) {
            assert!(finding.contains(expect), "{text}: {finding}");
        }
    }

    #[test]
    fn names_and_leftovers() {
        check("fn get_name() {}", &["get_"]);
        check("pub async fn get_it() {}", &["get_"]);
        check("fn target() { map.get(1) } // fn get_", &[]);
        check("mod utils;", &["utils"]);
        check("fn a() { todo!() }", &["todo!"]);
        check("fn a() { dbg!(1); my_dbg!(1); }", &["dbg!"]);
        check("fn a() { my_dbg!(1); }", &[]);
        check("#[ignore]\nfn a() {}", &["#[ignore]"]);
        check("#[ignore = \"slow\"]\nfn a() {}", &[]);
        check("#[allow(dead_code)]\nfn a() {}", &["allow"]);
        check("#[expect(dead_code)]\nfn a() {}", &["reason"]);
        check(
            "#[expect(\n    dead_code,\n    reason = \"why\"\n)]\nfn a() {}",
            &[],
        );
        assert_eq!(findings("agent/src/common/mod.rs", "").len(), 1);
        assert_eq!(findings("agent/src/helpers.rs", "").len(), 1);
    }

    #[test]
    fn files_have_a_length() {
        let lines = |count| "\n".repeat(count);
        check(&lines(TOO_LONG), &[]);
        check(&lines(TOO_LONG + 1), &["split it"]);
        check(&format!("//! A list.\n{TABLE}\n{}", lines(TOO_LONG)), &[]);
        assert!(long(&Source::new("a.rs", &lines(LONG))).is_none());
        assert!(long(&Source::new("a.rs", &lines(LONG + 1))).is_some());
    }
}
