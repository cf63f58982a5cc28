//! An OTLP receiver in the test's own process: gRPC and HTTP/protobuf, each on a port of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use hyper::{Request as HttpRequest, Response as HttpResponse, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use std::io::Read;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::port;
use crate::span::{Span, from_protobuf};

#[derive(Debug, Default)]
struct Received {
    spans: Vec<Span>,
    requests: usize,
    problems: Vec<String>,
}

/// What arrived so far; clones share it.
#[derive(Clone, Debug, Default)]
struct Sink(Arc<Mutex<Received>>);

impl Sink {
    fn take(&self, request: &ExportTraceServiceRequest) {
        let mut received = self.0.lock().expect("no holder panics");
        received.requests += 1;
        match from_protobuf(request) {
            Ok(spans) => received.spans.extend(spans),
            Err(problem) => received.problems.push(format!("{problem:#}")),
        }
    }

    fn problem(&self, problem: impl Into<String>) {
        self.0
            .lock()
            .expect("no holder panics")
            .problems
            .push(problem.into());
    }
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take(request.get_ref());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A running receiver; it stops when dropped.
#[derive(Debug)]
pub struct Receiver {
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    /// Where HTTP/protobuf is served.
    pub http: SocketAddr,
    sink: Sink,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Receiver {
    /// Starts both servers on free ports of 127.0.0.1.
    ///
    /// # Errors
    /// No port is free, or no thread can be started.
    pub fn start() -> Result<Self> {
        Self::with(port::listener()?, port::listener()?)
    }

    /// Starts both servers on free ports of `address`.
    ///
    /// # Errors
    /// It is no address of this machine, or no thread can be started.
    pub fn start_at(address: Ipv4Addr) -> Result<Self> {
        let listener = || -> Result<_> {
            let listener = TcpListener::bind((address, 0))?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        Self::with(listener()?, listener()?)
    }

    fn with(grpc: (TcpListener, SocketAddr), http: (TcpListener, SocketAddr)) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let sink = Sink::default();
        let _inside = runtime.enter();
        let (grpc_listener, grpc) = asynchronous(grpc)?;
        let (http_listener, http) = asynchronous(http)?;
        let service = TraceServiceServer::new(sink.clone()).accept_compressed(CompressionEncoding::Gzip);
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(grpc_listener)),
        );
        runtime.spawn(serve_http(http_listener, sink.clone()));
        drop(_inside);
        Ok(Self {
            grpc,
            http,
            sink,
            runtime: Some(runtime),
        })
    }

    /// Number of spans so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sink.0.lock().expect("no holder panics").spans.len()
    }

    /// Nothing has come yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of export requests so far, over both protocols.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.sink.0.lock().expect("no holder panics").requests
    }

    /// All spans so far.
    ///
    /// # Errors
    /// Something arrived that is no valid export of spans.
    pub fn spans(&self) -> Result<Vec<Span>> {
        let received = self.sink.0.lock().expect("no holder panics");
        anyhow::ensure!(
            received.problems.is_empty(),
            "invalid exports: {:?}",
            received.problems
        );
        Ok(received.spans.clone())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn asynchronous(
    (listener, address): (TcpListener, SocketAddr),
) -> Result<(tokio::net::TcpListener, SocketAddr)> {
    listener.set_nonblocking(true)?;
    Ok((tokio::net::TcpListener::from_std(listener)?, address))
}

async fn serve_http(listener: tokio::net::TcpListener, sink: Sink) {
    while let Ok((connection, _)) = listener.accept().await {
        let sink = sink.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(request, sink.clone()));
            let connection = TokioIo::new(connection);
            // A peer that goes away is no problem of the receiver's: the spans are what counts.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(connection, service)
                .await;
        });
    }
}

async fn answer(
    request: HttpRequest<Incoming>,
    sink: Sink,
) -> Result<HttpResponse<Full<Bytes>>, hyper::Error> {
    let mut response = HttpResponse::new(Full::new(Bytes::new()));
    match read(request).await {
        Ok(export) => {
            sink.take(&export);
            let body = ExportTraceServiceResponse::default().encode_to_vec();
            *response.body_mut() = Full::new(body.into());
            response.headers_mut().insert(
                CONTENT_TYPE,
                hyper::header::HeaderValue::from_static("application/x-protobuf"),
            );
        }
        Err(problem) => {
            sink.problem(format!("{problem:#}"));
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
    }
    Ok(response)
}

async fn read(request: HttpRequest<Incoming>) -> Result<ExportTraceServiceRequest> {
    let (head, body) = request.into_parts();
    anyhow::ensure!(
        head.method == "POST" && head.uri.path() == "/v1/traces",
        "{} {}",
        head.method,
        head.uri
    );
    let kind = head.headers.get(CONTENT_TYPE).context("no Content-Type")?;
    anyhow::ensure!(kind == "application/x-protobuf", "Content-Type {kind:?}");
    let mut bytes = body.collect().await?.to_bytes();
    if let Some(encoding) = head.headers.get(CONTENT_ENCODING) {
        anyhow::ensure!(encoding == "gzip", "Content-Encoding {encoding:?}");
        let mut plain = Vec::new();
        GzDecoder::new(&bytes[..]).read_to_end(&mut plain)?;
        bytes = plain.into();
    }
    Ok(ExportTraceServiceRequest::decode(bytes)?)
}
