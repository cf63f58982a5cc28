//! A real Prometheus that scrapes its targets each second, and what it says when it is asked.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::child::{self, Child};
use crate::metrics::ask;
use crate::port;
use crate::wait;

/// Running until it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    _child: Child,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `target`, and keeps exemplars.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn scraping(target: SocketAddr) -> Result<Self> {
        Self::scraping_all(&[target])
    }

    /// The same with several targets.
    ///
    /// # Errors
    /// As of [`Self::scraping`].
    pub fn scraping_all(targets: &[SocketAddr]) -> Result<Self> {
        let targets: Vec<_> = targets.iter().map(|target| format!("'{target}'")).collect();
        let targets = targets.join(", ");
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs: [{{job_name: spanwire, static_configs: [{{targets: [{targets}]}}]}}]\n"
        );
        std::fs::write(&config, text)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port::free()?));
        let mut command = child::command("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage");
        let mut child = Child::spawn(command)?;
        wait::until("Prometheus", || {
            child.ensure_running()?;
            let is_ready = ask(address, "/-/ready", "").is_ok_and(|(status, _)| status == 200);
            Ok(is_ready.then_some(()))
        })?;
        Ok(Self {
            address,
            _child: child,
            _folder: folder,
        })
    }

    /// The series that a query comes to: their labels, and their values.
    ///
    /// # Errors
    /// It is no query.
    pub fn query(&self, query: &str) -> Result<Vec<(Value, f64)>> {
        let data = self.ask("/api/v1/query", query)?;
        let result = data["result"].as_array().context("a result")?;
        let series = result.iter().map(|series| {
            let value = series["value"][1].as_str().context("a value")?.parse()?;
            Ok((series["metric"].clone(), value))
        });
        series.collect()
    }

    /// Waits until a query comes to one series with this value.
    ///
    /// # Errors
    /// It never does; what it last came to is said.
    pub fn settles(&self, query: &str, value: f64) -> Result<()> {
        let mut last = Vec::new();
        wait::until(query, || {
            last = self.query(query)?;
            let is_it = matches!(&*last, [(_, found)] if (found - value).abs() < 1e-9);
            Ok(is_it.then_some(()))
        })
        .with_context(|| format!("expected {value}, last {last:?}"))
    }

    /// Exemplars of a selector.
    ///
    /// # Errors
    /// It is no selector.
    pub fn exemplars(&self, selector: &str) -> Result<Vec<Value>> {
        let data = self.ask("/api/v1/query_exemplars", selector)?;
        let series = data.as_array().context("a list")?;
        let exemplars = series.iter().filter_map(|series| series["exemplars"].as_array());
        Ok(exemplars.flatten().cloned().collect())
    }

    fn ask(&self, path: &str, query: &str) -> Result<Value> {
        let range = "start=0&end=4000000000";
        let path = format!("{path}?query={}&{range}", percent(query));
        let (status, body) = ask(self.address, &path, "")?;
        let body = match body.find('{') {
            Some(start) => &body[start..=body.rfind('}').context("an end")?],
            None => bail!("status {status}: {body}"),
        };
        let answer: Value = serde_json::from_str(&unchunked(body))?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
        Ok(answer["data"].clone())
    }
}

/// Large answers come in chunks: the lengths between them are taken out.
fn unchunked(body: &str) -> String {
    let is_length =
        |line: &&str| !(line.is_empty() || line.len() <= 8 && u32::from_str_radix(line, 16).is_ok());
    body.split("\r\n").filter(is_length).collect()
}

fn percent(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}
