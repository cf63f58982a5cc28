//! `cargo xtask tidy`: the house rules that a compiler does not know.
//!
//! It reads text, not syntax trees: comments and the insides of strings are blanked (code.rs), and what is left is
//! searched word by word. That is enough for these rules, needs no parser, and takes a fraction of a second.

mod code;
mod layers;
mod names;
mod tree;

use crate::workspace;
use anyhow::{Context as _, Result, bail};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file, as the rules see it.
struct Source {
    /// Relative to the work tree, with forward slashes.
    path: String,
    /// As it is.
    text: String,
    /// One entry a line, without comments and the insides of strings.
    code: Vec<String>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: code::without_comments(text),
        }
    }

    fn finding(&self, line: usize, what: String) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            what,
        }
    }
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// From 1; 0 where the file as a whole is meant.
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.what),
            line => write!(out, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Prints each violation and fails when there is one.
pub(crate) fn command() -> Result<()> {
    let root = workspace::root();
    let mut findings = tree::check(&top_level(root)?);
    let mut files = Vec::new();
    collect(root, root, &mut files)?;
    files.sort();
    for path in &files {
        let text = fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"))?;
        let source = Source::new(path, &text);
        findings.extend(check(&source));
        if let Some(question) = names::long(&source) {
            println!("  question: {question}");
        }
    }
    for finding in &findings {
        println!("  {finding}");
    }
    println!("  {} Rust files read", files.len());
    if !findings.is_empty() {
        bail!(
            "{} house rules broken (ARCHITECTURE.md, CONTRIBUTING.md)",
            findings.len()
        );
    }
    Ok(())
}

fn check(source: &Source) -> Vec<Finding> {
    let mut findings = layers::check(source);
    findings.extend(names::check(source));
    // A tree of ten names is one mistake.
    findings.dedup();
    findings
}

/// Names in the top folder, without dotfiles and build output.
fn top_level(root: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(root).with_context(|| format!("reading {}", root.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: Result<Vec<_>> = names.collect();
    Ok(names?
        .into_iter()
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect())
}

/// Rust files below `folder`, as paths relative to `root`.
fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path: PathBuf = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_ref()) {
                collect(root, &path, files)?;
            }
        } else if name.ends_with(".rs") {
            files.push(path.strip_prefix(root)?.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
fn findings(path: &str, text: &str) -> Vec<String> {
    check(&Source::new(path, text))
        .into_iter()
        .map(|finding| finding.what)
        .collect()
}
