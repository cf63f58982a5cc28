//! Requests of HTTP/1.1 as bytes, and in which sends they leave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::agent::Hooks;
use crate::child::{self, Child};
use crate::injection::{Got, Keeper, once, propagating};
use crate::seen::Seen;
use crate::session::Session;
use crate::workload;

/// Requests by their paths.
pub type Requested = BTreeMap<String, Got>;

/// Bytes of one connection, and how they are sent.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    way: &'static str,
    /// Each byte as the character of that number.
    sends: Vec<String>,
    answers: usize,
}

/// Cases as they are put together.
#[derive(Debug, Default)]
pub struct Cases {
    all: Vec<Case>,
    /// How many requests are in them.
    pub requests: usize,
}

impl Cases {
    /// The command that sends all of them to `address`, and ends well where all were answered. What it reads is put into `folder`.
    ///
    /// # Errors
    /// It cannot be written.
    fn send(&self, address: SocketAddr, folder: &Path) -> Result<Command> {
        let file = folder.join("cases");
        std::fs::write(&file, serde_json::to_vec(&self.all)?)?;
        let mut sender = child::command(workload::PYTHON);
        sender.arg(workload::file("propagation/send.py")?);
        sender.arg(address.to_string()).arg(&file);
        Ok(sender)
    }

    /// What came of all of them when nobody was there, and what came under a spanwire that injects, with what that saw: the same
    /// requests both times, each once.
    ///
    /// # Errors
    /// One is not answered as it should be, or is missing.
    pub fn without_and_with(&self, hooks: Hooks) -> Result<(Requested, Requested, Seen)> {
        let keeper = Keeper::start()?;
        let folder = tempfile::tempdir()?;
        let send_all = || -> Result<_> {
            Child::spawn(self.send(keeper.address, folder.path())?)?.succeed()?;
            once(keeper.kept.take()?)
        };
        let plain = send_all()?;
        ensure!(
            plain.len() == self.requests,
            "{} of {}",
            plain.len(),
            self.requests
        );
        let session = Session::start(propagating(hooks).port(keeper.address.port()))?;
        let got = send_all()?;
        let seen = session.finish(2 * self.requests)?;
        ensure!(
            plain.keys().eq(got.keys()),
            "{} and {} requests",
            plain.len(),
            got.len()
        );
        Ok((plain, got, seen))
    }

    /// Adds a connection: `way` to send the parts of what `write` makes of paths that no other request has, cut at `cuts`.
    pub fn add(
        &mut self,
        name: &str,
        way: &'static str,
        cuts: &[usize],
        write: impl Fn(&mut dyn FnMut() -> String) -> Vec<u8>,
    ) {
        let mut answers = 0;
        let bytes = write(&mut || {
            self.requests += 1;
            answers += 1;
            format!("/{name}/{}", self.requests)
        });
        let mut sends = Vec::new();
        let mut from = 0;
        for &cut in cuts.iter().chain([&bytes.len()]) {
            sends.push(bytes[from..cut].iter().map(|byte| char::from(*byte)).collect());
            from = cut;
        }
        self.all.push(Case { way, sends, answers });
    }

    /// The same cut in two at each place.
    pub fn cut_everywhere(
        &mut self,
        name: &str,
        way: &'static str,
        write: impl Fn(&mut dyn FnMut() -> String) -> Vec<u8>,
    ) {
        let mut longest = 0;
        for at in 1.. {
            let bytes = write(&mut || format!("/{name}/{}", self.requests + 1));
            longest = longest.max(bytes.len());
            if at >= longest {
                return;
            }
            self.add(name, way, &[at], &write);
        }
    }
}

/// A head with these fields and the length of a body, and the body.
#[must_use]
pub fn message(method: &str, path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}{length}\r\n");
    [head.as_bytes(), body].concat()
}
