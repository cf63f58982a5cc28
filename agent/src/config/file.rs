//! The configuration file: YAML into a layer, and errors that name file, line, key and what was meant.

use super::layer::Layer;
use super::value::nearest;
use std::fmt::{self, Display};

/// Text of a configuration file, and the name to call it by.
#[derive(Clone, Debug)]
pub struct File {
    /// Path, as the user gave it.
    pub name: String,
    /// Content.
    pub text: String,
}

/// What is wrong with a configuration file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    /// The file's name.
    pub file: String,
    /// Line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A key that does not exist, and the one that was probably meant.
    UnknownKey {
        /// As written.
        key: String,
        /// The near one, in full where it belongs to another section.
        meant: Option<String>,
        /// Keys that this section has.
        known: Vec<String>,
    },
    /// A value that its key cannot take.
    WrongValue {
        /// The key in full, such as `capture.hooks`; empty for the whole file.
        key: String,
        /// Why not, and what is allowed.
        why: String,
    },
    /// No YAML.
    Syntax(String),
}

impl Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.line {
            Some(line) => format!("{}:{line}", self.file),
            None => self.file.clone(),
        };
        match &self.problem {
            Problem::UnknownKey {
                key,
                meant: Some(meant),
                ..
            } => {
                write!(
                    formatter,
                    "unknown key `{key}` at {place}, did you mean `{meant}`?"
                )
            }
            Problem::UnknownKey {
                key,
                meant: None,
                known,
            } => {
                write!(
                    formatter,
                    "unknown key `{key}` at {place}; known there: {}",
                    known.join(", ")
                )
            }
            Problem::WrongValue { key, why } if key.is_empty() => write!(formatter, "{place}: {why}"),
            Problem::WrongValue { key, why } => {
                write!(formatter, "wrong value for `{key}` at {place}: {why}")
            }
            Problem::Syntax(why) => write!(formatter, "{place} is not YAML: {why}"),
        }
    }
}

impl File {
    /// What the file says.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(super) fn layer(&self) -> Result<Layer, FileError> {
        let layer = serde_yaml_ng::from_str::<Option<Layer>>(&self.text);
        layer
            .map(Option::unwrap_or_default)
            .map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &serde_yaml_ng::Error) -> FileError {
        let text = error.to_string();
        let line = error.location().map(|location| location.line());
        // serde's errors are text only: `PATH: WHAT at line 1 column 2`.
        let text = match error.location() {
            Some(at) => text.replace(&format!(" at line {} column {}", at.line(), at.column()), ""),
            None => text,
        };
        let words: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
        let (path, what) = match text.split_once(": ") {
            Some((path, what)) if !path.contains(' ') => (path, what),
            _ => ("", &*text),
        };
        let problem = if what.starts_with("unknown field") && !words.is_empty() {
            let known: Vec<String> = words[1..].iter().map(|&word| word.to_owned()).collect();
            Problem::UnknownKey {
                key: words[0].to_owned(),
                meant: meant(words[0], &known),
                known,
            }
        } else if what.starts_with("unknown variant") && !words.is_empty() {
            let why = super::value::Invalid::choice(words[0], &words[1..]).to_string();
            Problem::WrongValue {
                key: path.to_owned(),
                why,
            }
        } else if is_syntax(what) {
            Problem::Syntax(what.to_owned())
        } else {
            Problem::WrongValue {
                key: path.to_owned(),
                why: reworded(path, what),
            }
        };
        FileError {
            file: self.name.clone(),
            line,
            problem,
        }
    }
}

/// serde's words for Rust programmers, in a user's.
fn reworded(path: &str, what: &str) -> String {
    if path.starts_with("redaction.hash_key") {
        return "expected a text of at least 16 characters".to_owned();
    }
    let is_headers =
        path.starts_with("export.") && path.contains(".headers") && !path.contains(".headers_file");
    if is_headers || path.starts_with("metrics.headers") {
        return "expected header names, each with a value".to_owned(); // What was found may be a credential.
    }
    let what = what
        .strip_prefix("invalid type: ")
        .or(what.strip_prefix("invalid value: "))
        .unwrap_or(what);
    let (found, expected) = what.split_once(", expected ").unwrap_or((what, ""));
    let expected = match expected {
        "a sequence" => "a list, as in [a, b]",
        "a nonzero u32" | "a nonzero usize" => "a number from 1",
        "usize" | "u32" => "a number from 0",
        other => other,
    };
    let found = found
        .replace("unit value", "nothing")
        .replace("duplicate field", "there twice:");
    if expected.is_empty() {
        found
    } else {
        format!("{found}, expected {expected}")
    }
}

/// Syntax errors come from the scanner and the parser below serde, whose own all begin as here.
fn is_syntax(what: &str) -> bool {
    [
        "did not find",
        "found ",
        "while ",
        "mapping values",
        "could not",
        "block ",
        "control ",
        "unknown anchor",
    ]
    .iter()
    .any(|start| what.starts_with(start))
}

/// A near key of the same section, else the same or a near key of another one.
fn meant(key: &str, known: &[String]) -> Option<String> {
    if let Some(near) = nearest(key, known.iter().map(String::as_str)) {
        return Some(near.to_owned());
    }
    let everywhere = super::print::keys();
    let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
    let names: Vec<String> = everywhere.iter().map(|path| last(path)).collect();
    let near = nearest(key, names.iter().map(String::as_str))?;
    everywhere.into_iter().find(|path| last(path) == near)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let file = File {
            name: "spanwire.yaml".into(),
            text: text.into(),
        };
        assert_eq!(file.layer().expect_err(text).to_string(), expect);
    }

    #[test]
    fn unknown_keys() {
        check(
            "watch:\n  port: [80]\noutptu:\n",
            "unknown key `outptu` at spanwire.yaml:3, did you mean `output`?",
        );
        check(
            "capture:\n  rng_buffer: 8M\n",
            "unknown key `rng_buffer` at spanwire.yaml:2, did you mean `ring_buffer`?",
        );
        check(
            "ring_buffer: 8M\n",
            "unknown key `ring_buffer` at spanwire.yaml:1, did you mean `capture.ring_buffer`?",
        );
        check(
            "export:\n  otlp:\n    zzz: 1\n",
            "unknown key `zzz` at spanwire.yaml:3; known there: enabled, endpoint, traces_endpoint, protocol, headers, \
             headers_file, timeout, compression, certificate, client_certificate, client_key, insecure",
        );
    }

    #[test]
    fn wrong_values() {
        check(
            "output:\n  color: allways\n",
            "wrong value for `output.color` at spanwire.yaml:2: `allways` is not one of auto, always, never; did you \
             mean `always`?",
        );
        check(
            "watch:\n  port:\n    - 80\n    - 90-85\n",
            "wrong value for `watch.port[1]` at spanwire.yaml:4: the range `90-85` runs backwards; did you mean `85-90`?",
        );
        check(
            "watch:\n  port: 80\n",
            "wrong value for `watch.port` at spanwire.yaml:2: integer `80`, expected a list, as in [a, b]",
        );
        check(
            "capture:\n  ring_buffer: eight\n",
            "wrong value for `capture.ring_buffer` at spanwire.yaml:2: `eight` is not a size in bytes, such as 65536, \
             512K or 8M",
        );
        check(
            "capture:\n  max_connections: 0\n",
            "wrong value for `capture.max_connections` at spanwire.yaml:2: integer `0`, expected a number from 1",
        );
        check(
            "limits:\n  attribute_count: some\n",
            "wrong value for `limits.attribute_count` at spanwire.yaml:2: string \"some\", expected a number from 0",
        );
        check(
            "export: on\n",
            "wrong value for `export` at spanwire.yaml:1: string \"on\", expected a mapping of keys to values",
        );
        check(
            "- a\n",
            "spanwire.yaml:1: sequence, expected a mapping of sections",
        );
        check(
            "output: {}\noutput: {}\n",
            "spanwire.yaml:1: there twice: `output`",
        );
        check(
            "a: b",
            "unknown key `a` at spanwire.yaml:1; known there: watch, kubernetes, containers, capture, http, messaging, propagate, sdk, baggage, routes, spans, redaction, sampling, output, export, batch, limits, metrics, resource",
        );
    }

    #[test]
    fn a_credential_is_not_repeated() {
        let place = "wrong value for `export.otlp.headers";
        let why = "expected header names, each with a value";
        check(
            "export:\n  otlp:\n    headers: k=hunter2\n",
            &format!("{place}` at spanwire.yaml:3: {why}"),
        );
        check(
            "export: {otlp: {headers: {k: [hunter2]}}}\n",
            &format!("{place}.k` at spanwire.yaml:1: {why}"),
        );
        check(
            "export: {otlp: {headers: {k: \"hunter2\\n\"}}}\n",
            &format!("{place}.k` at spanwire.yaml:1: {why}"),
        );
    }

    #[test]
    fn no_yaml() {
        check(
            "watch:\n\tport: [80]\n",
            "spanwire.yaml:2 is not YAML: found character that cannot start any token, while scanning for the next token",
        );
        check(
            "watch: 'x\n",
            "spanwire.yaml:2 is not YAML: found unexpected end of stream, while scanning a quoted scalar at line 1 column 8",
        );
        check(
            "watch: \u{0}",
            "spanwire.yaml:1 is not YAML: control characters are not allowed at position 7",
        );
        check(
            "%",
            "spanwire.yaml:1 is not YAML: could not find expected directive name, while scanning a directive",
        );
        check(
            "watch: {}\n---\nwatch: {}\n",
            "spanwire.yaml: deserializing from YAML containing more than one document is not supported",
        );
    }

    #[test]
    fn nothing_at_all_is_a_configuration() {
        for text in [
            "",
            "# only a comment\n",
            "watch:\n",
            "---\n",
            "export:\n  otlp:\n",
        ] {
            let file = File {
                name: "spanwire.yaml".into(),
                text: text.into(),
            };
            assert_eq!(file.layer(), Ok(Layer::default()), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-z:\\[\\]{}&*!|>'\"%@`#\\- \n\t0-9,.]*") {
            let _ = File { name: String::new(), text }.layer();
        }
    }
}
