//! An OTLP receiver of metrics, over gRPC and HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use prost::Message as _;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::http::{self, Server};
use crate::port;

/// Requests in the order in which they came.
#[derive(Clone, Debug, Default)]
struct Sink(Arc<Mutex<Vec<ExportMetricsServiceRequest>>>);

#[tonic::async_trait]
impl MetricsService for Sink {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.lock().expect("no panic").push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// Running until it is dropped.
#[derive(Debug)]
pub struct MetricReceiver {
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    /// Where HTTP/protobuf is served.
    pub http: SocketAddr,
    sink: Sink,
    _server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl MetricReceiver {
    /// Starts both.
    ///
    /// # Errors
    /// No port is free, or no thread can be started.
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let sink = Sink::default();
        let (listener, grpc) = port::listener()?;
        listener.set_nonblocking(true)?;
        let inside = runtime.enter();
        let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener)?);
        let service = MetricsServiceServer::new(sink.clone());
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        drop(inside);
        let (listener, http) = port::listener()?;
        let of_http = sink.clone();
        let server = Server::tcp(listener, move |connection| {
            http::serve(connection, |request| {
                let is_ours = request.method() == "POST" && request.target() == "/v1/metrics";
                let decoded = ExportMetricsServiceRequest::decode(&*request.body).ok();
                let Some(decoded) = decoded.filter(|_| is_ours) else {
                    return Some(http::response(400, b""));
                };
                of_http.0.lock().expect("no panic").push(decoded);
                Some(http::response(200, b""))
            });
        })?;
        Ok(Self {
            grpc,
            http,
            sink,
            _server: server,
            _runtime: runtime,
        })
    }

    /// All metrics so far, request by request, each with the name of its service.
    ///
    /// # Errors
    /// One has no name.
    pub fn metrics(&self) -> Result<Vec<Vec<(String, Metric)>>> {
        let requests = self.sink.0.lock().expect("no panic").clone();
        let of = |request: ExportMetricsServiceRequest| {
            let mut all = Vec::new();
            for resource in request.resource_metrics {
                let attributes = resource.resource.context("a resource")?.attributes;
                let name = attributes
                    .iter()
                    .find(|attribute| attribute.key == "service.name");
                let name = format!("{:?}", name.context("a name")?.value);
                let metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
                all.extend(metrics.map(|metric| (name.clone(), metric)));
            }
            Ok(all)
        };
        requests.into_iter().map(of).collect()
    }
}
