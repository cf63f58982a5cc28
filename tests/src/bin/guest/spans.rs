//! The spans that came out, against the requests that were made.

use crate::Verdict;
use crate::agent::Ended;
use crate::workload::{Due, Made, Over};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const SERVER: u64 = 2;
const CLIENT: u64 = 3;

/// A span and the process whose it is.
struct Span {
    span: Value,
    pid: Option<i64>,
}

impl Span {
    fn text(&self, key: &str) -> Option<&str> {
        attribute(&self.span, key)?["stringValue"].as_str()
    }

    /// Int64 is a string in OTLP/JSON.
    fn number(&self, key: &str) -> Option<i64> {
        attribute(&self.span, key)?["intValue"].as_str()?.parse().ok()
    }

    fn kind(&self) -> u64 {
        self.span["kind"].as_u64().unwrap_or_default()
    }

    /// `url.path`, or the path within `url.full`.
    fn path(&self) -> Option<&str> {
        let in_url = |url: &'_ str| -> Option<usize> { Some(url.find("://")? + 3) };
        self.text("url.path").or_else(|| {
            let url = self.text("url.full")?;
            let rest = &url[in_url(url)?..];
            Some(&rest[rest.find('/')?..])
        })
    }
}

/// Each of these contexts is that of a client's span.
pub(crate) fn are_of_clients<'a>(ended: &Ended, contexts: impl Iterator<Item = &'a String>) -> Result<()> {
    let spans = read(&ended.output)?;
    let text = |span: &Span, key| span.span[key].as_str().unwrap_or_default().to_owned();
    let clients = spans.iter().filter(|span| span.kind() == CLIENT);
    let ids: BTreeSet<_> = clients
        .map(|span| format!("{}-{}", text(span, "traceId"), text(span, "spanId")))
        .collect();
    let strange: Vec<_> = contexts
        .filter(|context| *context != "OWN")
        .filter(|context| !context.get(3..52).is_some_and(|context| ids.contains(context)))
        .collect();
    ensure!(strange.is_empty(), "no spans: {strange:?}");
    Ok(())
}

/// How many server spans of one spanwire have a parent: a client span of the other that has asked for the same.
pub(crate) fn joined(near: &Ended, far: &Ended) -> Result<usize> {
    let (near, far) = (read(&near.output)?, read(&far.output)?);
    let text = |span: &Span, key| span.span[key].as_str().unwrap_or_default().to_owned();
    let asked: BTreeMap<_, _> = near
        .iter()
        .filter(|span| span.kind() == CLIENT)
        .map(|span| (text(span, "spanId"), span))
        .collect();
    let served = far.iter().filter(|span| span.kind() == SERVER);
    let mut joined = BTreeSet::new();
    for span in served.filter(|span| !text(span, "parentSpanId").is_empty()) {
        let parent = text(span, "parentSpanId");
        let asked = asked.get(&parent);
        let asked = asked.with_context(|| format!("an orphan: {:?}", span.path()))?;
        ensure!(
            asked.path() == span.path() && text(asked, "traceId") == text(span, "traceId"),
            "{:?} is said to be for {:?}",
            span.path(),
            asked.path()
        );
        ensure!(joined.insert(parent), "two have one parent");
    }
    Ok(joined.len())
}

/// How many client spans have a server span of the same process and path as their parent; none may have another.
pub(crate) fn within(ended: &Ended) -> Result<usize> {
    let spans = read(&ended.output)?;
    let text = |span: &Span, key| span.span[key].as_str().unwrap_or_default().to_owned();
    let served: BTreeMap<_, _> = spans
        .iter()
        .filter(|span| span.kind() == SERVER)
        .map(|span| (text(span, "spanId"), span))
        .collect();
    let asked = spans.iter().filter(|span| span.kind() == CLIENT);
    let mut told = 0;
    for span in asked.filter(|span| !text(span, "parentSpanId").is_empty()) {
        let parent = served.get(&text(span, "parentSpanId"));
        let parent = parent.with_context(|| format!("an orphan: {:?}", span.path()))?;
        ensure!(
            parent.path() == span.path()
                && parent.pid == span.pid
                && text(parent, "traceId") == text(span, "traceId"),
            "{:?} is said to be for {:?}",
            span.path(),
            parent.path()
        );
        told += 1;
    }
    Ok(told)
}

/// Asserts that each request gave one server span and one client span with the right attributes, or a counted gap where
/// that will do, and that nothing else was made up.
pub(crate) fn compare(set: &str, made: &[Made], ended: &Ended, verdict: &mut Verdict) {
    let gaps = ended.summary.losses();
    let spans = match read(&ended.output) {
        Ok(spans) => spans,
        Err(error) => return verdict.assert(&format!("hooks {set}: output is OTLP/JSON"), Err(error)),
    };
    for (name, kind) in [("server", SERVER), ("client", CLIENT)] {
        let cases: BTreeSet<_> = made.iter().map(case).collect();
        for case_name in cases {
            let made = made.iter().filter(|made| case(made) == case_name);
            let what = format!("hooks {set}: {name} spans of {case_name}");
            verdict.assert(&what, complete(made, kind, &spans, &gaps));
        }
    }
    verdict.assert(
        &format!("hooks {set}: nothing else, and no id twice"),
        nothing_else(made, &spans),
    );
    verdict.assert(
        &format!("hooks {set}: client and server are different processes"),
        two_sides(made, &spans),
    );
}

/// `tcp4/kept` of `/socket/tcp4/kept/3`.
fn case(made: &Made) -> String {
    let parts: Vec<_> = made.path.split('/').skip(2).collect();
    if parts.len() > 1 {
        parts[..parts.len() - 1].join("/")
    } else {
        "busybox".to_owned()
    }
}

fn complete<'a>(
    made: impl Iterator<Item = &'a Made>,
    kind: u64,
    spans: &[Span],
    gaps: &[String],
) -> Result<()> {
    let wrong: Vec<_> = made
        .filter_map(|made| one(made, kind, spans, gaps).err())
        .collect();
    let said: Vec<_> = wrong.iter().map(|error| format!("{error:#}")).collect();
    ensure!(
        wrong.is_empty(),
        "{} of the requests: {}",
        wrong.len(),
        said.join("; ")
    );
    Ok(())
}

/// The spans of that kind for that request.
fn of<'s>(made: &'s Made, kind: u64, spans: &'s [Span]) -> impl Iterator<Item = &'s Span> {
    let is_it = move |span: &&Span| span.kind() == kind && span.path() == Some(&made.path);
    spans.iter().filter(is_it)
}

/// One span of that kind for that request, and a right one; or none, where a counted gap will do.
fn one(made: &Made, kind: u64, spans: &[Span], gaps: &[String]) -> Result<()> {
    let path = made.path.as_str();
    let found: Vec<_> = of(made, kind, spans).collect();
    let may_miss = match made.due {
        Due::Both => false,
        Due::BothOrCounted => !gaps.is_empty(),
        Due::AtClient => kind == SERVER,
    };
    if found.is_empty() && may_miss {
        return Ok(());
    }
    ensure!(found.len() == 1, "{path}: {} spans, {gaps:?}", found.len());
    right(made, kind, found[0]).with_context(|| format!("{path}: {}", found[0].span))
}

fn right(made: &Made, kind: u64, span: &Span) -> Result<()> {
    ensure!(span.span["name"] == made.method, "name");
    ensure!(
        span.text("http.request.method") == Some(made.method),
        "http.request.method"
    );
    ensure!(
        span.number("http.response.status_code") == Some(200),
        "http.response.status_code"
    );
    ensure!(span.text("error.type").is_none(), "error.type");
    for (key, size) in [
        ("http.request.body.size", made.request),
        ("http.response.body.size", Some(made.response)),
    ] {
        let found = span.number(key);
        let size = size.map(u64::cast_signed);
        ensure!(found == size, "{key} is {found:?}, not {size:?}");
    }
    match made.over {
        Over::Unix => ensure!(
            span.text("network.transport") == Some("unix"),
            "network.transport"
        ),
        // A server's peer is the client, whose port nobody chose.
        Over::Tcp { port } if kind == CLIENT => {
            ensure!(
                span.number("network.peer.port") == Some(i64::from(port)),
                "network.peer.port"
            );
        }
        Over::Tcp { .. } => ensure!(
            span.text("network.peer.address").is_some(),
            "network.peer.address"
        ),
    }
    let time = |key: &str| span.span[key].as_str().and_then(|time| time.parse::<u64>().ok());
    ensure!(
        time("startTimeUnixNano") < time("endTimeUnixNano"),
        "its end is not after its start"
    );
    Ok(())
}

fn nothing_else(made: &[Made], spans: &[Span]) -> Result<()> {
    let paths: BTreeSet<_> = made.iter().map(|made| made.path.as_str()).collect();
    for span in spans {
        ensure!(
            span.path().is_some_and(|path| paths.contains(path)),
            "nobody asked for {}",
            span.span
        );
    }
    let ids: BTreeSet<_> = spans.iter().map(|span| span.span["spanId"].as_str()).collect();
    ensure!(
        ids.len() == spans.len(),
        "{} ids for {} spans",
        ids.len(),
        spans.len()
    );
    ensure!(
        !ids.contains(&None) && !ids.contains(&Some("")),
        "a span without an id"
    );
    Ok(())
}

fn two_sides(made: &[Made], spans: &[Span]) -> Result<()> {
    let by_path = |kind| -> BTreeMap<_, _> {
        spans
            .iter()
            .filter(|span| span.kind() == kind)
            .map(|span| (span.path(), span.pid))
            .collect()
    };
    let (servers, clients) = (by_path(SERVER), by_path(CLIENT));
    for made in made.iter().filter(|made| made.due == Due::Both) {
        let path = Some(made.path.as_str());
        let pair = servers
            .get(&path)
            .copied()
            .flatten()
            .zip(clients.get(&path).copied().flatten());
        let (server, client) = pair.with_context(|| format!("{}: no process.pid", made.path))?;
        ensure!(server != client, "{}: both are of process {server}", made.path);
    }
    Ok(())
}

fn read(output: &str) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    for line in output.lines() {
        let request: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        for resource in items(&request, "resourceSpans") {
            let pid = attribute(&resource["resource"], "process.pid");
            let pid = pid.and_then(|value| value["intValue"].as_str()?.parse().ok());
            for scope in items(resource, "scopeSpans") {
                spans.extend(items(scope, "spans").map(|span| Span {
                    span: span.clone(),
                    pid,
                }));
            }
        }
    }
    Ok(spans)
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn attribute<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    items(value, "attributes")
        .find(|attribute| attribute["key"] == key)
        .map(|attribute| &attribute["value"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use spanwire_tests::summary::Summary;

    fn made() -> Made {
        Made {
            method: "GET",
            path: "/socket/tcp4/kept/0".to_owned(),
            over: Over::Tcp { port: 8001 },
            request: None,
            response: 4,
            due: Due::Both,
        }
    }

    fn span(kind: u64, id: &str, pid: u32, attributes: &Value) -> String {
        let mut all = vec![
            json!({"key": "http.request.method", "value": {"stringValue": "GET"}}),
            json!({"key": "http.response.status_code", "value": {"intValue": "200"}}),
            json!({"key": "http.response.body.size", "value": {"intValue": "4"}}),
        ];
        all.extend(attributes.as_array().cloned().unwrap_or_default());
        let span = json!({
            "spanId": id, "name": "GET", "kind": kind, "attributes": all,
            "startTimeUnixNano": "1", "endTimeUnixNano": "2",
        });
        let resource =
            json!({"attributes": [{"key": "process.pid", "value": {"intValue": pid.to_string()}}]});
        json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}).to_string()
    }

    fn server() -> String {
        let path = json!({"key": "url.path", "value": {"stringValue": "/socket/tcp4/kept/0"}});
        let peer = json!({"key": "network.peer.address", "value": {"stringValue": "127.0.0.1"}});
        span(SERVER, "a1", 10, &json!([path, peer]))
    }

    fn client() -> String {
        let url =
            json!({"key": "url.full", "value": {"stringValue": "http://guest.test/socket/tcp4/kept/0"}});
        let port = json!({"key": "network.peer.port", "value": {"intValue": "8001"}});
        span(CLIENT, "a2", 11, &json!([url, port]))
    }

    fn failed_of(made: Made, lines: &[String], summary: &str) -> usize {
        let mut verdict = Verdict::default();
        let summary = Summary::parse(&["spanwire summary".to_owned(), summary.to_owned()]);
        let output = lines.join("\n");
        let summary = summary.unwrap_or_default();
        compare("socket", &[made], &Ended { output, summary }, &mut verdict);
        assert_eq!(verdict.assertions.len(), 4);
        verdict.failed()
    }

    fn failed(lines: &[String]) -> usize {
        failed_of(made(), lines, "")
    }

    #[test]
    fn what_may_be_missing_is_counted_then() {
        let or_counted = || Made {
            due: Due::BothOrCounted,
            ..made()
        };
        assert_eq!(failed_of(or_counted(), &[], "  kernel.gap.no_buffer 3"), 0);
        assert_eq!(failed_of(or_counted(), &[], "  spans.built 0"), 2);
        let wrong = client().replace("\"8001\"", "\"8002\"");
        assert_eq!(failed_of(or_counted(), &[wrong], "  kernel.gap.no_buffer 3"), 1);
    }

    #[test]
    fn only_the_servers_may_be_missing_without_a_count() {
        let at_client = || Made {
            due: Due::AtClient,
            ..made()
        };
        assert_eq!(failed_of(at_client(), &[client()], ""), 0);
        assert_eq!(failed_of(at_client(), &[server()], ""), 1);
    }

    #[test]
    fn one_of_each_side_is_right_and_all_else_is_not() {
        assert_eq!(failed(&[server(), client()]), 0);
        assert_eq!(failed(&[server()]), 2, "the client's is missing");
        assert_eq!(failed(&[server(), client(), client()]), 2, "twice, with one id");
        assert_eq!(
            failed(&[server(), client().replace("\"8001\"", "\"8002\"")]),
            1,
            "another port"
        );
        assert_eq!(
            failed(&[
                server().replace("\"intValue\":\"4\"", "\"intValue\":\"5\""),
                client()
            ]),
            1,
            "another size"
        );
        assert_eq!(
            failed(&[server(), client().replace("\"11\"", "\"10\"")]),
            1,
            "the same process"
        );
        let extra = server().replace("kept/0", "kept/9").replace("a1", "a3");
        assert_eq!(
            failed(&[server(), client(), extra]),
            1,
            "a span that nobody asked for"
        );
    }
}
