//! Containers: which engines are asked for them, and which of their labels become attributes.

use super::layer::section;
use super::naming::TextPattern;
use super::value::{Invalid, parsed, scalar};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What is asked of the engines that run containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Containers {
    /// Sockets of engines; `None` for those that the host is expected to have.
    pub sockets: Option<Vec<PathBuf>>,
    /// Labels that become attributes.
    pub labels: Vec<TextPattern>,
}

section! {
    /// Containers: what Docker or Podman is asked about those that services run in. Nothing but `GET` is ever asked of them.
    pub struct Section {
        /// Unix sockets of engines that speak Docker's API. Unless set: that of `DOCKER_HOST`, `/var/run/docker.sock`,
        /// `/run/docker.sock` and `/run/podman/podman.sock`, those of them that are there. `[]` or `none` has no engine asked;
        /// then what engines have written on the host is read.
        pub sockets: Option<Vec<Socket>>,
        /// Labels that become attributes (`container.label.NAME`), with `*` for any text. None unless listed: labels may hold
        /// secrets.
        pub labels: Option<Vec<TextPattern>>,
    }
}

impl Section {
    /// What it comes to; what does not go together is told by its key.
    pub(super) fn settle(&self) -> Result<Containers, (&'static str, String)> {
        let sockets = self.sockets.as_deref();
        if sockets.is_some_and(|all| all.len() > 1 && all.contains(&Socket::Nowhere)) {
            return Err((
                "containers.sockets",
                "has `none` beside others; leave it out, or the others".into(),
            ));
        }
        Ok(Containers {
            sockets: sockets.map(|all| all.iter().filter_map(Socket::path).map(Into::into).collect()),
            labels: self.labels.clone().unwrap_or_default(),
        })
    }
}

/// Longest path of a Unix socket, in bytes: unix(7), `sun_path`.
const LONGEST: usize = 107;

/// The socket of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socket {
    /// None, for sources that have no empty lists.
    Nowhere,
    /// Its whole path.
    Path(PathBuf),
}

impl Socket {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Nowhere => None,
            Self::Path(path) => Some(path),
        }
    }
}

impl FromStr for Socket {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let path = text.strip_prefix("unix://").unwrap_or(text);
        match path {
            "none" => Ok(Self::Nowhere),
            path if path.starts_with('/') && path.len() <= LONGEST => Ok(Self::Path(path.into())),
            path if path.starts_with('/') => Err(Invalid::new(format!(
                "`{text}` is {} bytes long; the path of a Unix socket has {LONGEST} at most",
                path.len()
            ))),
            _ => Err(Invalid::new(format!(
                "`{text}` is not the path of a Unix socket such as `/var/run/docker.sock` or `unix:///run/podman/podman.sock`, \
                 nor `none`"
            ))),
        }
    }
}

impl Display for Socket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => formatter.write_str("none"),
            Self::Path(path) => write!(formatter, "{}", path.display()),
        }
    }
}

scalar!(
    Socket,
    "string",
    "^((unix://)?/.*|none)$",
    "The path of a Unix socket, or `none`."
);
