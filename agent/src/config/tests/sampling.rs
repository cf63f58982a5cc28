//! `sampling`, and the variables of the specification.

use super::*;
use crate::config::choice::Sampler;

/// Sampler and ratio of a file and of variables, and what was warned of.
fn sampler(text: &str, variables: &[(&str, &str)]) -> (Sampler, f64, Vec<String>) {
    let found = from(text, variables, "").unwrap();
    let sampling = &found.config.sampling;
    (
        sampling.sampler.unwrap(),
        sampling.ratio.unwrap().number(),
        found.warnings.iter().map(ToString::to_string).collect(),
    )
}

#[test]
fn the_variables_mean_what_the_specification_says() {
    let of = |sampler_value, argument| {
        sampler(
            "",
            &[
                ("OTEL_TRACES_SAMPLER", sampler_value),
                ("OTEL_TRACES_SAMPLER_ARG", argument),
            ],
        )
    };
    for (word, expect) in [
        ("", Sampler::ParentBasedAlwaysOn),
        ("always_on", Sampler::AlwaysOn),
        ("always_off", Sampler::AlwaysOff),
        ("Always_Off", Sampler::AlwaysOff),
        ("traceidratio", Sampler::TraceIdRatio),
        ("parentbased_always_on", Sampler::ParentBasedAlwaysOn),
        ("parentbased_always_off", Sampler::ParentBasedAlwaysOff),
        ("parentbased_traceidratio", Sampler::ParentBasedTraceIdRatio),
    ] {
        assert_eq!(of(word, ""), (expect, 1.0, vec![]), "{word}");
    }
    assert_eq!(of("traceidratio", "0.25"), (Sampler::TraceIdRatio, 0.25, vec![]));
    assert_eq!(
        of("parentbased_traceidratio", "1e-3"),
        (Sampler::ParentBasedTraceIdRatio, 0.001, vec![])
    );
    // "Only used if OTEL_TRACES_SAMPLER is set", and by those that take one.
    assert_eq!(of("", "0.25"), (Sampler::ParentBasedAlwaysOn, 1.0, vec![]));
    assert_eq!(of("always_on", "0.25"), (Sampler::AlwaysOn, 1.0, vec![]));
    assert_eq!(of("always_on", "what"), (Sampler::AlwaysOn, 1.0, vec![]));
    // Unknown values warn, and the default holds.
    let (found, _, warnings) = of("jaeger_remote", "endpoint=http://localhost:14250");
    assert_eq!(found, Sampler::ParentBasedAlwaysOn);
    assert!(
        warnings[0].starts_with("environment variable OTEL_TRACES_SAMPLER: `jaeger_remote` is not one of "),
        "{warnings:?}"
    );
    assert_eq!(warnings.len(), 1);
    for argument in ["1.5", "-0.1", "a lot", "NaN"] {
        let (found, ratio, warnings) = of("traceidratio", argument);
        assert_eq!((found, ratio), (Sampler::TraceIdRatio, 1.0));
        assert_eq!(
            warnings,
            [format!(
                "environment variable OTEL_TRACES_SAMPLER_ARG: `{argument}` is not a number from 0 to 1, such as 0.25; it is ignored"
            )]
        );
    }
}

#[test]
fn the_environment_goes_before_the_file() {
    let file = "sampling: {sampler: traceidratio, ratio: 0.5}\n";
    assert_eq!(sampler(file, &[]), (Sampler::TraceIdRatio, 0.5, vec![]));
    let variables = [
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.1"),
    ];
    assert_eq!(
        sampler(file, &variables),
        (Sampler::ParentBasedTraceIdRatio, 0.1, vec![])
    );
    // Without an argument, the specification's ratio is 1.
    assert_eq!(sampler(file, &variables[..1]).1, 1.0);
}

#[test]
fn errors_say_what_is_allowed() {
    let error = |text| from(text, &[], "").unwrap_err().to_string();
    for (text, expect) in [
        (
            "sampling: {ratio: 2}\n",
            "wrong value for `sampling.ratio` at spanwire.yaml:1: `2` is not a number from 0 to 1, such as 0.25",
        ),
        (
            "sampling: {sampler: parentbased}\n",
            "wrong value for `sampling.sampler` at spanwire.yaml:1: `parentbased` is not one of always_on, always_off,",
        ),
        (
            "sampling:\n  rules:\n  - {services: [shop], ratio: -1}\n",
            "wrong value for `sampling.rules[0].ratio` at spanwire.yaml:3: `-1` is not a number from 0 to 1",
        ),
        (
            "sampling:\n  rules:\n  - services: [shop]\n",
            "wrong value for `sampling.rules[0]` at spanwire.yaml:3: missing field `ratio`",
        ),
        (
            "sampling: {rules: [{ratio: 0.5}]}\n",
            "`sampling.rules` (from spanwire.yaml) has a rule (the one at place 1) that is for all services: give",
        ),
        (
            "sampling: {max_traces_per_second: 0}\n",
            "wrong value for `sampling.max_traces_per_second` at spanwire.yaml:1: integer `0`, expected a number from 1",
        ),
        (
            "sampling: {show_unsampled: sometimes}\n",
            "wrong value for `sampling.show_unsampled` at spanwire.yaml:1: string \"sometimes\", expected a boolean",
        ),
        (
            "sampling: {rate: 1}\n",
            "unknown key `rate` at spanwire.yaml:1, did you mean `ratio`?",
        ),
    ] {
        let found = error(text);
        assert!(found.starts_with(expect), "{found}");
    }
}
