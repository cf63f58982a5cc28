//! Several endpoints, Zipkin, proxies and files of headers.

use super::*;

fn export(text: &str, variables: &[(&str, &str)]) -> Export {
    from(text, variables, "").unwrap().config.export
}

fn problem(text: &str) -> String {
    from(text, &[], "").unwrap_err().to_string()
}

fn urls(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    export(text, variables)
        .otlp
        .into_iter()
        .map(|otlp| otlp.url)
        .collect()
}

#[test]
fn further_endpoints_have_defaults_of_their_own() {
    let text = "
export:
  otlp: {endpoint: 'http://a:4318', compression: gzip, timeout: 3s}
  fan_out:
    - {endpoint: 'http://b:1234', protocol: grpc, headers_file: /run/token}
    - {endpoint: 'unix:/run/otlp.sock', protocol: http/json, compression: zstd}
    - {endpoint: 'http://c:4318', enabled: false}
";
    assert_eq!(
        urls(text, &[]),
        ["http://a:4318/v1/traces", "http://b:1234/", "unix:/run/otlp.sock"]
    );
    let found = export(text, &[]).otlp;
    let seconds = |number| Some(Duration::from_secs(number));
    assert_eq!((found[0].timeout, found[1].timeout), (seconds(3), seconds(10)));
    assert_eq!(
        (found[1].compression, found[2].compression),
        (Compression::None, Compression::Zstd)
    );
    assert_eq!(found[1].headers_file.as_deref(), Some(Path::new("/run/token")));
    assert_eq!(urls(text, &[("OTEL_SDK_DISABLED", "true")]), [""; 0]);
    // The environment says where OTLP goes, and leaves the rest alone.
    let moved = urls(text, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://d:4318")]);
    assert_eq!(moved[0], "http://d:4318/v1/traces");
    assert_eq!(moved.len(), 3);
}

#[test]
fn a_further_endpoint_that_cannot_be_one_is_named_by_its_place() {
    assert_eq!(
        problem("export: {fan_out: [{endpoint: 'http://a:1'}, {}]}"),
        "`export.fan_out` (from spanwire.yaml) [1] has no endpoint; give it one"
    );
    assert_eq!(
        problem("export: {fan_out: [{endpoint: 'a:1'}]}"),
        "`export.fan_out` (from spanwire.yaml) [0].endpoint is not complete: an endpoint for http/protobuf begins with \
         http:// or https://, or set `export.otlp.protocol` to `grpc`"
    );
    assert_eq!(
        problem("export: {fan_out: [{endpoint: 'http://a:1', client_key: /k}]}"),
        "`export.fan_out` (from spanwire.yaml) [0].client_key needs `export.otlp.client_certificate` as well"
    );
    let secret = problem("export:\n  fan_out:\n  - headers: hunter2\n");
    assert!(
        secret.starts_with("wrong value for `export.fan_out[0].headers` at spanwire.yaml:3: expected"),
        "{secret}"
    );
}

#[test]
fn zipkin_is_exported_to_where_it_is_asked_for() {
    let zipkin = |text: &str, variables: &[_]| export(text, variables).zipkin.map(|zipkin| zipkin.url);
    assert_eq!(zipkin("", &[]), None);
    let usual = "http://localhost:9411/api/v2/spans";
    let asked = ("OTEL_TRACES_EXPORTER", "zipkin");
    assert_eq!(zipkin("", &[asked]).as_deref(), Some(usual));
    assert_eq!(urls("", &[asked]), [""; 0]);
    assert_eq!(
        urls("", &[("OTEL_TRACES_EXPORTER", "zipkin,otlp")]),
        ["http://localhost:4318/v1/traces"]
    );
    let endpoint = ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", "http://z:1/api/v2/spans");
    let timeout = ("OTEL_EXPORTER_ZIPKIN_TIMEOUT", "1500");
    let found = export("", &[endpoint, timeout]).zipkin.unwrap();
    assert_eq!(
        (found.url.as_str(), found.timeout),
        ("http://z:1/api/v2/spans", Some(Duration::from_millis(1500)))
    );
    assert_eq!(zipkin("", &[endpoint, ("OTEL_TRACES_EXPORTER", "otlp")]), None);
    assert_eq!(
        problem("export: {zipkin: {endpoint: 'z:9411'}}"),
        "`export.zipkin.endpoint` (from spanwire.yaml) is not complete: it begins with http:// or https://"
    );
}

#[test]
fn proxies_come_from_the_usual_variables() {
    let text = "export: {otlp: {endpoint: 'http://a:4318'}, proxy: {http: 'file:1', except: [x]}}\n";
    let proxy = |variables: &[_]| export(text, variables).proxy;
    let found = proxy(&[
        ("https_proxy", "b:2"),
        ("HTTPS_PROXY", "c:3"),
        ("NO_PROXY", "localhost, .internal,"),
    ]);
    let expect = Proxy {
        http: Some("http://file:1/".to_owned()),
        https: Some("http://b:2/".to_owned()),
        except: "localhost,.internal".to_owned(),
    };
    assert_eq!(found, expect);
    assert_eq!(
        proxy(&[("HTTP_PROXY", "evil:1")]).http.as_deref(),
        Some("http://file:1/")
    );
    assert_eq!(
        proxy(&[("http_proxy", "d:4")]).http.as_deref(),
        Some("http://d:4/")
    );
    let said = warnings(&[("HTTPS_PROXY", "socks5://me:hunter2@p:1")]);
    assert_eq!(
        said,
        ["environment variable HTTPS_PROXY: it is no HTTP proxy; give it as http://HOST:PORT"]
    );
}

#[test]
fn what_is_secret_is_not_printed() {
    let text = "
export:
  fan_out: [{endpoint: 'https://me:hunter2@b', headers: {k: hunter2}}]
  zipkin: {endpoint: 'http://me:hunter2@z/'}
  proxy: {https: 'http://me:hunter2@p:1'}
";
    let resolved = from(text, &[], "").unwrap();
    let shown = format!("{}{:?}", resolved.yaml(), resolved.config.export.proxy);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(
        shown.contains("k: '********'") || shown.contains("k: \"********\""),
        "{shown}"
    );
    let again = from(&resolved.yaml(), &[], "").unwrap();
    assert_eq!(again.config.export.otlp.len(), 1);
}

#[test]
fn a_spool_is_there_where_its_directory_is_named() {
    let endpoint = "export: {otlp: {endpoint: 'http://a:4318'}";
    let spool = |rest: &str, variables: &[_]| from(&format!("{endpoint}{rest}}}"), variables, "");
    assert_eq!(spool("", &[]).unwrap().config.export.spool, None);
    let found = spool(
        ", spool: {max_age: 2h, fsync: always, rate: 0}",
        &[("SPANWIRE_SPOOL", "/var/s")],
    )
    .unwrap();
    let expect = Spool {
        directory: "/var/s".into(),
        max_size: 256 << 20,
        max_age: Duration::from_hours(2),
        fsync: Fsync::Always,
        rate: 0,
    };
    assert_eq!(found.config.export.spool, Some(expect));
    let problem = |rest: &str| spool(rest, &[]).unwrap_err().to_string();
    assert_eq!(
        problem(", spool: {directory: s}"),
        "`export.spool.directory` (from spanwire.yaml) is s; give a whole path, such as /var/lib/spanwire/spool"
    );
    assert_eq!(
        problem(", spool: {directory: /s, max_size: 1M}"),
        "`export.spool.max_size` (from spanwire.yaml) is 1M; the least is 16M"
    );
    assert_eq!(
        problem(", spool: {fsync: often}"),
        "wrong value for `export.spool.fsync` at spanwire.yaml:1: `often` is not one of always, interval, never"
    );
}

#[test]
fn a_file_is_written_where_its_path_is_named() {
    let file = |text: &str, variables: &[_]| export(text, variables).file;
    assert_eq!(file("", &[]), None);
    let found = file("export: {file: {path: /a/b.jsonl, max_files: 1}}", &[]).unwrap();
    assert_eq!(
        (found.path.as_str(), found.max_size, found.max_files),
        ("/a/b.jsonl", 64 << 20, 1)
    );
    let named = file("", &[("SPANWIRE_EXPORT_FILE", "/c")]).unwrap();
    assert_eq!(named.path, "/c");
    assert_eq!(
        problem("export: {file: {path: b.jsonl}}"),
        "`export.file.path` (from spanwire.yaml) is b.jsonl; give a whole path, such as /var/log/spanwire/traces.jsonl"
    );
    assert_eq!(
        problem("export: {file: {max_files: 0}}"),
        "wrong value for `export.file.max_files` at spanwire.yaml:1: integer `0`, expected a number from 1"
    );
}
