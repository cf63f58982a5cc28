//! The report on a terminal.

use super::finding::AS_ROOT;
use super::{Finding, Need, Report, Status};
use std::io::{self, Write};

/// Columns, at which texts are folded.
const WIDTH: usize = 110;
const STATUS: usize = 8;
const TITLE: usize = 21;
const INDENT: usize = 2 + STATUS + TITLE;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Writes the findings under their headings, the hook sets, and the verdict.
pub(super) fn write(out: &mut impl Write, color: bool, report: &Report) -> io::Result<()> {
    let paint = |style: &str, text: &str| match color {
        true => format!("{style}{text}{PLAIN}"),
        false => text.to_owned(),
    };
    let line = |out: &mut dyn Write, style: &str, word: &str, title: &str, detail: &str| -> io::Result<()> {
        let word = paint(style, &format!("{word:STATUS$}"));
        let mut detail = fold(detail, WIDTH - INDENT).into_iter();
        writeln!(out, "  {word}{title:TITLE$}{}", detail.next().unwrap_or_default())?;
        detail.try_for_each(|rest| writeln!(out, "{:INDENT$}{rest}", ""))
    };
    for group in report.findings.chunk_by(|one, next| one.group == next.group) {
        writeln!(out, "\n{}", paint(BOLD, group[0].group.heading()))?;
        for (index, finding) in group.iter().enumerate() {
            let before = index.checked_sub(1).map(|index| &group[index]);
            let again =
                finding.status != Status::Works && before.is_some_and(|it| it.detail == finding.detail);
            let detail = if again { "the same" } else { &finding.detail };
            line(out, style(finding), finding.status.word(), finding.title, detail)?;
            // Neighbours with the same advice share it, below the last of them.
            let next = group.get(index + 1).map(Advice::of).unwrap_or_default();
            for (label, text) in Advice::of(finding).unlike(&next) {
                for (index, text) in fold(text, WIDTH - INDENT - label.len()).iter().enumerate() {
                    let label = if index == 0 { label } else { "      " };
                    writeln!(out, "{:INDENT$}{}", "", paint(DIM, &format!("{label}{text}")))?;
                }
            }
        }
    }
    writeln!(out, "\n{}", paint(BOLD, "Hook sets, loaded whole"))?;
    for set in &report.hook_sets {
        let (style, word) = match (set.works, report.privileged) {
            (true, _) => (GREEN, "works"),
            (false, true) => (YELLOW, "no"),
            (false, false) => (YELLOW, "unknown"),
        };
        let reason = set.reason.as_deref().unwrap_or("loads and attaches");
        line(out, style, word, &set.name, reason)?;
    }
    let style = if report.verdict.capture { GREEN } else { RED };
    writeln!(out, "\n{}", paint(style, &report.verdict.text))
}

/// What is printed below a finding.
#[derive(Default)]
struct Advice<'a> {
    lost: &'a str,
    remedy: &'a str,
}

impl<'a> Advice<'a> {
    /// What could not be tried loses nothing yet, and that root could is said once, by the verdict.
    fn of(finding: &'a Finding) -> Self {
        let lost = if finding.status == Status::Unknown {
            ""
        } else {
            &finding.lost
        };
        let remedy = if ["nothing", AS_ROOT].contains(&&*finding.remedy) {
            ""
        } else {
            &finding.remedy
        };
        Self { lost, remedy }
    }

    fn unlike(&self, next: &Self) -> impl Iterator<Item = (&'static str, &'a str)> {
        let lines = [
            ("lost: ", self.lost, next.lost),
            ("do:   ", self.remedy, next.remedy),
        ];
        let lines = lines
            .into_iter()
            .filter(|(_, text, next)| !text.is_empty() && text != next);
        lines.map(|(label, text, _)| (label, text))
    }
}

/// Red is for what capture cannot do without.
fn style(finding: &Finding) -> &'static str {
    match (finding.status, finding.need) {
        (Status::Works, _) => GREEN,
        (Status::Fails, Need::Capture) => RED,
        (Status::Fails, Need::Information) | (Status::Note, _) => DIM,
        (Status::Fails | Status::Unknown, _) => YELLOW,
    }
}

/// Breaks at blanks; a word that is too long stays whole.
fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_folded_at_blanks() {
        assert_eq!(fold("one two three", 7), ["one two", "three"]);
        assert_eq!(fold("extraordinarily", 7), ["extraordinarily"]);
        assert_eq!(fold("", 7), [""; 0]);
    }
}
