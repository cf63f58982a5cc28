//! The exporter against real servers in this process: taking, refusing, rejecting, throttling, hanging, absent.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::queue::Limits;
use super::sample::{redacted, resource, span, spans};
use super::settings::{Compression, Protocol, Settings, SettingsError, Tls};
use super::{Exporter, Handle};
use crate::health::{Counter, Health};
use crate::span::{Attribute, Value};

mod hostile;
mod spool;
mod tls;
mod trouble;
mod ways;

const LIMIT: Duration = Duration::from_secs(20);

/// Answers in turn, the last one from then on, and keeps what came in.
#[derive(Clone)]
struct Collector<Answer> {
    answers: Arc<Mutex<Vec<Answer>>>,
    requests: Arc<Mutex<Vec<(ExportTraceServiceRequest, MetadataMap)>>>,
}

impl<Answer: Clone> Collector<Answer> {
    fn new(answers: &[Answer]) -> Self {
        let answers = answers.iter().rev().cloned().collect();
        Self {
            answers: Arc::new(Mutex::new(answers)),
            requests: Arc::default(),
        }
    }

    fn answer(&self, request: ExportTraceServiceRequest, metadata: MetadataMap) -> Answer {
        self.requests.lock().unwrap().push((request, metadata));
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 {
            answers.pop().unwrap()
        } else {
            answers[0].clone()
        }
    }

    fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// Service name and number of spans, of each resource of each request.
    fn received(&self) -> Vec<Vec<(String, usize)>> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .map(|(request, _)| request.resource_spans.iter().map(service_and_count).collect())
            .collect()
    }
}

fn service_and_count(group: &opentelemetry_proto::tonic::trace::v1::ResourceSpans) -> (String, usize) {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let attribute = &group.resource.as_ref().unwrap().attributes[0];
    assert_eq!(attribute.key, "service.name");
    let Some(Value::StringValue(service)) = attribute.value.clone().unwrap().value else {
        panic!("{attribute:?}")
    };
    (service, group.scope_spans[0].spans.len())
}

type Grpc = Collector<Result<ExportTraceServiceResponse, Status>>;

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.answer(request, metadata).map(Response::new)
    }
}

fn taken() -> ExportTraceServiceResponse {
    ExportTraceServiceResponse::default()
}

fn rejected(rejected_spans: i64) -> ExportTraceServiceResponse {
    let partial = ExportTracePartialSuccess {
        rejected_spans,
        error_message: "too old".to_owned(),
    };
    ExportTraceServiceResponse {
        partial_success: Some(partial),
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn grpc(answers: &[Result<ExportTraceServiceResponse, Status>]) -> (Grpc, Settings) {
    let (listener, address) = listen().await;
    let collector = Grpc::new(answers);
    let service = TraceServiceServer::new(collector.clone()).accept_compressed(CompressionEncoding::Gzip);
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener)),
    );
    (collector, settings(&format!("http://{address}"), Protocol::Grpc))
}

/// Status line and headers of an answer over HTTP.
type Http = Collector<&'static str>;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

async fn http(answers: &[&'static str]) -> (Http, Settings) {
    let (listener, address) = listen().await;
    let collector = Http::new(answers);
    tokio::spawn(serve_http(listener, collector.clone()));
    (
        collector,
        settings(&format!("http://{address}/v1/traces"), Protocol::HttpProtobuf),
    )
}

async fn serve_http(listener: TcpListener, collector: Http) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_connection(stream, collector.clone()));
    }
}

async fn serve_connection(mut stream: TcpStream, collector: Http) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break bytes.drain(..end + 4).collect::<Vec<u8>>();
            }
            stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
        };
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
        assert!(
            head.contains("content-type: application/x-protobuf\r\n"),
            "{head}"
        );
        let length = head
            .split("content-length: ")
            .nth(1)
            .unwrap()
            .split("\r\n")
            .next()
            .unwrap()
            .parse()
            .unwrap();
        while bytes.len() < length {
            stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
        }
        let mut body: Vec<u8> = bytes.drain(..length).collect();
        if head.contains("content-encoding: gzip\r\n") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&*body)
                .read_to_end(&mut plain)
                .unwrap();
            body = plain;
        }
        let mut metadata = MetadataMap::new();
        for line in head.lines().filter(|line| line.starts_with("x-tenant: ")) {
            metadata.append("x-tenant", line["x-tenant: ".len()..].parse().unwrap());
        }
        let answer = collector.answer(ExportTraceServiceRequest::decode(&*body).unwrap(), metadata);
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

fn settings(endpoint: &str, protocol: Protocol) -> Settings {
    let limits = Limits {
        queue_size: 200,
        batch_size: 50,
        batch_bytes: 3 << 20,
        schedule_delay: Duration::from_millis(20),
    };
    Settings {
        limits,
        ..Settings::new(endpoint, protocol)
    }
}

fn start(settings: Settings) -> (Handle, Arc<Health>) {
    let health = Arc::new(Health::default());
    (Exporter::start(vec![settings], None, &health).unwrap(), health)
}

fn counts(health: &Health) -> [u64; 3] {
    [
        Counter::SpansExported,
        Counter::SpansExportFailed,
        Counter::SpansQueueFull,
    ]
    .map(|counter| health.value(counter))
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn a_batch_of_several_services_is_one_request() {
    let (shop, stock) = (resource("shop"), resource("stock"));
    let batch = || {
        vec![span(1, 1, &shop), span(2, 2, &stock), span(3, 3, &shop)]
            .into_iter()
            .map(redacted)
            .collect::<Vec<_>>()
    };
    for compression in [Compression::None, Compression::Gzip] {
        let tenant = vec![("x-tenant".to_owned(), "blue".to_owned())];
        let expected = vec![vec![("shop".to_owned(), 2), ("stock".to_owned(), 1)]];

        let (collector, settings) = grpc(&[Ok(taken())]).await;
        let (handle, health) = start(Settings {
            compression,
            headers: tenant.clone(),
            ..settings
        });
        handle.push(&batch());
        assert_eq!(handle.shutdown(LIMIT).await, 0);
        assert_eq!(collector.received(), expected);
        assert_eq!(counts(&health), [3, 0, 0]);
        let metadata = collector.requests.lock().unwrap()[0].1.clone();
        assert_eq!(metadata.get("x-tenant").unwrap(), "blue");
        assert!(
            metadata
                .get("user-agent")
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("spanwire/")
        );

        let (collector, settings) = http(&[OK]).await;
        let (handle, health) = start(Settings {
            compression,
            headers: tenant,
            ..settings
        });
        handle.push(&batch());
        assert_eq!(handle.shutdown(LIMIT).await, 0);
        assert_eq!(collector.received(), expected);
        assert_eq!(counts(&health), [3, 0, 0]);
        assert_eq!(
            collector.requests.lock().unwrap()[0].1.get("x-tenant").unwrap(),
            "blue"
        );
    }
}

#[tokio::test]
async fn what_was_pushed_goes_without_a_shutdown() {
    let (collector, settings) = grpc(&[Ok(taken())]).await;
    let (handle, health) = start(settings);
    handle.push(&spans(120));
    until("three batches", || counts(&health)[0] == 120).await;
    let sizes: Vec<usize> = collector.received().iter().map(|request| request[0].1).collect();
    assert_eq!(sizes, [50, 50, 20]);
}

#[tokio::test]
async fn a_batch_too_large_for_the_receiver_is_sent_in_parts() {
    let (collector, settings) = grpc(&[Ok(taken())]).await;
    let (handle, health) = start(settings);
    let shop = resource("shop");
    let large = |id| {
        let mut large = span(id, id, &shop);
        // 120 KiB a span, 6 MiB in all.
        large.attributes = vec![
            Attribute {
                key: "url.path".into(),
                value: Value::Text("/".repeat(4096).into())
            };
            30
        ];
        redacted(large)
    };
    handle.push(&(1..=50).map(large).collect::<Vec<_>>());
    handle.shutdown(LIMIT).await;
    assert_eq!(counts(&health), [50, 0, 0]);
    let sizes: Vec<usize> = collector.received().iter().map(|request| request[0].1).collect();
    assert_eq!(sizes, [23, 23, 4]);
    let requests = collector.requests.lock().unwrap();
    let spans = requests
        .iter()
        .flat_map(|(request, _)| &request.resource_spans[0].scope_spans[0].spans);
    assert!(spans.map(|span| span.span_id[0]).eq(1..=50));
}

#[tokio::test]
async fn rejected_spans_are_counted_as_lost() {
    let (_collector, settings) = grpc(&[Ok(rejected(2))]).await;
    let (handle, health) = start(settings);
    handle.push(&spans(5));
    handle.shutdown(LIMIT).await;
    assert_eq!(counts(&health), [3, 2, 0]);

    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 64 * 1024];
        let _ = stream.read(&mut bytes).await.unwrap();
        let body = rejected(100).encode_to_vec();
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend(body);
        stream.write_all(&answer).await.unwrap();
    });
    let (handle, health) = start(self::settings(
        &format!("http://{address}"),
        Protocol::HttpProtobuf,
    ));
    handle.push(&spans(5));
    handle.shutdown(LIMIT).await;
    // More than were sent cannot have been rejected.
    assert_eq!(counts(&health), [0, 5, 0]);
}

#[tokio::test]
async fn settings_that_cannot_work_say_why() {
    let health = Arc::new(Health::default());
    let start = |settings: Settings| Exporter::start(vec![settings], None, &health).unwrap_err();
    for endpoint in [
        "",
        "localhost:4317",
        "ftp://e.com",
        "http://",
        "/v1/traces",
        "http://a b",
    ] {
        for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
            let error = start(Settings::new(endpoint, protocol));
            assert!(
                matches!(error, SettingsError::Endpoint { .. }),
                "{endpoint}: {error}"
            );
            assert!(error.to_string().contains(&format!("{endpoint:?}")), "{error}");
        }
    }
    let with = |headers: &[(&str, &str)], tls: Tls| {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings {
            headers,
            tls,
            ..Settings::new("https://localhost:4317", Protocol::Grpc)
        }
    };
    let error = start(with(&[("authorization", "se\ncret")], Tls::default())).to_string();
    assert!(
        error.contains("authorization") && !error.contains("se\ncret"),
        "{error}"
    );
    let absent = Some("/absent.pem".into());
    let error = start(with(
        &[],
        Tls {
            certificate: absent.clone(),
            ..Tls::default()
        },
    ));
    assert!(error.to_string().contains("cannot read /absent.pem"), "{error}");
    let error = start(with(
        &[],
        Tls {
            client_key: absent,
            ..Tls::default()
        },
    ));
    assert!(matches!(error, SettingsError::HalfIdentity), "{error}");
    let not_pem = Tls {
        certificate: Some("/etc/hostname".into()),
        ..Tls::default()
    };
    assert!(matches!(start(with(&[], not_pem)), SettingsError::Pem { .. }));
}
