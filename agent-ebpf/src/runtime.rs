//! What runtimes hand over within a process, seen by probes of their own functions.

pub(crate) mod go;
pub(crate) mod go_server;
pub(crate) mod haproxy;
pub(crate) mod node;
pub(crate) mod python;
