//! Where OTLP goes: the URL rules of the [exporter specification].
//!
//! [exporter specification]: https://opentelemetry.io/docs/specs/otel/protocol/exporter/

use super::choice::Protocol;
use super::value::{Invalid, parsed};
use http::Uri;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::{self, Display};
use std::str::FromStr;

/// An endpoint as it was written: a URL, the path of a Unix socket, or, for gRPC, `HOST:PORT` alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Target);

#[derive(Clone, PartialEq, Eq)]
enum Target {
    Url(Uri),
    /// After `unix:`, absolute.
    Socket(String),
}

impl FromStr for Endpoint {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let example = "give a URL such as http://localhost:4318";
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:/PATH` or `unix:///PATH`, as gRPC names sockets.
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') || path.len() == 1 {
                let problem = "a Unix socket needs its whole path, as in unix:/run/otlp.sock";
                return Err(Invalid::new(problem));
            }
            return Ok(Self(Target::Socket(path.to_owned())));
        }
        // The text itself is not repeated: it may carry a password.
        let uri = text
            .parse::<Uri>()
            .map_err(|error| Invalid::new(format!("{error}; {example}")))?;
        if uri.host().is_none_or(str::is_empty) {
            return Err(Invalid::new(format!("there is no host in it; {example}")));
        }
        match uri.scheme_str() {
            None | Some("http" | "https") => Ok(Self(Target::Url(uri))),
            Some(scheme) => Err(Invalid::new(format!(
                "the scheme `{scheme}` is not http, https or unix; {example}"
            ))),
        }
    }
}

impl Endpoint {
    /// What a specification's default of `protocol` is.
    pub(super) fn standard(protocol: Protocol) -> Self {
        Self(Target::Url(Uri::from_static(match protocol {
            Protocol::HttpProtobuf | Protocol::HttpJson => "http://localhost:4318",
            Protocol::Grpc => "http://localhost:4317",
        })))
    }

    /// The URL to send traces to. `base`: the signal's path is to be appended (HTTP only); `insecure` counts where no
    /// scheme was written.
    pub(super) fn url(&self, protocol: Protocol, base: bool, insecure: bool) -> Result<String, Invalid> {
        let uri = match &self.0 {
            Target::Url(uri) => uri,
            Target::Socket(path) => return Ok(format!("unix:{path}")),
        };
        let scheme = match (uri.scheme_str(), protocol) {
            (Some(scheme), _) => scheme,
            (None, Protocol::Grpc) if insecure => "http",
            (None, Protocol::Grpc) => "https",
            (None, Protocol::HttpProtobuf | Protocol::HttpJson) => {
                return Err(Invalid::new(
                    "an endpoint for http/protobuf begins with http:// or https://",
                ));
            }
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let mut path = uri.path().to_owned();
        if base && protocol != Protocol::Grpc {
            if !path.ends_with('/') {
                path.push('/');
            }
            path.push_str("v1/traces");
        } else if path.is_empty() {
            path.push('/');
        }
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(format!("{scheme}://{authority}{path}{query}"))
    }

    /// As it was written, which has to be complete: for what is not OTLP, and for proxies.
    pub(super) fn complete(&self) -> Result<String, Invalid> {
        match &self.0 {
            Target::Url(uri) if uri.scheme().is_some() => Ok(uri.to_string()),
            Target::Url(_) => Err(Invalid::new("it begins with http:// or https://")),
            Target::Socket(path) => Ok(format!("unix:{path}")),
        }
    }

    /// The port, where one was written.
    pub(super) fn port(&self) -> Option<u16> {
        match &self.0 {
            Target::Url(uri) => uri.port_u16(),
            Target::Socket(_) => None,
        }
    }
}

/// As written, with credentials (a user part, query values) masked.
impl Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = match &self.0 {
            Target::Url(uri) => uri,
            Target::Socket(path) => return write!(formatter, "unix:{path}"),
        };
        if let Some(scheme) = uri.scheme_str() {
            write!(formatter, "{scheme}://")?;
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        match authority.rsplit_once('@') {
            Some((_, host)) => write!(formatter, "********@{host}")?,
            None => formatter.write_str(authority)?,
        }
        if uri.path() != "/" {
            formatter.write_str(uri.path())?;
        }
        if uri.query().is_some() {
            formatter.write_str("?********")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, formatter)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A URL such as http://localhost:4318, or unix:PATH of a socket." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(endpoint: &str, protocol: Protocol, base: bool, insecure: bool, expect: Result<&str, &str>) {
        let found = endpoint
            .parse::<Endpoint>()
            .and_then(|endpoint| endpoint.url(protocol, base, insecure));
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expect, "{endpoint}");
    }

    #[test]
    fn the_three_examples_of_the_specification() {
        let http = Protocol::HttpProtobuf;
        check(
            "http://collector:4318",
            http,
            true,
            false,
            Ok("http://collector:4318/v1/traces"),
        );
        check(
            "http://collector:4318",
            http,
            false,
            false,
            Ok("http://collector:4318/"),
        );
        let example = "https://collector.example.com/v1/metrics";
        check(example, http, false, false, Ok(example));
        let example = "http://collector:4318/mycollector/";
        check(
            example,
            http,
            true,
            false,
            Ok("http://collector:4318/mycollector/v1/traces"),
        );
        let example = "http://collector:4318/mycollector";
        check(
            example,
            http,
            true,
            false,
            Ok("http://collector:4318/mycollector/v1/traces"),
        );
    }

    #[test]
    fn grpc_takes_a_scheme_or_the_insecure_setting() {
        let grpc = Protocol::Grpc;
        check("collector:4317", grpc, true, false, Ok("https://collector:4317/"));
        check("collector:4317", grpc, true, true, Ok("http://collector:4317/"));
        check(
            "https://collector:4317",
            grpc,
            true,
            true,
            Ok("https://collector:4317/"),
        );
        check("http://[::1]:4317", grpc, true, false, Ok("http://[::1]:4317/"));
    }

    #[test]
    fn what_is_no_endpoint() {
        let http = Protocol::HttpProtobuf;
        let problem = "an endpoint for http/protobuf begins with http:// or https://";
        check("collector:4318", http, true, false, Err(problem));
        let problem = "the scheme `ftp` is not http, https or unix; give a URL such as http://localhost:4318";
        check("ftp://collector", http, true, false, Err(problem));
        let problem = "there is no host in it; give a URL such as http://localhost:4318";
        check("/v1/traces", http, true, false, Err(problem));
        assert!(
            "http://user:hunter2@a b"
                .parse::<Endpoint>()
                .is_err_and(|error| !error.to_string().contains("hunter2"))
        );
    }

    #[test]
    fn a_socket_is_named_by_its_path() {
        for written in ["unix:/run/otlp.sock", "unix:///run/otlp.sock"] {
            for protocol in [Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpJson] {
                check(written, protocol, true, false, Ok("unix:/run/otlp.sock"));
            }
        }
        let problem = "a Unix socket needs its whole path, as in unix:/run/otlp.sock";
        for written in ["unix:", "unix:otlp.sock", "unix://otlp.sock", "unix:/"] {
            check(written, Protocol::Grpc, true, false, Err(problem));
        }
    }

    #[test]
    fn credentials_are_masked_where_it_is_shown() {
        let endpoint: Endpoint = "https://me:hunter2@collector/otlp?key=abc".parse().unwrap();
        assert_eq!(
            format!("{endpoint:?}"),
            "https://********@collector/otlp?********"
        );
        let sent = endpoint.url(Protocol::HttpProtobuf, true, false).unwrap();
        assert_eq!(sent, "https://me:hunter2@collector/otlp/v1/traces?key=abc");
    }
}
