//! The harness itself, where a fault of its own would look like one of spanwire's.

use anyhow::{Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use spanwire_tests::child::{self, Child};
use spanwire_tests::http;
use spanwire_tests::receiver::Receiver;
use spanwire_tests::wait;
use tonic::codec::CompressionEncoding;

fn export(kind: i32) -> ExportTraceServiceRequest {
    let span = Span {
        kind,
        name: "GET".to_owned(),
        span_id: vec![7; 8],
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans {
        spans: vec![span],
        ..ScopeSpans::default()
    }];
    let resource_spans = vec![ResourceSpans {
        scope_spans,
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }
}

fn post(receiver: &Receiver, kind: &str, body: &[u8]) -> Result<u16> {
    let mut client = http::connect(receiver.http)?;
    let length = body.len();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    client.send([head.as_bytes(), body].concat())?;
    Ok(client.response("POST")?.status())
}

#[test]
fn the_receiver_takes_both_protocols_and_compression() -> Result<()> {
    let receiver = Receiver::start()?;
    let body = export(2).encode_to_vec();
    ensure!(post(&receiver, "application/x-protobuf", &body)? == 200);
    let endpoint = format!("http://{}", receiver.grpc);
    tokio::runtime::Runtime::new()?.block_on(async {
        let client = TraceServiceClient::connect(endpoint).await?;
        let mut client = client.send_compressed(CompressionEncoding::Gzip);
        client.export(export(3)).await?;
        anyhow::Ok(())
    })?;
    let spans = receiver.spans()?;
    ensure!(spans.len() == 2 && receiver.requests() == 2, "{spans:?}");
    ensure!(spans[0].span_id == "0707070707070707", "{spans:?}");
    Ok(())
}

#[test]
fn the_receiver_reports_what_is_no_export() -> Result<()> {
    for (kind, body) in [
        ("application/x-protobuf", &b"not protobuf"[..]),
        ("text/plain", &export(2).encode_to_vec()),
        ("application/x-protobuf", &export(1).encode_to_vec()),
    ] {
        let receiver = Receiver::start()?;
        post(&receiver, kind, body)?;
        ensure!(receiver.spans().is_err(), "{kind}");
    }
    Ok(())
}

/// A child that would run for ever, and what it started, are gone when it is dropped.
#[test]
fn children_do_not_outlive_their_test() -> Result<()> {
    let mut command = child::command("sh");
    command.args(["-c", "sleep 1000 & echo child $!; wait"]);
    let mut child = Child::spawn(command)?;
    let grandchild: u32 = child.line("child ")?.parse()?;
    drop(child);
    wait::until("end of the grandchild", || {
        // Where nobody reaps orphans, a zombie is as gone as it gets.
        let status = std::fs::read_to_string(format!("/proc/{grandchild}/status"));
        Ok(status
            .map_or(true, |status| status.contains("State:\tZ"))
            .then_some(()))
    })
}

#[test]
fn a_child_hears_sighup_also_where_the_tests_are_started_to_ignore_it() -> Result<()> {
    let inner = child::command("cat");
    let output = std::process::Command::new("env")
        .arg("--ignore-signal=HUP")
        .arg(inner.get_program())
        .args(inner.get_args())
        .arg("/proc/self/status")
        .output()?;
    let status = String::from_utf8(output.stdout)?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored
        .map(|mask| u64::from_str_radix(mask.trim(), 16))
        .transpose()?;
    ensure!(ignored.is_some_and(|mask| mask & 1 == 0), "{status}");
    Ok(())
}
