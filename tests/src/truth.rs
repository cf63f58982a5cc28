//! Whether spans form the trees that they should: what each request came to is known, and so is the parent of each span.
//!
//! The workloads put an id into all that is done for a request, `ID-order-10-7`: into paths, and into SQL.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Display, Formatter, Write as _};

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use crate::span::{Kind, Span};

/// What the ids of requests begin with.
const MARK: &str = "ID-";

/// What a span says whose parent is not certain.
const INFERRED: &str = "spanwire.parent.inferred";

/// Written before a span whose parent need not be known.
const LOOSE: &str = "? ";

/// The tree of a request: a span a line, `KIND service name: subject` with `ID` for the request's id, each two columns
/// further to the right than its parent. No two of its lines are the same. A line that begins with `? ` may have no parent:
/// what is below it is then a tree of its own.
#[derive(Clone, Debug)]
pub struct Shape(Vec<Place>);

#[derive(Clone, Debug)]
struct Place {
    line: String,
    /// Index of its parent's.
    parent: Option<usize>,
    is_loose: bool,
}

impl Shape {
    /// Reads one.
    ///
    /// # Errors
    /// A line is further to the right than one below the line before it may be, or there twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut places: Vec<Place> = Vec::new();
        // From the root to the line before.
        let mut path = Vec::new();
        for written in text.lines().filter(|line| !line.trim().is_empty()) {
            let line = written.trim_start();
            let depth = (written.len() - line.len()) / 2;
            ensure!(depth <= path.len(), "below nothing: {written}");
            path.truncate(depth);
            let (line, is_loose) = match line.strip_prefix(LOOSE) {
                Some(line) => (line, true),
                None => (line, false),
            };
            ensure!(places.iter().all(|place| place.line != line), "twice: {line}");
            let parent = path.last().copied();
            path.push(places.len());
            places.push(Place {
                line: line.to_owned(),
                parent,
                is_loose,
            });
        }
        Ok(Self(places))
    }

    /// How many spans it has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len()
    }

    fn place(&self, line: &str) -> Option<usize> {
        self.0.iter().position(|place| place.line == line)
    }
}

/// The id in a span's subject, and the span's line.
fn read(span: &Span) -> (Option<&str>, String) {
    let subject = span.subject();
    let id = subject.find(MARK).map(|start| {
        let rest = &subject[start..];
        let is_part = |it: char| it.is_ascii_alphanumeric() || it == '-';
        &rest[..rest.find(|it| !is_part(it)).unwrap_or(rest.len())]
    });
    let kind = match span.kind {
        Kind::Server => "SERVER",
        Kind::Client => "CLIENT",
        Kind::Producer => "PRODUCER",
        Kind::Consumer => "CONSUMER",
    };
    let service = span.resource.get("service.name").and_then(|name| name.as_str());
    let line = format!("{kind} {} {}: {subject}", service.unwrap_or("-"), span.name);
    match id {
        Some(id) => (Some(id), line.replace(id, "ID")),
        None => (None, line),
    }
}

/// What is to be said of one span's parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    /// None, where that is allowed.
    Open,
    /// None, where there is one.
    Without,
    /// Another than its own, or one where there is none, or in another trace.
    Wrong,
    /// There is no such span in the request's tree, or it is there already.
    Surplus,
}

/// What was found of one level of one load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// All of them.
    pub requests: usize,
    /// Requests each of whose spans is there, once, below its own parent.
    pub right: usize,
    /// The same where spans that may have no parent have none.
    pub whole: usize,
    /// Spans that there are.
    pub spans: usize,
    /// Spans without a parent, of those that may have none.
    pub open: usize,
    /// Spans without a parent, of the others.
    pub without: usize,
    /// Spans with another parent than their own, or in a trace that is not theirs.
    pub wrong: usize,
    /// Of these, those that do not say that their parent was inferred.
    pub certain: usize,
    /// Spans that there should be and are not.
    pub missing: usize,
    /// Spans that there should not be.
    pub surplus: usize,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            right: self.right + other.right,
            whole: self.whole + other.whole,
            spans: self.spans + other.spans,
            open: self.open + other.open,
            without: self.without + other.without,
            wrong: self.wrong + other.wrong,
            certain: self.certain + other.certain,
            missing: self.missing + other.missing,
            surplus: self.surplus + other.surplus,
        }
    }
}

/// What was found, by loads and levels: `ID-order-10` of `ID-order-10-7`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    loads: BTreeMap<String, Tally>,
    /// Lines of spans of no request.
    strangers: Vec<String>,
    /// All that there is of the first request with something that is not right, and of the first with a wrong parent.
    examples: [Option<String>; 2],
}

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        for (load, tally) in &self.loads {
            let Tally {
                requests,
                whole,
                open,
                without,
                wrong,
                certain,
                missing,
                surplus,
                ..
            } = tally;
            writeln!(
                out,
                "{load}: {whole} of {requests} requests wholly right; spans: {without} without a parent, {wrong} with a \
                 wrong one ({certain} not as inferred), {missing} missing, {surplus} too many, {open} rightly left open"
            )?;
        }
        Ok(())
    }
}

impl Report {
    /// The number of requests at a time, `10` of `ID-order-10`, and what was found at it.
    #[must_use]
    pub fn levels(&self) -> BTreeMap<usize, Tally> {
        let mut levels: BTreeMap<usize, Tally> = BTreeMap::new();
        for (load, tally) in &self.loads {
            let level = load.rsplit('-').next().and_then(|level| level.parse().ok());
            let sum = levels.entry(level.unwrap_or_default()).or_default();
            *sum = sum.and(*tally);
        }
        levels
    }

    /// Lines of spans without an id, or with that of no request.
    #[must_use]
    pub fn strangers(&self) -> &[String] {
        &self.strangers
    }

    /// A request whose tree is not right, span by span; one with a wrong parent where there is one.
    #[must_use]
    pub fn example(&self) -> Option<&str> {
        self.examples.iter().rev().find_map(Option::as_deref)
    }

    /// The spans are exactly those of the requests, and each has its parent, or none where that is allowed.
    ///
    /// # Errors
    /// Something of that is not so. The message counts what is not, and shows the first request with all of its spans.
    pub fn all_right(&self) -> Result<()> {
        if let Some(stranger) = self.strangers.first() {
            bail!(
                "{self}{} spans of no request, such as {stranger}",
                self.strangers.len()
            );
        }
        match &self.examples[0] {
            None => Ok(()),
            Some(first) => bail!("{self}{first}"),
        }
    }
}

/// Holds the spans against the `expected` requests, by their ids: each is to form its tree, in a trace that is its own. What is
/// allowed to have no parent, and has none, begins a trace as well. Spans of statements that begin with one of `besides` are no
/// strangers.
///
/// # Errors
/// The spans contradict each other.
pub fn report(spans: &[Span], expected: &BTreeMap<String, &Shape>, besides: &[&str]) -> Result<Report> {
    let index: HashMap<&str, &Span> = spans.iter().map(|span| (&*span.span_id, span)).collect();
    ensure!(index.len() == spans.len(), "a span id is there twice");
    let mut requests: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    let mut roots: HashMap<&str, usize> = HashMap::new();
    let mut report = Report::default();
    for span in spans {
        match read(span) {
            (Some(id), _) if expected.contains_key(id) => requests.entry(id).or_default().push(span),
            _ if besides.iter().any(|begin| span.subject().starts_with(begin)) => {}
            (_, line) => report.strangers.push(line),
        }
        *roots.entry(&span.trace_id).or_default() += usize::from(span.parent.is_empty());
    }
    for (id, shape) in expected {
        let spans = requests.remove(&**id).unwrap_or_default();
        let judged = judge(shape, id, &spans, &index, &roots);
        let mut found = Tally {
            requests: 1,
            spans: spans.len(),
            ..Tally::default()
        };
        for (verdict, span) in judged.iter().zip(&spans) {
            match verdict {
                Verdict::Right => {}
                Verdict::Open => found.open += 1,
                Verdict::Without => found.without += 1,
                Verdict::Wrong => {
                    found.wrong += 1;
                    let is_inferred = span.attributes.contains_key(INFERRED);
                    found.certain += usize::from(!is_inferred);
                }
                Verdict::Surplus => found.surplus += 1,
            }
        }
        found.missing = shape.size() + found.surplus - spans.len();
        let is_whole = found.without + found.wrong + found.missing + found.surplus == 0;
        found.whole = usize::from(is_whole);
        found.right = usize::from(is_whole && found.open == 0);
        for (at, is_one) in [!is_whole, found.wrong > 0].into_iter().enumerate() {
            if is_one && report.examples[at].is_none() {
                report.examples[at] = Some(show(shape, id, &spans, &judged, &index));
            }
        }
        let load = id.rsplit_once('-').map_or(&**id, |(load, _)| load);
        let tally = report.loads.entry(load.to_owned()).or_default();
        *tally = tally.and(found);
    }
    Ok(report)
}

/// A verdict on each of the spans of request `id`.
fn judge(
    shape: &Shape,
    id: &str,
    spans: &[&Span],
    index: &HashMap<&str, &Span>,
    roots: &HashMap<&str, usize>,
) -> Vec<Verdict> {
    let mut is_taken = vec![false; shape.size()];
    let verdicts = spans.iter().map(|span| {
        let Some(at) = shape.place(&read(span).1) else {
            return Verdict::Surplus;
        };
        if std::mem::replace(&mut is_taken[at], true) {
            return Verdict::Surplus;
        }
        let place = &shape.0[at];
        if span.parent.is_empty() {
            return match place.parent {
                _ if roots[&*span.trace_id] > 1 => Verdict::Wrong,
                None => Verdict::Right,
                Some(_) if place.is_loose => Verdict::Open,
                Some(_) => Verdict::Without,
            };
        }
        let is_right = place.parent.is_some_and(|parent| {
            index.get(&*span.parent).is_some_and(|given| {
                read(given) == (Some(id), shape.0[parent].line.clone()) && given.trace_id == span.trace_id
            })
        });
        if is_right { Verdict::Right } else { Verdict::Wrong }
    });
    verdicts.collect()
}

/// A request's spans, one a line, and its missing ones.
fn show(
    shape: &Shape,
    id: &str,
    spans: &[&Span],
    verdicts: &[Verdict],
    index: &HashMap<&str, &Span>,
) -> String {
    let mut text = format!("{id}, trace and span id of each:");
    let mut lines: Vec<_> = spans.iter().zip(verdicts).collect();
    lines.sort_by_key(|(span, _)| span.start);
    for (span, verdict) in lines {
        let (_, line) = read(span);
        let _ = write!(text, "\n  {} {} {line}", &span.trace_id[..8], span.span_id);
        if *verdict != Verdict::Right {
            let _ = write!(text, " -- {verdict:?}");
        }
        if *verdict == Verdict::Wrong {
            let parent = match index.get(&*span.parent) {
                Some(parent) => {
                    let (id, line) = read(parent);
                    format!("{} {line} of {}", &parent.trace_id[..8], id.unwrap_or("-"))
                }
                None if span.parent.is_empty() => "none, and the trace has another root".to_owned(),
                None => format!("no span that there is, {}", span.parent),
            };
            let _ = write!(text, ", its parent is {parent}");
        }
    }
    for place in &shape.0 {
        if spans.iter().all(|span| read(span).1 != place.line) {
            let _ = write!(text, "\n  missing: {}", place.line);
        }
    }
    text
}

#[cfg(test)]
mod tests;
