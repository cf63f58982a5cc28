//! OTLP/HTTP with protobuf bodies, over HTTP/1.1.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use rustls::{ClientConfig, RootCertStore};

use super::{Accepted, Failure, LONGEST_RETRY_AFTER, chain, tls};
use crate::export::settings::{Compression, Settings, SettingsError};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// Most that is read of a response: it holds a number and a message.
const RESPONSE_BYTES: usize = 64 * 1024;

/// A pool of connections to one endpoint.
pub(crate) struct Client {
    pool: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
    headers: HeaderMap,
    compression: Compression,
}

impl Client {
    pub(super) fn new(
        endpoint: Uri,
        mut headers: HeaderMap,
        settings: &Settings,
    ) -> Result<Self, SettingsError> {
        let tls = client_config(&endpoint, settings)?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        headers.insert(CONTENT_TYPE, PROTOBUF);
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(super::USER_AGENT));
        if settings.compression == Compression::Gzip {
            headers.insert(CONTENT_ENCODING, GZIP);
        }
        Ok(Self {
            pool: legacy::Client::builder(TokioExecutor::new()).build(connector),
            endpoint,
            headers,
            compression: settings.compression,
        })
    }

    pub(super) async fn send(&self, request: Bytes) -> Result<Accepted, Failure> {
        let body = match self.compression {
            Compression::None => request,
            Compression::Gzip => gzip(&request),
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        request.headers_mut().clone_from(&self.headers);
        let unreachable = |error: &dyn std::error::Error| Failure::unreachable(chain(error));
        let response = self
            .pool
            .request(request)
            .await
            .map_err(|error| unreachable(&error))?;
        let (head, body) = response.into_parts();
        // The status says what became of the spans; a body that cannot be read takes nothing from that.
        let body = Limited::new(body, RESPONSE_BYTES)
            .collect()
            .await
            .map(Collected::to_bytes)
            .unwrap_or_default();
        if head.status.is_success() {
            Ok(accepted(&body))
        } else {
            Err(failure(&Response::from_parts(head, body)))
        }
    }
}

fn client_config(endpoint: &Uri, settings: &Settings) -> Result<ClientConfig, SettingsError> {
    let failed = |reason: String| SettingsError::Tls {
        endpoint: settings.endpoint.clone(),
        reason,
    };
    let files = tls::read(&settings.tls)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let builder = match files.certificate {
        Some(trusted) => {
            let mut roots = RootCertStore::empty();
            for certificate in trusted.parsed {
                roots
                    .add(certificate)
                    .map_err(|error| failed(error.to_string()))?;
            }
            builder.with_root_certificates(roots)
        }
        None if endpoint.scheme_str() == Some("https") => builder
            .with_native_roots()
            .map_err(|error| failed(error.to_string()))?,
        // Without TLS the system's roots are not worth reading.
        None => builder.with_root_certificates(RootCertStore::empty()),
    };
    match files.identity {
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificate.parsed, key.parsed)
            .map_err(|error| failed(error.to_string())),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// The fastest level: spans compress tenfold at any, and the agent shares the host with those it watches.
fn gzip(bytes: &Bytes) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), flate2::Compression::fast());
    match encoder.write_all(bytes).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed.into(),
        Err(error) => unreachable!("writing to a vector failed: {error}"),
    }
}

fn accepted(body: &[u8]) -> Accepted {
    let response = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let partial = response.partial_success.unwrap_or_default();
    Accepted {
        rejected: partial.rejected_spans.try_into().unwrap_or(0),
        message: partial.error_message,
    }
}

/// OTLP specification, "OTLP/HTTP Response": what may be tried again, and when.
fn failure(response: &Response<Bytes>) -> Failure {
    let status = response.status();
    let retryable = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| retry_after(value.to_str().ok()?));
    let mut message = format!("HTTP {status}");
    if let Some(said) = said(response) {
        message.push_str(": ");
        message.push_str(&said);
    }
    Failure {
        retryable,
        retry_after: retry_after.filter(|_| retryable),
        message,
    }
}

/// What the body says: a `google.rpc.Status` of a collector, or the text of a proxy.
fn said(response: &Response<Bytes>) -> Option<String> {
    let body = response.body();
    let said = if response.headers().get(CONTENT_TYPE) == Some(&PROTOBUF) {
        tonic_types::Status::decode(&**body).ok()?.message
    } else {
        let text = std::str::from_utf8(body).ok()?;
        text.lines()
            .next()?
            .chars()
            .take(200)
            .filter(|character| !character.is_control())
            .collect()
    };
    Some(said).filter(|said| !said.is_empty())
}

/// Seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    let delay = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date: SystemTime = chrono::DateTime::parse_from_rfc2822(value).ok()?.into();
            date.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(delay.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_says_when_to_come_back() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("99999999"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(
            retry_after("Tue, 31 Dec 2199 23:59:59 GMT"),
            Some(LONGEST_RETRY_AFTER)
        );
        assert_eq!(retry_after("soon"), None);
        assert_eq!(retry_after("-1"), None);
    }

    #[test]
    fn only_these_codes_are_tried_again() {
        for (code, retryable) in [
            (400, false),
            (401, false),
            (404, false),
            (413, false),
            (429, true),
            (500, false),
            (502, true),
            (503, true),
            (504, true),
        ] {
            let response = Response::builder()
                .status(code)
                .header(RETRY_AFTER, "3")
                .body(Bytes::new())
                .unwrap();
            let failure = failure(&response);
            assert_eq!(failure.retryable, retryable, "{code}");
            assert_eq!(
                failure.retry_after,
                retryable.then_some(Duration::from_secs(3)),
                "{code}"
            );
        }
    }

    #[test]
    fn what_the_endpoint_said_is_told_without_its_control_characters() {
        let status = tonic_types::Status {
            code: 3,
            message: "no such tenant".to_owned(),
            details: vec![],
        };
        let response = Response::builder().status(400).header(CONTENT_TYPE, PROTOBUF);
        let response = response.body(status.encode_to_vec().into()).unwrap();
        assert_eq!(failure(&response).message, "HTTP 400 Bad Request: no such tenant");
        let response = Response::builder()
            .status(502)
            .body(Bytes::from("bad\u{1b}[31m gateway\nmore"))
            .unwrap();
        assert_eq!(
            failure(&response).message,
            "HTTP 502 Bad Gateway: bad[31m gateway"
        );
        let response = Response::builder()
            .status(502)
            .body(Bytes::from_static(b"\xff\xfe"))
            .unwrap();
        assert_eq!(failure(&response).message, "HTTP 502 Bad Gateway");
    }

    #[test]
    fn an_answer_may_be_empty_or_no_protobuf_at_all() {
        let taken = Accepted {
            rejected: 0,
            message: String::new(),
        };
        assert_eq!(accepted(b""), taken);
        assert_eq!(accepted(b"<html>OK</html>"), taken);
    }
}
