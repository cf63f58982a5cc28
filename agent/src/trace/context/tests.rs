//! Header fields in, contexts out; examples of the specifications, and what they forbid.

use super::*;
use proptest::prelude::*;
use spanwire_ebpf::tracestate::{LIMIT, Reading, phase};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn read(fields: &[(&str, &str)]) -> Extracted {
    let mut all = Fields::default();
    for (name, value) in fields {
        all.show(name.as_bytes(), value.as_bytes());
    }
    all.read()
}

/// Trace id, span id, flags and state; `-` where there is none; behind it how many formats were malformed.
fn line(fields: &[(&str, &str)]) -> String {
    let Extracted { context, malformed } = read(fields);
    let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let context = context.map_or("-".to_owned(), |it| {
        let (trace, span) = (digits(&it.trace_id.0), digits(&it.parent.0));
        format!("{trace} {span} {} {}", it.flags, it.state)
    });
    format!("{} {malformed}", context.trim_end())
}

#[test]
fn traceparent() {
    let whole = "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 1 0";
    for value in [
        PARENT,
        " \t00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 ",
        // A later version, as far as this one reaches.
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-will-be",
        // Bits that have no meaning yet.
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-fd",
    ] {
        assert_eq!(line(&[("Traceparent", value)]), whole, "{value}");
    }
    let random = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02";
    assert!(line(&[("traceparent", random)]).ends_with(" 2 0"));
    for value in [
        "",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what",
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01",
        "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
        "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
    ] {
        assert_eq!(line(&[("traceparent", value)]), "- 1", "{value}");
    }
    // Which of two it is, nobody can tell.
    assert_eq!(line(&[("traceparent", PARENT), ("traceparent", PARENT)]), "- 1");
    assert_eq!(line(&[("host", "a"), ("traceparents", PARENT)]), "- 0");
}

#[test]
fn tracestate() {
    let state = |fields: &[&str]| {
        let mut all = vec![("traceparent", PARENT)];
        all.extend(fields.iter().map(|field| ("tracestate", *field)));
        read(&all).context.unwrap().state
    };
    assert_eq!(
        state(&["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"]),
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
    );
    assert_eq!(state(&["a=1, b=2\t,,", "t@c=3 x"]), "a=1,b=2,t@c=3 x");
    assert_eq!(state(&["0a=!~+"]), "0a=!~+");
    for malformed in [
        "a",
        "=1",
        "a=",
        "A=1",
        "a=1,a=2",
        "a b=1",
        "a=1=2",
        "_a=1",
        "a=\u{e9}",
        "a=1\u{7f}",
    ] {
        assert_eq!(state(&["b=2", malformed]), "", "{malformed}");
    }
    let members = |count: usize| {
        (0..count)
            .map(|number| format!("k{number}=v"))
            .collect::<Vec<_>>()
            .join(",")
    };
    assert_eq!(state(&[&members(32)]), members(32));
    assert_eq!(state(&[&members(33)]), "");
    // Members are kept whole.
    let long = format!("a={},b={},c=1", "x".repeat(256), "y".repeat(256));
    assert_eq!(state(&[&long]), format!("a={}", "x".repeat(256)));
    // Nothing without a parent.
    assert_eq!(line(&[("tracestate", "a=1")]), "- 0");
}

#[test]
fn b3() {
    let wide = "80f198ee56343ba864fe8b2a57d3eff7";
    for (value, expect) in [
        (
            "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90",
            "1 0",
        ),
        ("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1", "1 0"),
        ("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-d", "1 0"),
        ("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0", "0 0"),
        ("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1", "0 0"),
    ] {
        assert_eq!(
            line(&[("b3", value)]),
            format!("{wide} e457b5a2e4d86bd1 {expect}"),
            "{value}"
        );
    }
    assert_eq!(
        line(&[("b3", "64fe8b2a57d3eff7-e457b5a2e4d86bd1")]),
        "000000000000000064fe8b2a57d3eff7 e457b5a2e4d86bd1 0 0"
    );
    for alone in ["0", "1", "d"] {
        assert_eq!(line(&[("b3", alone)]), "- 0");
    }
    for malformed in [
        "",
        "2",
        "x-y",
        "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-2",
        "64fe8b2a57d3eff7-e457b5a2e4d86bd1-1-1-1",
    ] {
        assert_eq!(line(&[("b3", malformed)]), "- 1", "{malformed}");
    }
    let ids = [("X-B3-TraceId", wide), ("X-B3-SpanId", "e457b5a2e4d86bd1")];
    for (more, flags) in [
        (("X-B3-ParentSpanId", "05e3ac9a4f6e3b90"), 0),
        (("X-B3-Sampled", "1"), 1),
        (("X-B3-Sampled", "true"), 1),
        (("X-B3-Sampled", "0"), 0),
        (("X-B3-Flags", "1"), 1),
    ] {
        let expect = format!("{wide} e457b5a2e4d86bd1 {flags} 0");
        assert_eq!(line(&[ids[0], ids[1], more]), expect);
    }
    assert_eq!(line(&ids[..1]), "- 1");
    assert_eq!(line(&[ids[0], ids[1], ("x-b3-sampled", "maybe")]), "- 1");
    assert_eq!(line(&[("x-b3-sampled", "0")]), "- 0");
}

#[test]
fn jaeger() {
    for (value, expect) in [
        (
            "80f198ee56343ba864fe8b2a57d3eff7:e457b5a2e4d86bd1:0:1",
            "80f198ee56343ba864fe8b2a57d3eff7 e457b5a2e4d86bd1 1 0",
        ),
        (
            "1a%3A2b%3a0%3A0",
            "0000000000000000000000000000001a 000000000000002b 0 0",
        ),
        (
            "1a:2b:0:3",
            "0000000000000000000000000000001a 000000000000002b 1 0",
        ),
        ("1a:2b:0", "- 1"),
        ("0:2b:0:1", "- 1"),
        ("1a:0:0:1", "- 1"),
        ("1a:2b:0:x", "- 1"),
        ("1a:11223344556677889:0:1", "- 1"),
        ("+1a:2b:0:1", "- 1"),
    ] {
        assert_eq!(line(&[("uber-trace-id", value)]), expect, "{value}");
    }
}

#[test]
fn the_first_format_that_is_well_formed_is_taken() {
    let jaeger = ("uber-trace-id", "1a:2b:0:1");
    let b3 = ("b3", "64fe8b2a57d3eff7-e457b5a2e4d86bd1-0");
    let parent = ("traceparent", PARENT);
    assert!(line(&[jaeger, b3, parent]).starts_with("0af7"));
    assert!(line(&[jaeger, b3]).starts_with("000000000000000064fe"));
    let broken = ("traceparent", "00-1-2-3");
    assert_eq!(
        line(&[broken, jaeger]),
        "0000000000000000000000000000001a 000000000000002b 1 1"
    );
}

proptest! {
    /// Whatever a client sends, nothing panics, and what comes out obeys the specification.
    #[test]
    fn hostile_fields(fields in proptest::collection::vec(
        ("(traceparent|tracestate|b3|uber-trace-id|x-b3-(traceid|spanid|sampled|flags))", proptest::collection::vec(any::<u8>(), 0..80)),
        0..6,
    )) {
        let mut all = Fields::default();
        for (name, value) in &fields {
            all.show(name.as_bytes(), value);
        }
        let _ = all.read();
    }

    /// What the kernel half carries on of a list is what is exported of it, but for keys that come twice.
    #[test]
    fn both_halves_read_the_same(
        known in proptest::collection::vec("[a-z0-9][a-z0-9_@*/-]{0,3}=[!-+.-<>-~ ]{1,6}", 0..40),
        other in "[a-c=,@ \t\ré]{0,12}",
        at in any::<proptest::sample::Index>(),
        blank in "[ \t,]{0,3}",
    ) {
        let mut all = known.join(&format!("{blank},"));
        let at = at.index(all.len() + 1);
        all.insert_str(at, &other);
        let mut reading = Reading { room: LIMIT, ..Reading::default() };
        for byte in all.bytes().chain(*b"\r\n") {
            reading = reading.take(byte);
        }
        let kept = (reading.phase == phase::ENDED).then(|| {
            let from = reading.from as usize;
            let kept = &all[from..from + reading.length() as usize];
            let members = kept.split(',').map(|member| member.trim_matches([' ', '\t']));
            members.filter(|member| !member.is_empty()).collect::<Vec<_>>()
        });
        let keys: Vec<_> = all.split(',').map(|member| member.trim().split('=').next()).collect();
        let is_distinct = keys.iter().enumerate().all(|(at, key)| key == &Some("") || !keys[..at].contains(key));
        prop_assume!(is_distinct && all.len() <= LIMIT as usize);
        prop_assert_eq!(kept.map(|kept| kept.join(",")).unwrap_or_default(), state(&[all.as_bytes()]));
    }

    #[test]
    fn near_misses(mut parent in Just(PARENT.as_bytes().to_vec()), at in 0_usize..55, byte in any::<u8>(), state in "[a-c=,@ \t]{0,40}") {
        parent[at] = byte;
        let mut all = Fields::default();
        all.show(b"traceparent", &parent);
        all.show(b"tracestate", state.as_bytes());
        if let Some(context) = all.read().context {
            prop_assert!(context.trace_id != TraceId([0; 16]) && context.parent != SpanId([0; 8]));
            prop_assert!(context.state.len() <= STATE && members(&[context.state.as_bytes()]).is_some());
        }
    }
}
