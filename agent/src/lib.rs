//! spanwire: distributed traces out of what services put on the wire.
//!
//! In reading order, which is also the order in which data flows.

pub mod cli;
pub mod config;
pub mod instance;

pub mod engine;
pub mod health;
pub mod kernel;
pub mod kubernetes;
pub mod process;

pub mod connection;
pub mod protocol;

pub mod exchange;
pub mod span;
pub mod trace;

pub mod export;
pub mod metrics;
pub mod redact;
pub mod sample;

pub mod command;
mod delays;
mod naming;
pub mod pipeline;
pub mod propagation;
pub mod reload;
pub mod replay;
pub mod run;
pub mod services;
pub mod signals;
pub mod status;
pub mod summary;
pub mod watchdog;
