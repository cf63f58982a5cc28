//! Where metrics are told, and which.

use super::value::{Invalid, parsed};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What is told about what spanwire does and sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where `/metrics`, `/livez` and `/readyz` are; nowhere where it is empty.
    pub listen: Vec<Listen>,
    /// Whether the kernel measures what the programs in it cost.
    pub kernel_cost: bool,
    /// Whether requests are measured.
    pub requests: bool,
    /// Most series of a metric of requests.
    pub cardinality_limit: usize,
    /// Whether measurements are kept with their spans.
    pub exemplars: bool,
}

super::layer::part! {
    /// What is told about what spanwire does and sees: at `/metrics`, beside `/livez` and `/readyz`.
    pub struct Section {
        /// Where requests for it are taken. Whoever can connect may read it; there are no passwords and there is no TLS.
        pub listen: Option<Vec<Listen>>,
        /// Whether the kernel measures how often the programs in it run, and how long: about 20 ns a run, of every BPF
        /// program of the host. Where the host measures it anyway (`kernel.bpf_stats_enabled`), it is told without this.
        pub kernel_cost: Option<bool>,
        /// Whether requests are measured: how many, how long they take, how many fail, and who asks whom.
        pub requests: Option<bool>,
        /// Most series of a metric of requests; what is above counts in one a service with `otel.metric.overflow`.
        pub cardinality_limit: Option<NonZeroUsize>,
        /// Whether the last measurement of each bucket is kept with its trace.
        pub exemplars: Option<bool>,
    }
}

impl Section {
    /// What holds where nobody says anything: a socket that root alone can connect to takes no port from anybody.
    pub(super) fn defaults() -> Self {
        Self {
            listen: Some(vec![Listen::Default]),
            kernel_cost: Some(false),
            requests: Some(true),
            cardinality_limit: NonZeroUsize::new(2000),
            exemplars: Some(true),
        }
    }
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// None, for sources that have no empty lists.
    Nowhere,
    /// The Unix socket that `spanwire status` asks.
    Default,
    /// Another Unix socket, by its whole path.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl FromStr for Listen {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| {
            Invalid::new(format!(
                "`{text}` {why}; give `unix`, `unix:/PATH`, `none`, or an address with a port such as 127.0.0.1:9464"
            ))
        };
        match text.split_once(':') {
            None if text == "none" => Ok(Self::Nowhere),
            None if text == "unix" => Ok(Self::Default),
            Some(("unix", path)) if Path::new(path).is_absolute() => Ok(Self::Unix(path.into())),
            Some(("unix", _)) => Err(wrong("has no path that begins with `/`")),
            Some(("localhost", port)) => match port.parse() {
                Ok(port) if port > 0 => Ok(Self::Tcp((IpAddr::from(Ipv4Addr::LOCALHOST), port).into())),
                _ => Err(wrong("has no port from 1 to 65535")),
            },
            _ => match text.parse::<SocketAddr>() {
                Ok(address) if address.port() > 0 => Ok(Self::Tcp(address)),
                Ok(_) => Err(wrong("has no port from 1 to 65535")),
                Err(_) => Err(wrong("is no address to listen at")),
            },
        }
    }
}

impl Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => formatter.write_str("none"),
            Self::Default => formatter.write_str("unix"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(formatter),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl JsonSchema for Listen {
    fn schema_name() -> Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`unix` (the socket that `spanwire status` asks), `unix:/PATH`, `none`, or an address with a \
                            port such as 127.0.0.1:9464.",
        })
    }
}

/// The typed section.
pub(super) fn metrics(section: &Section) -> Metrics {
    let settled = Section::defaults();
    let mut listen = section.listen.clone().or(settled.listen).unwrap_or_default();
    listen.retain(|address| *address != Listen::Nowhere);
    let mut once = Vec::with_capacity(listen.len());
    for address in listen {
        if !once.contains(&address) {
            once.push(address);
        }
    }
    Metrics {
        listen: once,
        kernel_cost: section.kernel_cost.or(settled.kernel_cost).unwrap_or_default(),
        requests: section.requests.or(settled.requests).unwrap_or_default(),
        cardinality_limit: section
            .cardinality_limit
            .or(settled.cardinality_limit)
            .map_or(1, NonZeroUsize::get),
        exemplars: section.exemplars.or(settled.exemplars).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_they_are_shown() {
        for text in [
            "none",
            "unix",
            "unix:/run/a b.sock",
            "127.0.0.1:9464",
            "[::1]:9464",
            "0.0.0.0:1",
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        assert_eq!(
            "localhost:80".parse::<Listen>().unwrap().to_string(),
            "127.0.0.1:80"
        );
    }

    #[test]
    fn wrong_addresses_say_what_is_right() {
        let rest = "; give `unix`, `unix:/PATH`, `none`, or an address with a port such as 127.0.0.1:9464";
        for (text, why) in [
            ("9464", "is no address to listen at"),
            ("", "is no address to listen at"),
            ("http://h:1", "is no address to listen at"),
            ("unix:relative", "has no path that begins with `/`"),
            ("localhost:0", "has no port from 1 to 65535"),
            ("127.0.0.1:0", "has no port from 1 to 65535"),
            ("localhost:70000", "has no port from 1 to 65535"),
        ] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert_eq!(error, format!("`{text}` {why}{rest}"));
        }
    }

    #[test]
    fn none_is_nowhere_and_twice_is_once() {
        let listen = |text: &str| {
            let addresses = text.split(' ').map(|one| one.parse().unwrap()).collect();
            let section = Section {
                listen: Some(addresses),
                ..Section::default()
            };
            let listen = metrics(&section).listen;
            listen
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(listen("none"), "");
        assert_eq!(listen("unix localhost:80 127.0.0.1:80 unix"), "unix 127.0.0.1:80");
    }
}
