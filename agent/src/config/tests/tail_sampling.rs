//! Which traces are kept.

use super::*;

fn tail(text: &str) -> Result<Option<Tail>, String> {
    let text = format!("sampling:\n  tail:\n{text}");
    let resolved = from(&text, &[], "").map_err(|error| error.to_string())?;
    Ok(resolved.config.sampling.tail)
}

#[test]
fn it_is_off_unless_something_says_what_is_kept() {
    for text in [
        "",
        "    decision_wait: 5s\n",
        "    max_bytes: 8M\n",
        "    enabled: false\n    ratio: 0.1\n",
    ] {
        assert_eq!(tail(text), Ok(None), "{text}");
    }
    for text in [
        "    ratio: 0.1\n",
        "    spans_per_second: 100\n",
        "    rates: [{operations: ['GET /a'], ratio: 0}]\n",
        "    enabled: true\n    ratio: 0\n    keep: [{errors: true}]\n",
    ] {
        assert!(tail(text).unwrap().is_some(), "{text}");
    }
    let tail = tail("    ratio: 1e-3\n").unwrap().unwrap();
    assert!((tail.ratio.number() - 0.001).abs() < 1e-12);
    assert_eq!(
        (tail.decision_wait, tail.max_bytes, tail.max_traces),
        (Duration::from_secs(10), 64 << 20, 50_000)
    );
}

#[test]
fn what_is_wrong_says_where_and_what_is_allowed() {
    for (text, expect) in [
        (
            "    ratio: 1.5\n",
            "wrong value for `sampling.tail.ratio` at spanwire.yaml:3: `1.5` is not a number from 0 to 1, such as 0.25",
        ),
        (
            "    ratio: nan\n",
            "wrong value for `sampling.tail.ratio` at spanwire.yaml:3: `nan` is not a number from 0 to 1, such as 0.25",
        ),
        (
            "    ratoi: 0.1\n",
            "unknown key `ratoi` at spanwire.yaml:3, did you mean `ratio`?",
        ),
        (
            "    keep:\n    - percentile: 100\n",
            "wrong value for `sampling.tail.keep[0].percentile` at spanwire.yaml:4: `100` is not a percentile above 0 and \
             below 100, such as 99 or 99.9",
        ),
        (
            "    keep:\n    - eror: true\n",
            "unknown key `eror` at spanwire.yaml:4, did you mean `errors`?",
        ),
        (
            "    keep:\n    - operations: ['[']\n",
            "wrong value for `sampling.tail.keep[0].operations[0]` at spanwire.yaml:4: `[` is not a pattern: unclosed \
             character class; missing ']'",
        ),
        (
            "    spans_per_second: 0\n",
            "wrong value for `sampling.tail.spans_per_second` at spanwire.yaml:3: integer `0`, expected a number from 1",
        ),
        (
            "    min_traces_per_minute: -1\n",
            "wrong value for `sampling.tail.min_traces_per_minute` at spanwire.yaml:3: integer `-1`, expected a number \
             from 0",
        ),
        (
            "    keep: [{errors: true}]\n",
            "`sampling.tail.ratio` (default) is 1, so that every trace is kept whatever else is said; give a share such as \
             0.1, 0 for none of the rest, or `sampling.tail.spans_per_second`",
        ),
        (
            "    ratio: 0\n    keep: [{errors: true}, {}]\n",
            "`sampling.tail.keep` (from spanwire.yaml) has a rule (the one at place 2) that keeps all: say what a span has \
             to be, such as `errors: true`",
        ),
        (
            "    ratio: 0\n    keep: [{attributes: [{name: a, min: 2, max: 1}]}]\n",
            "`sampling.tail.keep` (from spanwire.yaml) has a rule (the one at place 1) that has a `min` for `a` above its \
             `max`",
        ),
        (
            "    ratio: 0\n    keep: [{attributes: [{name: a, min: .nan}]}]\n",
            "`sampling.tail.keep` (from spanwire.yaml) has a rule (the one at place 1) that has a bound for `a` that is no \
             number",
        ),
        (
            "    ratio: 0\n    decision_wait: 0\n",
            "`sampling.tail.decision_wait` (from spanwire.yaml) is 0ms; give a time from 1ms to 1h",
        ),
        (
            "    ratio: 0\n    max_bytes: 1K\n",
            "`sampling.tail.max_bytes` (from spanwire.yaml) is 1K; the least is 1M",
        ),
        (
            "    ratio: 0\n    max_traces: 100000000\n",
            "`sampling.tail.max_traces` (from spanwire.yaml) is 100000000; the most is 10000000",
        ),
    ] {
        assert_eq!(tail(text), Err(expect.to_owned()));
    }
}

#[test]
fn print_shows_it_as_it_can_be_read_again() {
    let text = "\
sampling:
  tail:
    decision_wait: 5s
    keep:
    - {errors: true, services: [cart]}
    - {latency: 500ms}
    - {percentile: 99.9}
    - {attributes: [{name: tenant, values: [acme]}, {name: http.response.status_code, min: 400}], min_spans: 3}
    ratio: 0.05
    rates: [{services: [shop], operations: ['GET /a*'], ratio: 0.5}]
    min_traces_per_minute: 5
    spans_per_second: 200
";
    let resolved = from(text, &[], "").unwrap();
    let yaml = resolved.yaml();
    let start = yaml.find("  tail:").unwrap();
    assert!(
        yaml[start..].starts_with(
            "  tail:\n    decision_wait: 5s  # from spanwire.yaml\n    max_bytes: 64M  # default\n"
        ),
        "{yaml}"
    );
    let again = from(&yaml, &[], "").unwrap();
    assert_eq!(again.config, resolved.config);
}
