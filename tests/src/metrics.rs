//! What spanwire tells of itself: scraped, read by series, and checked by Prometheus' own tool.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::child;
use crate::wait;

/// All series of one scrape.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// As it was sent.
    pub text: String,
    series: BTreeMap<String, f64>,
}

/// Asks for a path; status, and body.
///
/// # Errors
/// It is not answered.
pub fn ask(address: SocketAddr, path: &str, fields: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{fields}\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("a head")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, body.to_owned()))
}

impl Scrape {
    /// Scrapes in Prometheus' format.
    ///
    /// # Errors
    /// It is refused.
    pub fn of(address: SocketAddr) -> Result<Self> {
        let (status, text) = ask(address, "/metrics", "")?;
        ensure!(status == 200, "status {status}: {text}");
        let series = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').context("a value")?;
            Ok((series.to_owned(), value.parse()?))
        });
        let series = series.collect::<Result<_>>()?;
        Ok(Self { text, series })
    }

    /// Scrapes until `ready`.
    ///
    /// # Errors
    /// It never is; what was scraped last is said.
    pub fn until(address: SocketAddr, what: &str, ready: impl Fn(&Self) -> bool) -> Result<Self> {
        let mut last = String::new();
        wait::until(what, || {
            let scrape = Self::of(address)?;
            last.clone_from(&scrape.text);
            Ok(ready(&scrape).then_some(scrape))
        })
        .with_context(|| format!("last scraped: {last}"))
    }

    /// Value of one series, as it is written; 0 where there is none.
    #[must_use]
    pub fn value(&self, series: &str) -> f64 {
        self.series.get(series).copied().unwrap_or(0.0)
    }

    /// Sum of all series of a name whose labels have each of `labels` (as they are written: `key="value"`).
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let wanted = |series: &str| {
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.iter().all(|label| rest.contains(label))
        };
        let values = self.series.iter().filter(|(series, _)| wanted(series));
        values.map(|(_, value)| value).sum()
    }

    /// What `promtool check metrics` finds: nothing, where all is as it should be.
    ///
    /// # Errors
    /// There is no promtool.
    pub fn findings(&self) -> Result<String> {
        let mut command = child::command("promtool");
        command.args(["check", "metrics"]);
        let mut promtool = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut input = promtool.stdin.take().context("standard input")?;
        input.write_all(self.text.as_bytes())?;
        drop(input);
        let output = promtool.wait_with_output()?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}
