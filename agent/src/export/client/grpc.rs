//! OTLP/gRPC: `Export` of a signal's service. What it answers has the same shape for each signal.

use std::error::Error;

use bytes::{Buf, BufMut, Bytes};
use http::HeaderMap;
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tokio::time::{Instant, timeout_at};
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Extensions, Request, Status};
use tonic_types::StatusExt;

use super::connect::Connector;
use super::{Accepted, Address, Failure, LONGEST_RETRY_AFTER, RESPONSE_BYTES, USER_AGENT, chain, tls};
use crate::export::settings::{Compression, Settings, SettingsError};

/// A channel to one endpoint; it reconnects by itself.
pub(super) struct Client {
    service: tonic::client::Grpc<Channel>,
    method: &'static str,
    metadata: MetadataMap,
}

impl Client {
    pub(super) fn new(
        address: &Address,
        headers: HeaderMap,
        settings: &Settings,
    ) -> Result<Self, SettingsError> {
        let failed = |error: tonic::transport::Error| SettingsError::Tls {
            endpoint: settings.shown(),
            reason: chain(&error),
        };
        let files = tls::read(&settings.tls)?;
        let (way, _) = Connector::new(address, settings, true)?;
        let mut endpoint = Endpoint::from(address.uri.clone())
            .user_agent(USER_AGENT)
            .map_err(failed)?;
        if address.is_tls() {
            let mut tls = match files.certificate {
                Some(trusted) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted.text)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            if let Some((certificate, key)) = files.identity {
                tls = tls.identity(Identity::from_pem(certificate.text, key.text));
            }
            endpoint = endpoint.tls_config(tls).map_err(failed)?;
        }
        let channel = endpoint.connect_with_connector_lazy(way);
        let mut service = tonic::client::Grpc::new(channel).max_decoding_message_size(RESPONSE_BYTES);
        let encoding = match settings.compression {
            Compression::None => None,
            Compression::Gzip => Some(CompressionEncoding::Gzip),
            Compression::Zstd => Some(CompressionEncoding::Zstd),
        };
        if let Some(encoding) = encoding {
            service = service.send_compressed(encoding).accept_compressed(encoding);
        }
        Ok(Self {
            service,
            method: settings.signal.method(),
            metadata: MetadataMap::from_headers(headers),
        })
    }

    pub(super) async fn send(
        &self,
        request: &crate::export::form::Request,
        ends: Instant,
    ) -> Result<Accepted, Failure> {
        timeout_at(ends, self.export(request.bytes.clone()))
            .await
            .unwrap_or_else(|_| Err(Failure::unanswered()))
    }

    async fn export(&self, request: Bytes) -> Result<Accepted, Failure> {
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
            Ok(response) => {
                let partial = response.into_inner().partial_success.unwrap_or_default();
                Ok(Accepted {
                    rejected: partial.rejected_spans.try_into().unwrap_or(0),
                    message: partial.error_message,
                })
            }
            // Whatever else it says: that is the answer to a request that was taken.
            Err(status) if is_large_answer(&status) => Ok(Accepted {
                rejected: 0,
                message: "an answer too large to be read".to_owned(),
            }),
            Err(status) => Err(failure(&status)),
        }
    }
}

/// Whether it was our own limit that a message has passed. tonic says so with the limit; an endpoint with the same one for
/// requests would take nothing.
fn is_large_answer(status: &Status) -> bool {
    let limit = format!("the limit is: {RESPONSE_BYTES} bytes");
    status.code() == Code::OutOfRange && status.message().ends_with(&limit)
}

/// How the libraries of gRPC put it that a message is above the receiver's limit: Go, C++ and Java with
/// `RESOURCE_EXHAUSTED`, Rust with `OUT_OF_RANGE`.
const TOO_LARGE: [&str; 3] = ["larger than", "exceeds maximum", "too large"];

/// OTLP specification, "OTLP/gRPC Response": what may be tried again.
fn failure(status: &Status) -> Failure {
    let retry_after = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay)
        .filter(|delay| !delay.is_zero())
        .map(|delay| delay.min(LONGEST_RETRY_AFTER));
    let too_large = matches!(status.code(), Code::ResourceExhausted | Code::OutOfRange)
        && retry_after.is_none()
        && TOO_LARGE
            .iter()
            .any(|words| status.message().to_lowercase().contains(words));
    let retryable = match status.code() {
        _ if too_large => false,
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
        too_large,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_no_matter_of_time() {
        for (code, message, retryable, too_large) in [
            (
                Code::ResourceExhausted,
                "grpc: received message larger than max (5 vs. 4)",
                false,
                true,
            ),
            (
                Code::ResourceExhausted,
                "gRPC message exceeds maximum size 4: 5",
                false,
                true,
            ),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 5, the limit is: 4",
                false,
                true,
            ),
            (Code::ResourceExhausted, "over quota", false, false),
            (Code::OutOfRange, "later", true, false),
            (Code::Unavailable, "queue larger than usual", true, false),
        ] {
            let failure = failure(&Status::new(code, message));
            assert_eq!(
                (failure.retryable, failure.too_large),
                (retryable, too_large),
                "{message}"
            );
        }
    }
}
