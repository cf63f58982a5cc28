//! Zipkin, which keeps what it gets in memory.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use super::Service;
use crate::child::Child;
use crate::foreign;
use crate::http;
use crate::port;

/// A running Zipkin.
#[derive(Debug)]
pub struct Zipkin {
    /// Main process, and where it listens.
    pub service: Service,
}

impl Zipkin {
    /// Starts one.
    ///
    /// # Errors
    /// There is no Java or no registry, or it does not start.
    pub fn start() -> Result<Self> {
        let port = port::free()?;
        let mut command = foreign::java("zipkin", &["pom.xml"], &["dependency:copy-dependencies"])?;
        command.arg("org.springframework.boot.loader.launch.JarLauncher");
        command
            .env("QUERY_PORT", port.to_string())
            .env("STORAGE_TYPE", "mem");
        let service = Service::listening(Child::spawn(command)?, port)?;
        Ok(Self { service })
    }

    /// Names of services and ids of the spans of a trace; none where it knows of none.
    ///
    /// # Errors
    /// It does not answer.
    pub fn spans(&self, trace: &str) -> Result<BTreeSet<(String, String)>> {
        let address = self.service.address;
        let path = format!("/api/v2/trace/{trace}");
        let answer = http::connect(address)?.call("GET", &path, &address.to_string(), &[])?;
        if answer.status() != 200 {
            return Ok(BTreeSet::new());
        }
        let spans: Vec<Value> = serde_json::from_slice(&answer.body)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = spans
            .iter()
            .map(|span| (text(&span["localEndpoint"]["serviceName"]), text(&span["id"])));
        Ok(told.collect())
    }
}
