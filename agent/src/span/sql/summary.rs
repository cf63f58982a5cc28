//! A statement in a few words ("Generating a summary of the query" in the database conventions): its operations and
//! their targets, in order, as they were written.
//!
//! It is found by keywords, without a grammar. What is not understood is left out.

use super::lexer::{Kind, Lexer};
use smol_str::{SmolStr, SmolStrBuilder};

/// Longest summary, in characters.
const LENGTH: usize = 255;

/// As many names are taken from WITH clauses, each of which costs a look ahead.
const DEFINED: usize = 32;

/// What a text does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Operations and targets, separated by spaces; empty where there is none.
    pub text: SmolStr,
    /// The operation, where there is one alone.
    pub operation: Option<SmolStr>,
    /// The table or view, where there is one alone.
    pub collection: Option<SmolStr>,
}

/// The summary of `text`; `is_cut` says that its end is missing, so that its last word may be half of one.
#[must_use]
pub fn summary(text: &str, is_cut: bool) -> Summary {
    let mut scan = Scan::new(text, is_cut);
    while scan.step() {}
    scan.finish()
}

/// A level of parentheses.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// A query is in it, so that FROM is its FROM.
    is_query: bool,
    /// Names behind a comma are targets too.
    is_list: bool,
    /// The next name is a target.
    wants_target: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Operation,
    /// A table or view.
    Collection,
    /// Something else.
    Target,
}

#[derive(Debug)]
struct Scan<'a> {
    tokens: std::iter::Peekable<Significant<'a>>,
    parts: Vec<(Part, SmolStr)>,
    /// Names that WITH defines: no collections.
    defined: Vec<&'a str>,
    levels: Vec<Level>,
    level: Level,
    previous: &'a str,
    /// A statement begins.
    is_start: bool,
    /// The statement holds no query.
    is_opaque: bool,
}

/// Tokens that mean something, and whether a text that was cut ends with this one.
#[derive(Clone, Debug)]
struct Significant<'a> {
    lexer: Lexer<'a>,
    left: usize,
    is_cut: bool,
}

impl<'a> Iterator for Significant<'a> {
    type Item = (Kind, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let token = self.lexer.next()?;
            self.left -= token.text.len();
            let is_half = self.is_cut && self.left == 0 && matches!(token.kind, Kind::Word | Kind::Quoted);
            if !is_half && !matches!(token.kind, Kind::Space | Kind::Comment) {
                return Some((token.kind, token.text));
            }
        }
    }
}

impl<'a> Scan<'a> {
    fn new(text: &'a str, is_cut: bool) -> Self {
        let tokens = Significant {
            lexer: Lexer::new(text),
            left: text.len(),
            is_cut,
        };
        Self {
            tokens: tokens.peekable(),
            parts: Vec::new(),
            defined: Vec::new(),
            levels: Vec::new(),
            level: Level::default(),
            previous: "",
            is_start: true,
            is_opaque: false,
        }
    }

    /// Reads one token, and those that belong to it; whether there was one.
    fn step(&mut self) -> bool {
        let Some((kind, text)) = self.tokens.next() else {
            return false;
        };
        match (kind, text) {
            (Kind::Symbol, ";") => {
                self.levels.clear();
                self.level = Level::default();
                (self.is_start, self.is_opaque) = (true, false);
            }
            (Kind::Symbol, "(") => {
                self.level.wants_target = false;
                self.levels.push(std::mem::take(&mut self.level));
            }
            (Kind::Symbol, ")") => self.level = self.levels.pop().unwrap_or_default(),
            (Kind::Symbol, ",") => self.level.wants_target = self.level.is_list,
            (Kind::Word | Kind::Quoted, _) if self.level.wants_target && !is(text, SKIPPED) => {
                self.target(text);
            }
            (Kind::Word, _) if self.is_start => self.start(text),
            (Kind::Word, _) if !self.is_opaque => self.word(text),
            _ => {}
        }
        self.previous = if kind == Kind::Word { text } else { "" };
        true
    }

    /// The first word of a statement.
    fn start(&mut self, word: &'a str) {
        self.is_start = false;
        if is(word, &["with", "select", "insert", "update", "delete", "merge"]) {
            return self.word(word);
        }
        if is(word, &["create", "alter", "drop"]) {
            return self.define(word);
        }
        if is(word, &["start"]) && self.next_is(&["transaction"]) {
            return self.operation_with_next(word);
        }
        self.push(Part::Operation, word);
        if is(word, &["truncate", "lock", "copy", "vacuum", "analyze", "table"]) {
            self.level.wants_target = true;
            self.level.is_list = !is(word, &["copy"]);
            self.is_opaque = !is(word, &["copy"]);
        } else if is(word, &["call"]) {
            if let Some((_, name)) = self.name() {
                self.push(Part::Target, name);
            }
        } else {
            self.is_opaque = !is(word, &["explain", "declare", "prepare", "values"]);
        }
    }

    /// CREATE, ALTER or DROP: what kind of thing, and which.
    fn define(&mut self, verb: &str) {
        let mut operation = verb.to_owned();
        let mut kind = "";
        while let Some((Kind::Word, word)) = self.tokens.peek().copied() {
            let is_modifier = is(word, MODIFIERS);
            self.tokens.next();
            if !is_modifier {
                operation.push(' ');
                operation.push_str(word);
                kind = word;
                if !is(
                    word,
                    &[
                        "materialized",
                        "event",
                        "foreign",
                        "text",
                        "search",
                        "access",
                        "default",
                    ],
                ) {
                    break;
                }
            }
        }
        self.push(Part::Operation, operation);
        let is_collection = is(kind, &["table", "view"]);
        // A definition may end in a query.
        self.is_opaque = !(is_collection && is(verb, &["create"]));
        if is(
            kind,
            &[
                "table",
                "view",
                "index",
                "sequence",
                "schema",
                "database",
                "type",
                "function",
                "procedure",
            ],
        ) {
            while self.next_is(&["if", "not", "exists", "only", "concurrently"]) {
                self.tokens.next();
            }
            // `CREATE INDEX ON t` gives the index no name.
            if !self.next_is(&["on"])
                && let Some((_, name)) = self.name()
            {
                let part = if is_collection {
                    Part::Collection
                } else {
                    Part::Target
                };
                self.push(part, name);
            }
        }
    }

    /// A word within a statement that may hold queries.
    fn word(&mut self, word: &'a str) {
        if is(word, &["select"])
            || is(word, &["insert", "merge"]) && self.next_is(&["into"])
            || is(word, &["delete"]) && self.next_is(&["from"])
        {
            self.query(word);
        } else if is(word, &["with"]) && self.defined.len() < DEFINED {
            self.definitions();
        } else if is(word, &["update"]) && !is(self.previous, &["for", "on", "do", "key", "then"]) {
            self.query(word);
            self.level.wants_target = true;
        } else if self.level.is_query {
            self.clause(word);
        }
    }

    /// A word within a query that may say what comes next.
    fn clause(&mut self, word: &str) {
        if is(word, &["from"]) && !is(self.previous, &["distinct"]) {
            self.level.wants_target = true;
            self.level.is_list = true;
        } else if is(word, &["join", "into"]) {
            self.level.wants_target = true;
        } else if is(word, &["using"]) && self.tokens.peek().is_some_and(|(kind, _)| *kind != Kind::Symbol) {
            // Of DELETE and MERGE; that of a JOIN is in parentheses, that of ORDER BY is an operator.
            self.level.wants_target = true;
            self.level.is_list = true;
        } else if is(word, ENDS_LIST) {
            self.level.is_list = false;
        }
    }

    /// An operation of a query.
    fn query(&mut self, word: &str) {
        self.push(Part::Operation, word);
        self.level = Level {
            is_query: true,
            ..Level::default()
        };
    }

    /// `WITH [RECURSIVE] name [(columns)] AS [[NOT] MATERIALIZED] (query), ...`: the names. Queries are found anyway.
    fn definitions(&mut self) {
        let ahead = self.tokens.clone();
        let mut depth = 0_usize;
        let mut expects_name = true;
        for (kind, text) in ahead {
            match (kind, text) {
                (Kind::Symbol, "(") => depth += 1,
                (Kind::Symbol, ")") => depth = depth.saturating_sub(1),
                (Kind::Symbol, ",") if depth == 0 => expects_name = true,
                (Kind::Word, word) if expects_name && is(word, &["recursive"]) => {}
                (Kind::Word | Kind::Quoted, name) if expects_name && depth == 0 => {
                    self.defined.push(name);
                    expects_name = false;
                }
                (Kind::Word, word)
                    if depth == 0 && is(word, &["select", "insert", "update", "delete", "merge"]) =>
                {
                    break;
                }
                (Kind::Symbol, ";") => break,
                _ => {}
            }
        }
    }

    /// A name where a target is wanted.
    fn target(&mut self, first: &'a str) {
        self.level.wants_target = false;
        let name = self.qualified(first);
        let is_function = matches!(self.tokens.peek(), Some((Kind::Symbol, "("))) && self.is_read();
        if !is_function && !self.defined.contains(&name.as_str()) {
            self.push(Part::Collection, name);
        }
    }

    /// Whether the operation reads its target, where a parenthesis makes that a function; INSERT has columns there.
    fn is_read(&self) -> bool {
        !is(self.previous, &["into"])
            && !self
                .parts
                .last()
                .is_some_and(|(_, part)| is(part, &["copy", "vacuum", "analyze"]))
    }

    /// The name that comes next, if one does.
    fn name(&mut self) -> Option<(Kind, String)> {
        let (kind, first) = *self.tokens.peek()?;
        if !matches!(kind, Kind::Word | Kind::Quoted) {
            return None;
        }
        self.tokens.next();
        Some((kind, self.qualified(first)))
    }

    /// `first`, and what follows it behind dots.
    fn qualified(&mut self, first: &str) -> String {
        let mut name = first.to_owned();
        while let Some((Kind::Symbol, ".")) = self.tokens.peek() {
            self.tokens.next();
            name.push('.');
            if let Some((Kind::Word | Kind::Quoted, part)) = self.tokens.peek() {
                name.push_str(part);
                self.tokens.next();
            }
        }
        name
    }

    fn operation_with_next(&mut self, word: &str) {
        let next = self.tokens.next().map_or("", |(_, next)| next);
        self.push(Part::Operation, format!("{word} {next}"));
        self.is_opaque = true;
    }

    fn next_is(&mut self, words: &[&str]) -> bool {
        matches!(self.tokens.peek(), Some((Kind::Word, word)) if is(word, words))
    }

    fn push(&mut self, part: Part, text: impl Into<SmolStr>) {
        self.parts.push((part, text.into()));
    }

    fn finish(self) -> Summary {
        let alone = |wanted: Part| {
            let mut all = self.parts.iter().filter(|(part, _)| *part == wanted);
            let first = all.next()?;
            all.all(|other| wanted == Part::Collection && other.1 == first.1)
                .then(|| first.1.clone())
        };
        let mut text = SmolStrBuilder::new();
        let mut length = 0;
        for (_, part) in &self.parts {
            let space = usize::from(length > 0);
            length += space + part.chars().count();
            if length > LENGTH {
                break;
            }
            if space > 0 {
                text.push(' ');
            }
            text.push_str(part);
        }
        Summary {
            text: text.finish(),
            operation: alone(Part::Operation),
            collection: alone(Part::Collection),
        }
    }
}

fn is(word: &str, words: &[&str]) -> bool {
    words.iter().any(|it| it.eq_ignore_ascii_case(word))
}

/// Between a keyword and its target.
const SKIPPED: &[&str] = &[
    "only",
    "lateral",
    "table",
    "full",
    "freeze",
    "verbose",
    "analyze",
    "temp",
    "temporary",
    "unlogged",
];

/// Between CREATE, ALTER or DROP and the kind of thing.
const MODIFIERS: &[&str] = &[
    "or",
    "replace",
    "temp",
    "temporary",
    "unlogged",
    "global",
    "local",
    "unique",
    "recursive",
    "trusted",
    "procedural",
    "constraint",
];

/// Behind the list of FROM.
const ENDS_LIST: &[&str] = &[
    "where",
    "group",
    "order",
    "having",
    "limit",
    "offset",
    "fetch",
    "for",
    "union",
    "intersect",
    "except",
    "window",
    "returning",
    "set",
    "when",
];

#[cfg(test)]
mod tests;
