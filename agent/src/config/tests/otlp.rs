//! The environment of OpenTelemetry's specification.

use super::*;

fn url(variables: &[(&str, &str)]) -> Option<String> {
    of_variables(variables)
        .config
        .export
        .otlp
        .pop()
        .map(|otlp| otlp.url)
}

#[test]
fn an_endpoint_or_a_wish_exports() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
    assert_eq!(url(&[]), None);
    assert_eq!(url(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
    assert_eq!(url(&[endpoint]).unwrap(), "http://c:4318/v1/traces");
    assert_eq!(
        url(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap(),
        "http://localhost:4318/v1/traces"
    );
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "GRPC");
    assert_eq!(
        url(&[("OTEL_TRACES_EXPORTER", "console,otlp"), grpc]).unwrap(),
        "http://localhost:4317/"
    );
    assert_eq!(url(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), None);
    assert_eq!(url(&[endpoint, ("OTEL_TRACES_EXPORTER", "console")]), None);
    assert_eq!(url(&[endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")]), None);
    assert_eq!(
        url(&[endpoint, ("OTEL_TRACES_EXPORTER", "jaeger")]).unwrap(),
        "http://c:4318/v1/traces"
    );
    assert_eq!(url(&[endpoint, ("OTEL_SDK_DISABLED", "True")]), None);
    assert_eq!(
        url(&[endpoint, ("OTEL_SDK_DISABLED", "1")]).unwrap(),
        "http://c:4318/v1/traces"
    );
    let origin = from("export: {enabled: true}", &[("OTEL_SDK_DISABLED", "false")], "")
        .unwrap()
        .yaml();
    assert!(origin.contains("enabled: true  # from spanwire.yaml"), "{origin}");
    let asked = [("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_SDK_DISABLED", "true")];
    assert_eq!(url(&asked), None);
}

#[test]
fn the_signal_s_own_variables_go_before() {
    let found = of_variables(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/here"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "X-Key=b%20c,d=2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/me.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/me.key"),
    ]);
    let secret = |text: &str| text.parse::<Secret>().unwrap();
    let expect = Otlp {
        url: "https://traces/here".into(),
        protocol: Protocol::HttpProtobuf,
        headers: vec![("d".into(), secret("2")), ("x-key".into(), secret("b c"))],
        headers_file: None,
        timeout: None,
        compression: Compression::Gzip,
        certificate: Some("/ca.pem".into()),
        client: Some(ClientIdentity {
            certificate: "/me.pem".into(),
            key: "/me.key".into(),
        }),
    };
    assert_eq!(found.config.export.otlp, [expect]);
    assert_eq!(found.warnings, []);
}

#[test]
fn values_that_cannot_be_taken_are_warnings_and_the_next_source_counts() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://c"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/xml"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-5"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "token hunter2"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c"),
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_TRACES_EXPORTER", "jaeger"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "many"),
    ];
    let mut found = from("batch: {schedule_delay: 2s}\n", &variables, "").unwrap();
    let otlp = found.config.export.otlp.remove(0);
    assert_eq!(
        (otlp.url.as_str(), otlp.timeout),
        ("http://c:4318/v1/traces", Some(Duration::from_secs(10)))
    );
    assert_eq!(
        (otlp.protocol, otlp.compression),
        (Protocol::HttpProtobuf, Compression::None)
    );
    assert_eq!((otlp.headers, found.config.resource), (vec![], vec![]));
    assert_eq!(
        (
            found.config.batch.schedule_delay,
            found.config.batch.max_queue_size
        ),
        (Duration::from_secs(2), 2048)
    );
    assert_eq!(found.config.limits.attribute_count, 128);
    let mut said: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
    said.sort_unstable();
    assert_eq!(
        said,
        [
            "environment variable OTEL_ATTRIBUTE_COUNT_LIMIT: `many` is not a number from 0; it is ignored",
            "environment variable OTEL_BSP_MAX_QUEUE_SIZE: `0` is not a number from 1; it is ignored",
            "environment variable OTEL_BSP_SCHEDULE_DELAY: `5s` is not a number of milliseconds; it is ignored",
            "environment variable OTEL_EXPORTER_OTLP_COMPRESSION: `brotli` is not one of none, gzip, zstd",
            "environment variable OTEL_EXPORTER_OTLP_HEADERS: entry 1 has no `=`; all of it is ignored",
            "environment variable OTEL_EXPORTER_OTLP_TIMEOUT: `-5` is not a number of milliseconds; it is ignored",
            "environment variable OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: the scheme `ftp` is not http, https or unix; \
             give a URL such as http://localhost:4318",
            "environment variable OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: `http/xml` is not one of http/protobuf, grpc, \
             http/json",
            "environment variable OTEL_RESOURCE_ATTRIBUTES: entry 2 has no `=`; all of it is ignored",
            "environment variable OTEL_SDK_DISABLED: `yes` is not true or false; false is taken",
            "environment variable OTEL_TRACES_EXPORTER: `jaeger` is not one of otlp, zipkin, console, otlp/stdout, \
             none",
        ]
    );
}

#[test]
fn half_of_a_client_identity_and_a_schemeless_url_are_errors() {
    let endpoint = "export: {otlp: {endpoint: 'http://c:4318', client_key: /k}}";
    assert_eq!(
        from(endpoint, &[], "").unwrap_err().to_string(),
        "`export.otlp.client_key` (from spanwire.yaml) needs `export.otlp.client_certificate` as well"
    );
    let error = from("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318")], "")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "`export.otlp.endpoint` (from $OTEL_EXPORTER_OTLP_ENDPOINT) is not complete: an endpoint for http/protobuf \
         begins with http:// or https://, or set `export.otlp.protocol` to `grpc`"
    );
    let insecure = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
    ];
    assert_eq!(url(&insecure).unwrap(), "http://c:4317/");
}

#[test]
fn the_other_protocol_s_port_is_pointed_out() {
    let said = warnings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")]);
    let expect =
        "`export.otlp.endpoint`: port 4317 is usually grpc's; if nothing arrives, set `export.otlp.protocol`";
    assert_eq!(said, [expect]);
}

#[test]
fn batches_and_limits() {
    let found = of_variables(&[
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "10"),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "20"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "3"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "4"),
    ]);
    let batch = Batch {
        schedule_delay: Duration::from_millis(100),
        export_timeout: None,
        max_queue_size: 100,
        max_export_batch_size: 100,
        max_export_batch_bytes: 3 << 20,
    };
    let limits = Limits {
        attribute_value_length: Some(20),
        attribute_count: 3,
        event_count: 4,
        event_attribute_count: 3,
    };
    assert_eq!((found.config.batch, found.config.limits), (batch, limits));
    let said: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["`batch.max_export_batch_size`: 512 is more than `batch.max_queue_size`; 100 is taken"]
    );
}

#[test]
fn metrics_are_exported_where_that_is_said() {
    let metrics = |variables: &[(&str, &str)]| of_variables(variables).config.metrics;
    let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
    // Many an endpoint takes spans alone.
    assert_eq!(metrics(&[base]).export, None);
    let export = metrics(&[
        base,
        ("OTEL_METRICS_EXPORTER", "otlp,prometheus"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "9999"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1500"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram",
        ),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "k=v"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_off"),
    ]);
    let listen: Vec<_> = export.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["unix", "127.0.0.1:9999"]);
    assert!(!export.exemplars);
    let export = export.export.unwrap();
    assert_eq!(export.otlp.url, "http://c:4318/v1/metrics");
    assert_eq!(export.otlp.headers[0].0, "k");
    assert_eq!(export.interval, Duration::from_millis(1500));
    assert_eq!(export.temporality, Temporality::Delta);
    assert_eq!(export.histograms, Histograms::Exponential);
    let disabled = [("OTEL_METRICS_EXPORTER", "otlp"), ("OTEL_SDK_DISABLED", "true")];
    assert_eq!(metrics(&disabled).export, None);
    let own = [("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:1/all")];
    assert_eq!(metrics(&own).export.unwrap().otlp.url, "http://m:1/all");
    assert_eq!(
        warnings(&[("OTEL_METRICS_EXPORTER", "promethes")]),
        [
            "environment variable OTEL_METRICS_EXPORTER: `promethes` is not one of otlp, prometheus, none; did you mean \
             `prometheus`?"
        ]
    );
}
