//! OTLP/gRPC: `Export` of a signal's service. What it answers has the same shape for each signal.

use std::error::Error;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Extensions, Request, Status};
use tonic_types::StatusExt;

use super::{Accepted, Failure, LONGEST_RETRY_AFTER, USER_AGENT, chain, tls};
use crate::export::settings::{Compression, Settings, SettingsError};

/// A channel to one endpoint; it reconnects by itself.
pub(crate) struct Client {
    service: tonic::client::Grpc<Channel>,
    method: &'static str,
    metadata: MetadataMap,
}

impl Client {
    pub(super) fn new(endpoint: Uri, headers: HeaderMap, settings: &Settings) -> Result<Self, SettingsError> {
        let failed = |error: tonic::transport::Error| SettingsError::Tls {
            endpoint: settings.endpoint.clone(),
            reason: chain(&error),
        };
        let files = tls::read(&settings.tls)?;
        let is_tls = endpoint.scheme_str() == Some("https");
        let mut endpoint = Endpoint::from(endpoint).user_agent(USER_AGENT).map_err(failed)?;
        if is_tls {
            let mut tls = match files.certificate {
                Some(trusted) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted.text)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            if let Some((certificate, key)) = files.identity {
                tls = tls.identity(Identity::from_pem(certificate.text, key.text));
            }
            endpoint = endpoint.tls_config(tls).map_err(failed)?;
        }
        let mut service = tonic::client::Grpc::new(endpoint.connect_lazy());
        if settings.compression == Compression::Gzip {
            service = service
                .send_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Gzip);
        }
        Ok(Self {
            service,
            method: settings.signal.method(),
            metadata: MetadataMap::from_headers(headers),
        })
    }

    pub(super) async fn send(&self, request: Bytes) -> Result<Accepted, Failure> {
        let mut service = self.service.clone();
        service
            .ready()
            .await
            .map_err(|error| Failure::unreachable(chain(&error)))?;
        let request = Request::from_parts(self.metadata.clone(), Extensions::new(), request);
        let response = service
            .unary(request, PathAndQuery::from_static(self.method), Export)
            .await;
        match response {
            Ok(response) => Ok(response.into_inner().partial_success.map_or_else(
                || Accepted {
                    rejected: 0,
                    message: String::new(),
                },
                |partial| Accepted {
                    rejected: partial.rejected_spans.try_into().unwrap_or(0),
                    message: partial.error_message,
                },
            )),
            Err(status) => Err(failure(&status)),
        }
    }
}

/// OTLP specification, "OTLP/gRPC Response": what may be tried again.
fn failure(status: &Status) -> Failure {
    let retry_after = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay)
        .filter(|delay| !delay.is_zero())
        .map(|delay| delay.min(LONGEST_RETRY_AFTER));
    let retryable = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => retry_after.is_some(),
        // With a source it is not the endpoint's answer but an error of the connection to it.
        _ => status.source().is_some(),
    };
    let message = match status.source() {
        Some(source) => chain(source),
        None => format!("{:?}: {}", status.code(), status.message()),
    };
    Failure {
        retryable,
        retry_after,
        message,
    }
}

/// Requests are bytes already, responses are decoded.
struct Export;

impl Codec for Export {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Export {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Export {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        // The spans were taken, whatever the answer looks like.
        let decoded = Message::decode(&mut *buffer).unwrap_or_default();
        buffer.advance(buffer.remaining());
        Ok(Some(decoded))
    }
}
