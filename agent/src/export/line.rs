//! One span as one line for people: when, how long, how it went, who, what, with whom.

use std::borrow::Cow;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Local};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::span::semconv as name;
use crate::span::{Kind, Span, Status, UnixNanoseconds, Value};

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// ANSI colours.
    pub color: bool,
    /// Where lines are cut.
    pub width: Width,
}

/// How many columns there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Width {
    /// As many as it takes: a pipe or a file.
    #[default]
    Unlimited,
    /// That many.
    Columns(usize),
    /// Those of the terminal that standard output is at that moment; it may be resized. Unlimited where it is none.
    Terminal,
}

impl Width {
    fn columns(self) -> Option<usize> {
        match self {
            Self::Unlimited => None,
            Self::Columns(columns) => Some(columns),
            Self::Terminal => {
                let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
                // A terminal that does not know its size says 0.
                Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
            }
        }
    }
}

/// Widest that the column of services grows.
const WIDEST_SERVICE: usize = 24;

/// Least that is left of method and path before the peer is cut as well.
const LEAST_OPERATION: usize = 16;

const DIM: Style = Style::new().dimmed();
const FAILED: Style = AnsiColor::Red.on_default().bold();

/// Writes lines of one look, with columns that grow with what they have seen.
#[derive(Debug)]
pub(super) struct Lines {
    look: Look,
    service_width: usize,
    clock: fn(UnixNanoseconds) -> String,
}

impl Lines {
    pub(super) fn new(look: Look) -> Self {
        Self {
            look,
            service_width: 8,
            clock: local_time,
        }
    }

    /// The line of `span` without its end, `branch` being what draws the tree before it.
    pub(super) fn line(&mut self, span: &Span, branch: &str) -> String {
        let service = escape(text(&span.resource.attributes, name::SERVICE_NAME).unwrap_or("?"));
        let service = cut(&service, WIDEST_SERVICE);
        self.service_width = self.service_width.max(service.width());
        let failed = span.status != Status::Unset;
        let (status, status_style) = status(span, failed);
        let mut line = Line {
            text: String::with_capacity(160),
            width: 0,
            color: self.look.color,
        };
        line.push(&(self.clock)(span.start), DIM);
        line.pad(2);
        let duration = duration(span.end.0.saturating_sub(span.start.0));
        line.pad(9usize.saturating_sub(duration.width()));
        line.push(&duration, Style::new());
        line.pad(2);
        line.push(&status, status_style);
        line.pad(2);
        line.push(&service, service_style(&service));
        line.pad(self.service_width - service.width() + 2);
        line.push(branch, DIM);
        let arrow = match span.kind {
            Kind::Server | Kind::Consumer => "← ",
            Kind::Client | Kind::Producer => "→ ",
        };
        line.push(arrow, DIM);
        self.operation(&mut line, span, failed);
        line.text
    }

    /// Method and target, then what went wrong and the other end; the target gives way first.
    fn operation(&self, line: &mut Line, span: &Span, failed: bool) {
        let method = text(&span.attributes, name::HTTP_REQUEST_METHOD_ORIGINAL)
            .or_else(|| text(&span.attributes, name::HTTP_REQUEST_METHOD))
            .unwrap_or(&span.name);
        let operation = format!("{} {}", escape(method), escape(&target(span)));
        let operation = operation.trim_end();
        let problem = match &span.status {
            Status::Error(description) => escape(description),
            Status::Unset => Cow::Borrowed(""),
        };
        let peer = peer(span);
        let peer = escape(&peer);
        let tail = [&problem, &peer]
            .iter()
            .filter(|part| !part.is_empty())
            .map(|part| part.width() + 2)
            .sum::<usize>();
        let columns = self.look.width.columns();
        let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(line.width));
        let for_operation = room.saturating_sub(tail).max(LEAST_OPERATION).min(room);
        let style = if failed { FAILED } else { Style::new() };
        line.push(&cut(operation, for_operation), style);
        for (part, style) in [(problem, AnsiColor::Red.on_default()), (peer, DIM)] {
            let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(line.width + 2));
            if !part.is_empty() && room > 1 {
                line.pad(2);
                line.push(&cut(&part, room), style);
            }
        }
    }
}

/// A line in the making, and how many columns of it there are.
struct Line {
    text: String,
    width: usize,
    color: bool,
}

impl Line {
    fn push(&mut self, text: &str, style: Style) {
        self.width += text.width();
        if self.color && !text.is_empty() && style != Style::new() {
            // Writing to a string does not fail.
            let _ = write!(self.text, "{style}{text}{style:#}");
        } else {
            self.text.push_str(text);
        }
    }

    fn pad(&mut self, columns: usize) {
        self.width += columns;
        self.text.extend(std::iter::repeat_n(' ', columns));
    }
}

fn status(span: &Span, failed: bool) -> (Cow<'static, str>, Style) {
    let code = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == name::HTTP_RESPONSE_STATUS_CODE);
    let Some(Value::Integer(code)) = code.map(|attribute| &attribute.value) else {
        return (
            Cow::Borrowed(if failed { "ERR" } else { "···" }),
            if failed { FAILED } else { DIM },
        );
    };
    let style = match code {
        _ if failed => FAILED,
        400.. => AnsiColor::Yellow.on_default(),
        300.. => AnsiColor::Cyan.on_default(),
        _ => AnsiColor::Green.on_default(),
    };
    (Cow::Owned(format!("{code:>3}")), style)
}

/// Path and query where a request came in, host and the rest where it went out.
fn target(span: &Span) -> Cow<'_, str> {
    if let Some(url) = text(&span.attributes, name::URL_FULL) {
        return Cow::Borrowed(url.strip_prefix("http://").unwrap_or(url));
    }
    let path = text(&span.attributes, name::URL_PATH).unwrap_or("");
    match text(&span.attributes, name::URL_QUERY) {
        Some(query) => Cow::Owned(format!("{path}?{query}")),
        None => Cow::Borrowed(path),
    }
}

fn peer(span: &Span) -> String {
    let address = match span.kind {
        Kind::Server => text(&span.attributes, name::CLIENT_ADDRESS),
        _ => text(&span.attributes, name::NETWORK_PEER_ADDRESS),
    };
    let port = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == name::NETWORK_PEER_PORT);
    match (span.kind, address, port.map(|attribute| &attribute.value)) {
        (Kind::Server, address, _) => address.unwrap_or("").to_owned(),
        (_, Some(address), Some(Value::Integer(port))) if address.contains(':') => {
            format!("[{address}]:{port}")
        }
        (_, Some(address), Some(Value::Integer(port))) => format!("{address}:{port}"),
        (_, address, _) => address.unwrap_or("").to_owned(),
    }
}

fn text<'a>(attributes: &'a [crate::span::Attribute], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match &attribute.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// The same colour for the same service, run after run.
fn service_style(service: &str) -> Style {
    const COLORS: [AnsiColor; 6] = [
        AnsiColor::Blue,
        AnsiColor::Magenta,
        AnsiColor::Cyan,
        AnsiColor::BrightBlue,
        AnsiColor::BrightMagenta,
        AnsiColor::BrightCyan,
    ];
    let mut hasher = DefaultHasher::new();
    service.hash(&mut hasher);
    COLORS[(hasher.finish() % COLORS.len() as u64) as usize].on_default()
}

/// Three digits that matter, and the unit: `812 µs`, `1.50 ms`, `12.3 s`, `2m 05s`.
fn duration(nanoseconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000, "µs"), (1_000_000, "ms"), (1_000_000_000, "s")];
    if nanoseconds >= 100_000_000_000 {
        let seconds = nanoseconds / 1_000_000_000;
        return format!("{}m {:02}s", seconds / 60, seconds % 60);
    }
    let (unit, label) = UNITS
        .into_iter()
        .rev()
        .find(|(unit, _)| nanoseconds >= *unit)
        .unwrap_or(UNITS[0]);
    // Cut, not rounded: 999.9 µs is not yet 1.00 ms.
    let hundredths = nanoseconds / (unit / 100);
    match hundredths {
        0..1_000 => format!("{}.{:02} {label}", hundredths / 100, hundredths % 100),
        1_000..10_000 => format!("{}.{} {label}", hundredths / 100, hundredths % 100 / 10),
        _ => format!("{} {label}", hundredths / 100),
    }
}

fn local_time(time: UnixNanoseconds) -> String {
    let time = DateTime::from_timestamp_nanos(i64::try_from(time.0).unwrap_or(i64::MAX));
    time.with_timezone(&Local).format("%H:%M:%S%.3f").to_string()
}

/// `text` in at most `columns`, with an ellipsis where something is missing.
fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let mut kept = String::new();
    let mut width = 1;
    for character in text.chars() {
        width += character.width().unwrap_or(0);
        if width > columns {
            break;
        }
        kept.push(character);
    }
    if columns > 0 {
        kept.push('…');
    }
    Cow::Owned(kept)
}

/// `text` with everything that a terminal would obey, or that would show as something it is not, spelled out: what
/// strangers send ends up on the screen of whoever watches.
fn escape(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\t' | '\n' | '\r' => escaped.extend(character.escape_default()),
            _ if is_plain(character) => escaped.push(character),
            _ => escaped.extend(character.escape_unicode()),
        }
    }
    Cow::Owned(escaped)
}

fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            // Invisible, and those that turn the direction of text around (CVE-2021-42574).
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
impl Lines {
    /// With times in UTC, whatever the machine's zone.
    pub(super) fn in_utc(look: Look) -> Self {
        let clock = |time: UnixNanoseconds| {
            DateTime::from_timestamp_nanos(time.0.cast_signed())
                .format("%H:%M:%S%.3f")
                .to_string()
        };
        Self {
            clock,
            ..Self::new(look)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::sample::{integer, resource, span, text};

    fn line(span: &Span, width: Width) -> String {
        Lines::in_utc(Look { color: false, width }).line(span, "")
    }

    fn client() -> Span {
        let mut client = span(1, 1, &resource("shop"));
        client.kind = Kind::Client;
        client.attributes = vec![
            text("http.request.method", "POST"),
            text("url.full", "http://stock:8080/reserve?item=7"),
            text("network.peer.address", "10.0.0.1"),
            integer("network.peer.port", 8080),
            integer("http.response.status_code", 503),
        ];
        client.status = Status::Error("".into());
        client
    }

    #[test]
    fn a_line_says_it_all() {
        assert_eq!(
            line(&span(1, 1, &resource("shop")), Width::Unlimited),
            "05:43:45.123    1.50 ms  200  shop      ← GET /orders/7  10.0.0.2"
        );
        assert_eq!(
            line(&client(), Width::Unlimited),
            "05:43:45.123    1.50 ms  503  shop      → POST stock:8080/reserve?item=7  10.0.0.1:8080"
        );
        let mut lost = span(1, 1, &resource("shop"));
        lost.attributes.pop();
        lost.status = Status::Error("connection reset before the response".into());
        assert_eq!(
            line(&lost, Width::Unlimited),
            "05:43:45.123    1.50 ms  ERR  shop      ← GET /orders/7  connection reset before the response  10.0.0.2"
        );
    }

    #[test]
    fn colours_are_there_only_when_asked_for_and_take_no_room() {
        let mut colored = Lines::in_utc(Look {
            color: true,
            width: Width::Columns(60),
        });
        let text = colored.line(&client(), "");
        assert!(text.contains("\u{1b}[1m\u{1b}[31m503"), "{text:?}");
        let mut plain = String::new();
        let mut parts = text.split('\u{1b}');
        plain.push_str(parts.next().unwrap());
        for part in parts {
            plain.push_str(part.split_once('m').unwrap().1);
        }
        assert_eq!(plain, line(&client(), Width::Columns(60)));
    }

    #[test]
    fn a_line_fits_the_terminal() {
        let mut wide = span(1, 1, &resource("見本サービスの名前がとても長いもの"));
        wide.attributes[1] = text("url.path", "/検索/そしてもっと長い道が続く/さらに先へ");
        for span in [span(1, 1, &resource("shop")), client(), wide] {
            let whole = line(&span, Width::Unlimited);
            // Up to the arrow nothing is cut: a terminal as narrow as that has to wrap.
            let columns = whole.split(['←', '→']).next().unwrap().width() + 3;
            for width in columns..whole.width() {
                let line = line(&span, Width::Columns(width));
                assert!(line.width() <= width, "{width}: {line}");
                // A peer for which there is no room at all goes without a trace.
                assert!(line.contains('…') || whole.starts_with(&line), "{width}: {line}");
            }
            assert_eq!(line(&span, Width::Columns(whole.width())), whole);
        }
        assert_eq!(
            line(&client(), Width::Columns(80)),
            "05:43:45.123    1.50 ms  503  shop      → POST stock:8080/reserv…  10.0.0.1:8080"
        );
    }

    #[test]
    fn nothing_hostile_reaches_the_terminal() {
        let evil = "\u{1b}]0;owned\u{7}\u{9b}31m\r\n\u{202e}gnp.exe\u{200b}";
        let mut hostile = span(1, 1, &resource("\u{1b}[2Jshop"));
        hostile.attributes = vec![
            crate::span::Attribute {
                key: "http.request.method_original".into(),
                value: Value::Text(format!("GE{evil}T").into()),
            },
            crate::span::Attribute {
                key: "url.path".into(),
                value: Value::Text(format!("/{evil}").into()),
            },
            crate::span::Attribute {
                key: "client.address".into(),
                value: Value::Text(evil.into()),
            },
        ];
        hostile.status = Status::Error(evil.into());
        let line = line(&hostile, Width::Unlimited);
        assert!(line.chars().all(is_plain), "{line:?}");
        assert!(
            line.contains(r"\u{1b}]0;owned\u{7}\u{9b}31m\r\n\u{202e}gnp.exe\u{200b}"),
            "{line}"
        );
    }

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        for (nanoseconds, expected) in [
            (0, "0.00 µs"),
            (999, "0.99 µs"),
            (1_000, "1.00 µs"),
            (12_345, "12.3 µs"),
            (999_999, "999 µs"),
            (1_500_000, "1.50 ms"),
            (99_990_000_000, "99.9 s"),
            (100_000_000_000, "1m 40s"),
            (3_725_000_000_000, "62m 05s"),
            (u64::MAX, "307445734m 33s"),
        ] {
            assert_eq!(duration(nanoseconds), expected);
        }
    }
}
