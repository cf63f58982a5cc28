//! Where in a program, or in a library of it, the kernel half is to look.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

/// What a probe sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A goroutine asks for a request of HTTP/1, which another sends.
    GoRoundTrip,
    /// A goroutine asks for a stream of gRPC, on which another sends.
    GoStreamAsked,
    /// That other is about to.
    GoStreamBegins,
    /// The same, where the stream's head is the third argument.
    GoStreamBeginsThird,
    /// A goroutine begins to read streams of gRPC.
    GoStreamsRead,
    /// A goroutine begins to handle a stream of gRPC that was received.
    GoStreamHandled,
    /// A goroutine begins to handle a stream of HTTP/2 that was received.
    GoHandlerRuns,
    /// The return of what copies a context of Python.
    PythonContextCopied,
    /// A context of Python is freed.
    PythonContextFreed,
    /// A context of Python is left, other than by Python itself.
    PythonContextLeft,
    /// Native code of Node.js is about to call JavaScript.
    NodeCallbackBegins,
    /// Microtasks of Node.js are about to run.
    NodeMicrotasksBegin,
    /// They have run.
    NodeMicrotasksEnd,
    /// JavaScript resolves a promise.
    NodePromiseResolved,
    /// The return of what makes a stream of HAProxy.
    HaProxyStreamMade,
    /// A stream of HAProxy is about to run.
    HaProxyStreamRuns,
    /// HAProxy looks whether a server is well.
    HaProxyCheckRuns,
}

/// One instruction of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What it sees.
    pub place: Place,
    /// Where in the file the instruction is.
    pub offset: u64,
}

/// A file, for as long as it has not been written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A file with its probes, the same for all processes that run it.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Which it is.
    pub id: FileId,
    /// The file itself.
    pub file: Arc<File>,
    /// At least one.
    pub probes: Arc<[Probe]>,
}
