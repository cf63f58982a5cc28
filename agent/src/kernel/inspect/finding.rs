//! What one check found.

use serde::Serialize;

/// The headings of the report, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// User, capabilities, limits, namespaces.
    Privileges,
    /// What everything else stands on.
    Kernel,
    /// Kinds of BPF programs.
    Programs,
    /// Hook set 1.
    Socket,
    /// Hook set 2.
    Trampoline,
    /// Hook set 3.
    Syscall,
    /// Hooks that every set needs beside its own.
    Beside,
    /// What carries context to other services.
    Propagation,
    /// What else runs here and matters.
    Host,
}

impl Group {
    /// The heading as it is printed.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Privileges => "Privileges",
            Self::Kernel => "Kernel",
            Self::Programs => "Program types",
            Self::Socket => "Hook set `socket` (tracepoints of the sockets themselves: the cheapest)",
            Self::Trampoline => "Hook set `trampoline` (the sockets' functions)",
            Self::Syscall => "Hook set `syscall` (works everywhere, taxes every syscall of the host)",
            Self::Beside => "Hooks beside them",
            Self::Propagation => "For `--propagate`: trace context in what clients send",
            Self::Host => "Also on this host",
        }
    }
}

/// What a thing is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Without it no span is made.
    Capture,
    /// One of several ways to capture; another may do.
    Alternative,
    /// Without it traces say less.
    Detail,
    /// Not needed; good to know.
    Information,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Tried, and it works.
    Works,
    /// Tried, and it does not work.
    Fails,
    /// Could not be tried, for lack of privileges mostly.
    Unknown,
    /// Neither good nor bad in itself, but to be known.
    Note,
}

impl Status {
    /// The word as it is printed.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Fails => "no",
            Self::Unknown => "unknown",
            Self::Note => "note",
        }
    }
}

/// One line of the report. All texts are for people and may change; `id`, `need` and `status` are for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name, such as `raw_tracepoint.sys_enter`.
    pub id: &'static str,
    /// Under which heading.
    pub group: Group,
    /// Name as it is printed.
    pub title: &'static str,
    /// What it is needed for.
    pub need: Need,
    /// The answer.
    pub status: Status,
    /// What was seen, or why it does not work.
    pub detail: String,
    /// What is lost by it; empty where it works.
    pub lost: String,
    /// What to do; empty where it works.
    pub remedy: String,
}

/// The advice where nothing could be tried for lack of privileges.
pub(super) const AS_ROOT: &str =
    "run it as root, for example `sudo spanwire check`, or grant what is missing";

/// What the attempt of a check answers.
pub(super) struct Outcome {
    pub(super) status: Status,
    pub(super) detail: String,
    /// Better advice than the check's own.
    pub(super) remedy: Option<String>,
}

impl Outcome {
    pub(super) fn works(detail: impl Into<String>) -> Self {
        Self {
            status: Status::Works,
            detail: detail.into(),
            remedy: None,
        }
    }

    pub(super) fn fails(detail: impl Into<String>) -> Self {
        Self {
            status: Status::Fails,
            detail: detail.into(),
            remedy: None,
        }
    }

    pub(super) fn unknown(detail: impl Into<String>) -> Self {
        Self {
            status: Status::Unknown,
            detail: detail.into(),
            remedy: None,
        }
    }

    pub(super) fn note(detail: impl Into<String>) -> Self {
        Self {
            status: Status::Note,
            detail: detail.into(),
            remedy: None,
        }
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }
}
