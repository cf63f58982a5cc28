//! OTLP/HTTP in protobuf and JSON, and Zipkin, over HTTP/1.1.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout_at};

use super::connect::Connector;
use super::{Accepted, Address, Failure, LONGEST_RETRY_AFTER, RESPONSE_BYTES, chain, tls};
use crate::export::form::{Form, Request};
use crate::export::settings::{Compression, Settings, SettingsError};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
const ZSTD: HeaderValue = HeaderValue::from_static("zstd");

/// How long the rest of an answer is waited for whose status is known, at least.
const REST: Duration = Duration::from_secs(1);

/// A pool of connections to one endpoint.
pub(super) struct Client {
    pool: legacy::Client<HttpsConnector<Connector>, Full<Bytes>>,
    endpoint: Uri,
    headers: HeaderMap,
    compression: Compression,
    form: Form,
}

impl Client {
    pub(super) fn new(
        address: &Address,
        mut headers: HeaderMap,
        settings: &Settings,
    ) -> Result<Self, SettingsError> {
        let tls = client_config(&address.uri, settings)?;
        let (way, authorization) = Connector::new(address, settings, false)?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(way);
        let form = settings.protocol.form();
        headers.insert(
            CONTENT_TYPE,
            match form {
                Form::Protobuf => PROTOBUF,
                Form::Json | Form::Zipkin => JSON,
            },
        );
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(super::USER_AGENT));
        match settings.compression {
            Compression::None => None,
            Compression::Gzip => headers.insert(CONTENT_ENCODING, GZIP),
            Compression::Zstd => headers.insert(CONTENT_ENCODING, ZSTD),
        };
        if let Some(authorization) = authorization {
            headers.insert(PROXY_AUTHORIZATION, authorization);
        }
        Ok(Self {
            pool: legacy::Client::builder(TokioExecutor::new()).build(connector),
            endpoint: address.uri.clone(),
            headers,
            compression: settings.compression,
            form,
        })
    }

    pub(super) async fn send(&self, request: &Request, ends: Instant) -> Result<Accepted, Failure> {
        let body = match self.compression {
            Compression::None => request.bytes.clone(),
            Compression::Gzip => gzip(&request.bytes),
            Compression::Zstd => zstd(&request.bytes),
        };
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        request.headers_mut().clone_from(&self.headers);
        let unreachable = |error: &dyn std::error::Error| Failure::unreachable(chain(error));
        let response = timeout_at(ends, self.pool.request(request))
            .await
            .map_err(|_| Failure::unanswered())?
            .map_err(|error| unreachable(&error))?;
        let (head, body) = response.into_parts();
        // The status says what became of the spans; a body that is late, endless or broken takes nothing from that.
        let body = Limited::new(body, RESPONSE_BYTES).collect();
        let body = match timeout_at(ends.max(Instant::now() + REST), body).await {
            Ok(body) => body.map(Collected::to_bytes).unwrap_or_default(),
            Err(_) => Bytes::new(),
        };
        let response = Response::from_parts(head, body);
        if !response.status().is_success() {
            return Err(failure(&response));
        }
        Ok(match self.form {
            // It says nothing of what it took.
            Form::Zipkin => Accepted::default(),
            Form::Protobuf | Form::Json => accepted(&response),
        })
    }
}

fn client_config(endpoint: &Uri, settings: &Settings) -> Result<ClientConfig, SettingsError> {
    let failed = |reason: String| SettingsError::Tls {
        endpoint: settings.shown(),
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

/// As [`gzip`].
fn zstd(bytes: &Bytes) -> Bytes {
    match zstd::bulk::compress(bytes, 1) {
        Ok(compressed) => compressed.into(),
        Err(error) => unreachable!("compressing into a vector failed: {error}"),
    }
}

fn accepted(response: &Response<Bytes>) -> Accepted {
    if is_json(response) {
        return accepted_json(response.body()).unwrap_or_default();
    }
    let response = ExportTraceServiceResponse::decode(&**response.body()).unwrap_or_default();
    let partial = response.partial_success.unwrap_or_default();
    Accepted {
        rejected: partial.rejected_spans.try_into().unwrap_or(0),
        message: partial.error_message,
    }
}

/// 64-bit integers may be texts or numbers in JSON.
fn accepted_json(body: &[u8]) -> Option<Accepted> {
    let response: serde_json::Value = serde_json::from_slice(body).ok()?;
    let partial = response.get("partialSuccess")?;
    let rejected = partial.get("rejectedSpans").and_then(|count| match count {
        serde_json::Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    });
    let message = partial.get("errorMessage").and_then(|text| text.as_str());
    Some(Accepted {
        rejected: rejected.unwrap_or(0),
        message: message.unwrap_or_default().to_owned(),
    })
}

fn is_json(response: &Response<Bytes>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(JSON.as_bytes()))
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
    let said = said(response);
    if let Some(said) = &said {
        message.push_str(": ");
        message.push_str(said);
    }
    // The collector says 400 where its own limit is passed.
    let too_large = status == StatusCode::PAYLOAD_TOO_LARGE
        || status == StatusCode::BAD_REQUEST && said.is_some_and(|said| said.contains("too large"));
    Failure {
        retryable,
        too_large,
        retry_after: retry_after.filter(|_| retryable),
        message,
    }
}

/// What the body says: a `google.rpc.Status` of a collector, or the text of a proxy.
fn said(response: &Response<Bytes>) -> Option<String> {
    let body = response.body();
    let said = if response.headers().get(CONTENT_TYPE) == Some(&PROTOBUF) {
        tonic_types::Status::decode(&**body).ok()?.message
    } else if is_json(response) {
        let status: serde_json::Value = serde_json::from_slice(body).ok()?;
        status.get("message")?.as_str()?.to_owned()
    } else {
        std::str::from_utf8(body).ok()?.lines().next()?.to_owned()
    };
    Some(printable(&said)).filter(|said| !said.is_empty())
}

/// The beginning of what an endpoint said, as a log can bear it.
fn printable(said: &str) -> String {
    let shown = said.chars().take(200).filter(|character| !character.is_control());
    shown.collect()
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
        let answer = |body: &'static str| Response::new(Bytes::from_static(body.as_bytes()));
        assert_eq!(accepted(&answer("")), Accepted::default());
        assert_eq!(accepted(&answer("<html>OK</html>")), Accepted::default());
    }

    #[test]
    fn in_json_numbers_may_be_texts() {
        let check = |body: &'static str, rejected, message: &str| {
            let response = Response::builder().header(CONTENT_TYPE, "application/json; charset=utf-8");
            let found = accepted(&response.body(Bytes::from_static(body.as_bytes())).unwrap());
            let message = message.to_owned();
            assert_eq!(found, Accepted { rejected, message }, "{body}");
        };
        check("", 0, "");
        check("{}", 0, "");
        check(
            r#"{"partialSuccess":{"rejectedSpans":"7","errorMessage":"old"}}"#,
            7,
            "old",
        );
        check(r#"{"partialSuccess":{"rejectedSpans":7}}"#, 7, "");
        check(r#"{"partialSuccess":{"rejectedSpans":-7}}"#, 0, "");
        check(r#"{"partialSuccess":[]}"#, 0, "");
    }

    #[test]
    fn what_is_too_large_is_known() {
        for (code, body, too_large) in [
            (413, "", true),
            (400, "http: request body too large\n", true),
            (400, "no such tenant", false),
            (503, "too large", false),
        ] {
            let response = Response::builder()
                .status(code)
                .body(Bytes::from_static(body.as_bytes()));
            assert_eq!(failure(&response.unwrap()).too_large, too_large, "{code} {body}");
        }
    }
}
