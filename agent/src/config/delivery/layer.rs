//! What one source says of delivery, beside its OTLP endpoint.

use crate::config::choice::Fsync;
use crate::config::endpoint::Endpoint;
use crate::config::layer::section;
use crate::config::value::{Invalid, Period, Size, parsed};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::{self, Display};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

section! {
    /// A Zipkin endpoint (second API, JSON).
    pub struct Zipkin {
        /// Whether to export there. Unless set: when there is an endpoint.
        pub enabled: Option<bool>,
        /// URL, such as http://localhost:9411/api/v2/spans.
        pub endpoint: Option<Endpoint>,
        /// Longest wait for an answer; 0 is no limit.
        pub timeout: Option<Period>,
    }
}

section! {
    /// A file of OTLP in JSON, a request a line, as the collector's file exporter writes it.
    pub struct ExportFile {
        /// Its path. No file unless set.
        pub path: Option<String>,
        /// Most bytes; when it is full, it becomes PATH.1, what was that PATH.2, and so on.
        pub max_size: Option<Size>,
        /// Most files in all, from 1.
        pub max_files: Option<NonZeroU32>,
    }
}

impl ExportFile {
    /// What holds where a path is all that is set.
    pub(in crate::config) fn defaults() -> Self {
        Self {
            path: None,
            max_size: Some(Size(64 << 20)),
            max_files: NonZeroU32::new(4),
        }
    }
}

section! {
    /// Proxies to reach endpoints by. What is https goes through a tunnel (CONNECT), and so does gRPC.
    pub struct Proxy {
        /// The one for http endpoints, such as http://proxy:3128.
        pub http: Option<ProxyUrl>,
        /// The one for https endpoints, such as http://proxy:3128: the proxy itself is spoken to without TLS.
        pub https: Option<ProxyUrl>,
        /// Hosts, domains (with all below them), addresses and ranges of addresses that are reached without; `*` for all.
        pub except: Option<Vec<String>>,
    }
}

section! {
    /// Requests on disk while an endpoint is away; sent oldest first when it is back. Bounds are for each endpoint.
    pub struct Spool {
        /// The directory, which has to belong to the user that spanwire runs as, and to be closed to others; made where it is
        /// missing. No spool unless set.
        pub directory: Option<PathBuf>,
        /// Most bytes on disk; where there are more, the oldest are dropped, and counted. At least 16M.
        pub max_size: Option<Size>,
        /// Longest that spans wait there; 0 is no limit.
        pub max_age: Option<Period>,
        /// When what is written is made safe against a power failure. A SIGKILL takes nothing of it in any case.
        pub fsync: Option<Fsync>,
        /// Most bytes a second, before compression, that are sent of it beside what is new; 0 is no limit.
        pub rate: Option<Size>,
    }
}

impl Spool {
    /// What holds where a directory is all that is set.
    pub(in crate::config) fn defaults() -> Self {
        Self {
            directory: None,
            max_size: Some(Size(256 << 20)),
            max_age: Some(Period(Duration::from_hours(24))),
            fsync: Some(Fsync::Interval),
            rate: Some(Size(4 << 20)),
        }
    }
}

/// Where a proxy is: `http://HOST:PORT`, or `HOST:PORT`, maybe with a user and a password in front of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl(Endpoint);

impl ProxyUrl {
    /// With its scheme.
    pub(super) fn url(&self) -> Result<String, Invalid> {
        self.0.complete()
    }
}

impl FromStr for ProxyUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // The text itself is not repeated: it may carry a password.
        let wrong = || Invalid::new("it is no HTTP proxy; give it as http://HOST:PORT");
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        if !whole.starts_with("http://") {
            return Err(wrong());
        }
        whole.parse().map(Self).map_err(|_| wrong())
    }
}

/// With credentials masked.
impl Display for ProxyUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Serialize for ProxyUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ProxyUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl JsonSchema for ProxyUrl {
    fn schema_name() -> Cow<'static, str> {
        "ProxyUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "An HTTP proxy, such as http://proxy:3128." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_one_for_http_and_its_password_is_masked() {
        let check = |text: &str, expect: Result<(&str, &str), ()>| {
            let found = text.parse::<ProxyUrl>().map_err(|error| error.to_string());
            match (&found, expect) {
                (Ok(found), Ok((url, shown))) => {
                    assert_eq!(
                        (found.url().unwrap().as_str(), found.to_string().as_str()),
                        (url, shown)
                    );
                }
                (Err(problem), Err(())) => assert!(!problem.contains("hunter2"), "{problem}"),
                _ => panic!("{text}: {found:?}"),
            }
        };
        check("proxy:3128", Ok(("http://proxy:3128/", "http://proxy:3128")));
        check("http://proxy", Ok(("http://proxy/", "http://proxy")));
        check(
            "http://me:hunter2@proxy",
            Ok(("http://me:hunter2@proxy/", "http://********@proxy")),
        );
        check("https://me:hunter2@proxy", Err(()));
        check("socks5://proxy", Err(()));
        check("http://me:hunter2@a b", Err(()));
        check("", Err(()));
    }
}
