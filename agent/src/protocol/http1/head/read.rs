//! Reading one head, line by line, from pieces of any size; each byte is looked at and copied once.

use super::start_line::is_token;
use super::{Field, Framing, RequestHead, ResponseHead, Section, Span, StartLine, Version};
use crate::protocol::http1::{Flow, Malformed};
use memchr::memchr;

/// Of a line behind the limit, as much is looked at as a framing field needs.
const LINE_BEHIND_LIMIT: usize = 256;
/// Fields kept of one head: each costs 16 bytes beside its text.
const FIELDS: usize = 1024;

/// A whole head, and what it says about the message's end.
#[derive(Debug)]
pub(in crate::protocol::http1) enum Head {
    Request(RequestHead, Framing),
    Response(ResponseHead, Framing),
}

/// A head in progress.
#[derive(Debug)]
pub(in crate::protocol::http1) struct HeadReader {
    flow: Flow,
    limit: usize,
    /// The head so far. Behind the limit, lines are looked at here one by one and taken out again.
    raw: Vec<u8>,
    /// Where the line in progress begins in `raw`.
    line: usize,
    start: Option<StartLine>,
    fields: Vec<Field>,
    framing: Framing,
    cut: bool,
    /// In the rest of a start line that was cut.
    in_cut_start: bool,
}

impl HeadReader {
    pub(in crate::protocol::http1) fn new(flow: Flow, limit: usize) -> Self {
        Self {
            flow,
            limit: limit.min(u32::MAX as usize / 2),
            raw: Vec::new(),
            line: 0,
            start: None,
            fields: Vec::new(),
            framing: Framing::default(),
            cut: false,
            in_cut_start: false,
        }
    }

    /// Takes the head's bytes from `data`: how many, and whether the head ends with the last of them.
    pub(in crate::protocol::http1) fn read(&mut self, data: &[u8]) -> Result<(usize, bool), Malformed> {
        if self.raw.capacity() == 0 {
            self.raw.reserve(data.len().clamp(64, 1024).min(self.limit));
            self.fields.reserve(12);
        }
        let mut used = 0;
        while used < data.len() {
            let rest = &data[used..];
            let newline = memchr(b'\n', rest);
            let part = newline.map_or(rest, |end| &rest[..=end]);
            used += part.len();
            self.keep(part)?;
            if newline.is_some() && self.end_line()? {
                return Ok((used, true));
            }
        }
        Ok((used, false))
    }

    /// Adds a line's bytes, or as many as still fit.
    fn keep(&mut self, part: &[u8]) -> Result<(), Malformed> {
        let limit = if self.cut {
            self.line + LINE_BEHIND_LIMIT
        } else {
            self.limit
        };
        let room = limit.saturating_sub(self.raw.len());
        if part.len() <= room {
            self.raw.extend_from_slice(part);
            return Ok(());
        }
        if self.cut {
            self.raw.extend_from_slice(&part[..room]);
            return Ok(());
        }
        self.cut = true;
        if self.start.is_none() {
            self.raw.extend_from_slice(&part[..room]);
            self.start = Some(StartLine::parse_cut(self.flow, &self.raw)?);
            self.line = self.raw.len();
            self.in_cut_start = true;
        } else {
            self.raw.truncate(self.line + LINE_BEHIND_LIMIT);
            let room = LINE_BEHIND_LIMIT - (self.raw.len() - self.line);
            self.raw.extend_from_slice(&part[..room.min(part.len())]);
        }
        Ok(())
    }

    /// Reads the line that has just ended; true where it ends the head.
    fn end_line(&mut self) -> Result<bool, Malformed> {
        let line = &self.raw[self.line..];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let end = self.line + line.len();
        if self.start.is_none() {
            self.start = Some(StartLine::parse(self.flow, line)?);
        } else if self.in_cut_start {
            self.in_cut_start = false;
            self.raw.truncate(self.line);
            return Ok(false);
        } else if line.is_empty() {
            return Ok(true);
        } else if self.cut {
            if let Some((name, value)) = field(line) {
                let [name, value] = [name, value].map(|part| part.of(line));
                self.framing.add(name, value);
            }
            self.raw.truncate(self.line);
            return Ok(false);
        } else if matches!(line[0], b' ' | b'\t') {
            self.unfold(end)?;
        } else if self.fields.len() < FIELDS {
            let (name, value) = field(line).ok_or(Malformed::FieldLine)?;
            let [name, value] = [name, value]
                .map(|part| Span::new(self.line + part.start as usize, self.line + part.end as usize));
            self.fields.push(Field { name, value });
        } else {
            self.cut = true;
            return self.end_line();
        }
        self.line = self.raw.len();
        Ok(false)
    }

    /// Joins an obs-fold line to the value before it: the line end becomes spaces (RFC 9112, section 5.2).
    fn unfold(&mut self, end: usize) -> Result<(), Malformed> {
        let field = self.fields.last_mut().ok_or(Malformed::FieldLine)?;
        let start = field.value.start as usize;
        for byte in &mut self.raw[field.value.end as usize..self.line] {
            *byte = b' ';
        }
        field.value = trimmed(&self.raw, start, end);
        Ok(())
    }

    /// The head as far as it was read, whose end was not seen.
    pub(in crate::protocol::http1) fn cut_here(mut self) -> Result<Head, Malformed> {
        if self.start.is_none() {
            self.start = Some(StartLine::parse_cut(self.flow, &self.raw)?);
            self.line = self.raw.len();
        }
        self.cut = true;
        self.framing.unseen = true;
        self.finish()
    }

    /// The head.
    pub(in crate::protocol::http1) fn finish(mut self) -> Result<Head, Malformed> {
        let start = self.start.ok_or(Malformed::StartLine)?;
        self.raw.truncate(self.line);
        for field in &self.fields {
            self.framing
                .add(field.name.of(&self.raw), field.value.of(&self.raw));
        }
        let section = |version: Version| Section {
            raw: self.raw,
            fields: self.fields,
            version,
            cut: self.cut,
        };
        Ok(match start {
            StartLine::Request {
                method,
                target,
                version,
            } => Head::Request(
                RequestHead {
                    section: section(version),
                    method,
                    target,
                },
                self.framing,
            ),
            StartLine::Status { status, version } => Head::Response(
                ResponseHead {
                    section: section(version),
                    status,
                },
                self.framing,
            ),
        })
    }
}

/// `field-name ":" OWS field-value OWS`. White space before the colon is wrong, but lenient servers take it.
fn field(line: &[u8]) -> Option<(Span, Span)> {
    let name = line.iter().position(|byte| !is_token(*byte))?;
    let behind = line[name..].trim_ascii_start();
    let valid = name > 0 && behind.first() == Some(&b':') && memchr(0, line).is_none();
    let value = line.len() - behind.len() + 1;
    valid.then(|| (Span::new(0, name), trimmed(line, value, line.len())))
}

/// Whether `line`, which is without its line end, is a field line.
pub(in crate::protocol::http1) fn is_field_line(line: &[u8]) -> bool {
    field(line).is_some()
}

/// The range without the spaces and tabs at both its ends.
fn trimmed(raw: &[u8], start: usize, end: usize) -> Span {
    let blank = |byte: &u8| matches!(*byte, b' ' | b'\t');
    let text = &raw[start..end];
    let leading = text.iter().take_while(|byte| blank(byte)).count();
    let trailing = text[leading..]
        .iter()
        .rev()
        .take_while(|byte| blank(byte))
        .count();
    Span::new(start + leading, end - trailing)
}
