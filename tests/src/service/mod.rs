//! Real services on free ports, in folders of their own.

pub mod container;
pub mod haproxy;
pub mod nginx;
pub mod node;
pub mod pgbouncer;
pub mod postgres;
pub mod python;
pub mod rabbitmq;
pub mod zipkin;

use std::net::SocketAddr;

use anyhow::Result;

use crate::child::Child;
use crate::{port, wait};

/// A service that listens on 127.0.0.1.
#[derive(Debug)]
pub struct Service {
    /// Its main process.
    pub child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Service {
    /// Waits until somebody listens on `port`, as `child` is to.
    ///
    /// # Errors
    /// It ended, or does not in time.
    pub fn listening(mut child: Child, port: u16) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait::within(wait::START, &format!("listener on {address}"), || {
            child.ensure_running()?;
            Ok(port::is_listened_to(port)?.then_some(()))
        })?;
        Ok(Self { child, address })
    }
}
