//! The top folder: a fixed list, so that whoever opens it sees the whole.

use super::Finding;

/// What must be there.
const NEEDED: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "agent",
    "agent-ebpf",
    "tests",
    "xtask",
];

/// What may be there.
const KNOWN: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-GPL",
    "LICENSE-MIT",
    "clippy.toml",
    "deny.toml",
    "deploy",
    "rustfmt.toml",
];

pub(super) fn check(names: &[String]) -> Vec<Finding> {
    let finding = |name: &str, what: &str| Finding {
        path: name.to_owned(),
        line: 0,
        what: what.to_owned(),
    };
    let unknown = names
        .iter()
        .filter(|name| !NEEDED.contains(&name.as_str()) && !KNOWN.contains(&name.as_str()));
    let missing = NEEDED
        .iter()
        .filter(|name| !names.iter().any(|there| there == *name));
    let unknown = unknown.map(|name| finding(name, "not part of the top level, which is fixed"));
    unknown
        .chain(missing.map(|name| finding(name, "is missing from the top level")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_and_what_is_missing() {
        let mut names: Vec<String> = NEEDED.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(check(&names), []);
        names.push("scripts".to_owned());
        names.retain(|name| name != "LICENSE");
        let found: Vec<_> = check(&names).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["scripts", "LICENSE"]);
    }
}
