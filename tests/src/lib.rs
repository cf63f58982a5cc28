//! Harness of the live tests: spanwire as a child, an OTLP receiver, real services, and whole lists of spans.
//!
//! Every test starts what it needs on free ports and in folders of its own, and kills it when it is dropped. One
//! spanwire runs at a time: [`agent::Agent`] holds a lock for as long as it lives. So that whatever else runs on the
//! machine has no part in a test, capture is restricted with `--port`, `--pid` or `-- COMMAND`; the tests that
//! restrict nothing say so and keep only the paths under their own prefix.

pub mod agent;
pub mod api_server;
pub mod attempt;
pub mod bulk;
pub mod calls;
pub mod capture;
pub mod carried;
pub mod cases;
pub mod chain;
pub mod child;
pub mod cluster;
pub mod collector;
pub mod conventions;
pub mod database;
pub mod dns;
pub mod docker;
pub mod expect;
pub mod flips;
pub mod footprint;
pub mod foreign;
pub mod http;
pub mod injection;
pub mod manifests;
pub mod messages;
pub mod metric_receiver;
pub mod metrics;
pub mod namespaces;
pub mod nghttp;
pub mod peer;
pub mod podman;
pub mod port;
pub mod prometheus;
pub mod proxy;
pub mod publishers;
pub mod receiver;
pub mod relay;
pub mod replay;
pub mod seen;
pub mod sends;
pub mod service;
pub mod session;
pub mod shop;
pub mod span;
pub mod summary;
pub mod systemd;
pub mod truth;
pub mod wait;
pub mod wire;
pub mod workload;
