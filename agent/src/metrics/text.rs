//! Families as text: Prometheus' format 0.0.4 and [OpenMetrics 1.0], with names after OpenTelemetry's [compatibility]
//! specification: dots become `_`, the unit is written out and put behind, and so is `_total`.
//!
//! [OpenMetrics 1.0]: https://prometheus.io/docs/specs/om/open_metrics_spec/
//! [compatibility]: https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/

use super::family::{Distribution, Exemplar, Family, Kind, Point, Value};
use crate::span;
use smol_str::{SmolStr, ToSmolStr as _};
use std::borrow::Cow;
use std::fmt::{Display, Write as _};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, which all can read.
    Prometheus,
    /// OpenMetrics, which has exemplars.
    OpenMetrics,
}

impl Format {
    /// The better one of those that an `Accept` field takes (RFC 9110, section 12.5.1).
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        let quality = |wanted: &str| {
            let ranges = accept.unwrap_or_default().split(',');
            ranges
                .filter_map(|range| {
                    let mut parts = range.split(';').map(str::trim);
                    let name = parts.next()?;
                    let mut quality = 1.0;
                    for parameter in parts {
                        let (key, value) = parameter.split_once('=')?;
                        match (key.trim(), value.trim().trim_matches('"')) {
                            ("q", value) => quality = value.parse::<f32>().ok()?,
                            // Of what we do not write, another version or encoding.
                            ("version", version) if name == OPEN && !version.starts_with("1.") => {
                                return None;
                            }
                            ("version", version) if name == PLAIN && version != "0.0.4" => return None,
                            _ => {}
                        }
                    }
                    (name == wanted).then_some(quality)
                })
                .fold(0.0, f32::max)
        };
        const OPEN: &str = "application/openmetrics-text";
        const PLAIN: &str = "text/plain";
        let open = quality(OPEN);
        if open > 0.0 && open >= quality(PLAIN) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// `Content-Type` of the text.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All of `families` that have points.
#[must_use]
pub fn write(families: &[Family], format: Format) -> String {
    let mut text = String::new();
    for family in families.iter().filter(|family| !family.points.is_empty()) {
        Writer {
            text: &mut text,
            format,
            name: name(family),
        }
        .family(family);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

/// Name of a family as Prometheus has it, without `_total`.
fn name(family: &Family) -> String {
    let mut name: String = family.name.trim_end_matches("_total").replace(['.', '-'], "_");
    let unit = unit(family.unit);
    if !unit.is_empty() && !name.ends_with(unit) {
        name.push('_');
        name.push_str(unit);
    }
    name
}

/// The unit written out; units in braces count things, and are not.
fn unit(unit: &'static str) -> &'static str {
    match unit {
        "s" => "seconds",
        "By" => "bytes",
        _ => "",
    }
}

struct Writer<'a> {
    text: &'a mut String,
    format: Format,
    name: String,
}

impl Writer<'_> {
    fn family(&mut self, family: &Family) {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let total = if family.kind == Kind::Counter {
            "_total"
        } else {
            ""
        };
        // OpenMetrics names the family, Prometheus the samples.
        let head = match self.format {
            Format::Prometheus => format!("{}{total}", self.name),
            Format::OpenMetrics => self.name.clone(),
        };
        let help = escaped(family.help, false);
        let mut heads = format!("# HELP {head} {help}\n# TYPE {head} {kind}\n");
        let unit = unit(family.unit);
        if self.format == Format::OpenMetrics && !unit.is_empty() {
            heads += &format!("# UNIT {head} {unit}\n");
        }
        self.text.push_str(&heads);
        for point in &family.points {
            let labels = &labels(point);
            match &point.value {
                Value::Count(value) => self.sample(total, labels, None, value, None),
                Value::Number(value) => self.sample(total, labels, None, &Float(*value), None),
                Value::Histogram(distribution) => self.histogram(labels, distribution),
            }
        }
    }

    fn histogram(&mut self, labels: &[Written<'_>], distribution: &Distribution) {
        let mut count = 0;
        let bounds = distribution.bounds.iter().copied().chain([f64::INFINITY]);
        for (bucket, bound) in bounds.enumerate() {
            count += distribution.counts.get(bucket).copied().unwrap_or(0);
            let exemplar = distribution.exemplars.get(bucket).and_then(Option::as_ref);
            self.sample("_bucket", labels, Some(bound), &count, exemplar);
        }
        self.sample("_sum", labels, None, &Float(distribution.sum), None);
        self.sample("_count", labels, None, &count, None);
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: &[Written<'_>],
        bound: Option<f64>,
        value: &dyn Display,
        exemplar: Option<&Exemplar>,
    ) {
        let bound = bound.map(|bound| (Cow::Borrowed("le"), Float(bound).to_smolstr()));
        self.text.push_str(&self.name);
        self.text.push_str(suffix);
        let mut separator = '{';
        for (key, value) in labels.iter().chain(&bound) {
            self.text.push(separator);
            separator = ',';
            self.text.push_str(key);
            self.text.push_str("=\"");
            self.text.push_str(&escaped(value, true));
            self.text.push('"');
        }
        if separator == ',' {
            self.text.push('}');
        }
        // Writing to a string does not fail.
        let _ = write!(self.text, " {value}");
        if let Some(exemplar) = exemplar.filter(|_| self.format == Format::OpenMetrics) {
            let _ = write!(
                self.text,
                " # {{trace_id=\"{}\",span_id=\"{}\"}} {} {}.{:09}",
                hex(&exemplar.trace_id.0),
                hex(&exemplar.span_id.0),
                Float(exemplar.value),
                exemplar.time.0 / 1_000_000_000,
                exemplar.time.0 % 1_000_000_000,
            );
        }
        self.text.push('\n');
    }
}

/// A label's name, and its value.
type Written<'a> = (Cow<'a, str>, SmolStr);

/// Whose a point is, and its attributes.
fn labels(point: &Point) -> Vec<Written<'_>> {
    let mut labels = Vec::with_capacity(point.labels.len() + 2);
    if let Some(service) = &point.service {
        labels.push((Cow::Borrowed("service_name"), service.name.clone()));
        if let Some(namespace) = &service.namespace {
            labels.push((Cow::Borrowed("service_namespace"), namespace.clone()));
        }
    }
    for (key, value) in &point.labels {
        let value = match value {
            span::Value::Text(text) => text.clone(),
            span::Value::Integer(value) => value.to_smolstr(),
            span::Value::Boolean(value) => value.to_smolstr(),
            span::Value::Texts(values) => format!("{values:?}").into(),
        };
        labels.push((label(key), value));
    }
    labels
}

/// As both formats write a number: `+Inf`, and never an exponent's `E`.
struct Float(f64);

impl Display for Float {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            value if value == f64::INFINITY => formatter.write_str("+Inf"),
            value if value == f64::NEG_INFINITY => formatter.write_str("-Inf"),
            value if value.is_nan() => formatter.write_str("NaN"),
            // OpenMetrics' canonical form has the point.
            value if value.fract() == 0.0 && value.abs() < 1e15 => write!(formatter, "{value:.1}"),
            value => write!(formatter, "{value}"),
        }
    }
}

/// An attribute's name as a label's: `[a-zA-Z_][a-zA-Z0-9_]*`.
fn label(key: &str) -> Cow<'_, str> {
    let fits = |(at, character): (usize, char)| {
        character == '_' || character.is_ascii_alphabetic() || (at > 0 && character.is_ascii_digit())
    };
    if key.char_indices().all(fits) {
        return Cow::Borrowed(key);
    }
    let mut label: String = key
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '_'
            }
        })
        .collect();
    if label.starts_with(|first: char| first.is_ascii_digit()) {
        label.insert_str(0, "key_");
    }
    Cow::Owned(label)
}

fn escaped(text: &str, quotes: bool) -> Cow<'_, str> {
    let special = |character: char| matches!(character, '\\' | '\n') || (quotes && character == '"');
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\\' => escaped.push_str("\\\\"),
            '"' if quotes => escaped.push_str("\\\""),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::{SpanId, TraceId, UnixNanoseconds};

    fn histogram() -> Family {
        let distribution = Distribution {
            bounds: &[0.005, 1.0],
            counts: vec![2, 0, 1],
            sum: 3.25,
            exponential: None,
            exemplars: vec![
                None,
                None,
                Some(Exemplar {
                    value: 3.25,
                    time: UnixNanoseconds(1_500_000_000_000_000_007),
                    trace_id: TraceId([0xab; 16]),
                    span_id: SpanId([1; 8]),
                }),
            ],
        };
        Family::new("http.server.request.duration", Kind::Histogram, "s", "Duration.").with(
            [("http.request.method", "GET"), ("url.path", "a\\b\"c\nd")],
            Value::Histogram(Box::new(distribution)),
        )
    }

    #[test]
    fn prometheus_has_cumulative_buckets_and_no_exemplars() {
        let labels = r#"http_request_method="GET",url_path="a\\b\"c\nd""#;
        let name = "http_server_request_duration_seconds";
        assert_eq!(
            write(&[histogram()], Format::Prometheus),
            format!(
                "# HELP {name} Duration.\n# TYPE {name} histogram\n{name}_bucket{{{labels},le=\"0.005\"}} 2\n\
                 {name}_bucket{{{labels},le=\"1.0\"}} 2\n{name}_bucket{{{labels},le=\"+Inf\"}} 3\n\
                 {name}_sum{{{labels}}} 3.25\n{name}_count{{{labels}}} 3\n"
            )
        );
    }

    #[test]
    fn openmetrics_has_units_exemplars_and_an_end() {
        let text = write(&[histogram()], Format::OpenMetrics);
        assert!(text.contains("# UNIT http_server_request_duration_seconds seconds\n"));
        let exemplar = format!(
            "le=\"+Inf\"}} 3 # {{trace_id=\"{}\",span_id=\"{}\"}} 3.25 1500000000.000000007\n",
            "ab".repeat(16),
            "01".repeat(8)
        );
        assert!(text.contains(&exemplar), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_counter_s_family_is_named_without_total_in_openmetrics_alone() {
        let family = |name| Family::new(name, Kind::Counter, "{span}", "Spans.").with([], Value::Count(7));
        for (name, format, expect) in [
            (
                "spanwire.spans",
                Format::Prometheus,
                "# HELP spanwire_spans_total Spans.\n# TYPE spanwire_spans_total counter\nspanwire_spans_total 7\n",
            ),
            (
                "spanwire.spans",
                Format::OpenMetrics,
                "# HELP spanwire_spans Spans.\n# TYPE spanwire_spans counter\nspanwire_spans_total 7\n# EOF\n",
            ),
            (
                "graph_request_total",
                Format::Prometheus,
                "# HELP graph_request_total Spans.\n# TYPE graph_request_total counter\ngraph_request_total 7\n",
            ),
        ] {
            assert_eq!(write(&[family(name)], format), expect);
        }
    }

    #[test]
    fn the_format_is_the_one_that_is_asked_for() {
        for (accept, expect) in [
            (None, Format::Prometheus),
            (Some("*/*"), Format::Prometheus),
            (Some("text/plain"), Format::Prometheus),
            // Prometheus 2.42.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                     text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                Format::OpenMetrics,
            ),
            (
                Some("application/openmetrics-text; version=0.0.1"),
                Format::Prometheus,
            ),
            (
                Some("application/openmetrics-text;q=0.2, text/plain;q=0.9"),
                Format::Prometheus,
            ),
            (Some("application/openmetrics-text;q=0"), Format::Prometheus),
            (
                Some(";;;=,q=,application/openmetrics-text;q=x"),
                Format::Prometheus,
            ),
        ] {
            assert_eq!(Format::accepted(accept), expect, "{accept:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_a_line(key in ".{0,12}", value in "\\PC{0,12}|[\"\\\\\n]{0,6}") {
            let mut family = Family::new("a", Kind::Gauge, "", "b");
            let labels = vec![(Cow::Owned(key), span::Value::Text(value.into()))];
            family.points.push(Point { service: None, labels, start: 0, value: Value::Count(1) });
            let text = write(&[family], Format::Prometheus);
            proptest::prop_assert_eq!(text.matches('\n').count(), 3);
            let line = text.lines().last().unwrap_or_default();
            proptest::prop_assert!(line.starts_with("a{") && line.ends_with("\"} 1"), "{}", line);
        }
    }
}
