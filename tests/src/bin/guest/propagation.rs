//! Contexts injected into requests: each has one, and it is that of the span that comes out.

use crate::Verdict;
use crate::agent::{Agent, Start};
use crate::carried;
use crate::http::{Writes, read_response, write};
use crate::spans;
use crate::workload::{CONTEXTS, Server, connect};
use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::BTreeSet;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::{env, fs};

/// Requests of each kind.
pub(crate) const EACH: usize = 20;

/// Requests on a connection whose reads wait in the kernel, of which only the first is injected into.
pub(crate) const WAITING: usize = 3;

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8008);

/// Starts spanwire so that it injects, and compares what clients have sent with the spans.
pub(crate) fn assert(verdict: &mut Verdict) {
    let flags = ["--propagate", "http1,http2,amqp,sql,tcp"];
    let agent = match Agent::start_in(&carried::ENVIRONMENT, &flags) {
        Ok(Start::Ready(agent)) => agent,
        Ok(Start::Refused(said)) => {
            return verdict.assert("injection: start", Err(anyhow::anyhow!("refused: {said}")));
        }
        Err(error) => return verdict.assert("injection: start", Err(error)),
    };
    let refusal = agent
        .said
        .iter()
        .find(|line| line.contains("no context is injected"));
    verdict.assert(
        "injection: works here",
        match refusal {
            Some(said) => Err(anyhow::anyhow!("{said}")),
            None => Ok(()),
        },
    );
    let refusal = agent
        .said
        .iter()
        .find(|line| line.contains("into options of TCP") && !line.contains("has nothing before a send"));
    verdict.assert(
        "options of TCP: work here",
        match refusal {
            Some(said) => Err(anyhow::anyhow!("{said}")),
            None => Ok(()),
        },
    );
    // Where enrolled sockets answer FIONREAD wrongly, by a name that is known not to ask.
    let restrained = is_restrained(&agent);
    println!(
        "     injection: {}",
        if restrained { "into some alone" } else { "into all" }
    );
    let known = asked_by("curl");
    let unknown = asked_by("asker");
    let carried = carried::through(&agent, "curl");
    let ended = agent.stop();
    let (known, unknown, ended) = match (known, unknown, ended) {
        (Ok(known), Ok(unknown), Ok(ended)) => (known, unknown, ended),
        (known, unknown, ended) => {
            verdict.assert("injection: requests", known.and(unknown).map(drop));
            return verdict.assert("injection: ends when it is told to", ended.map(drop));
        }
    };
    verdict.assert("injection: one context in each request", one_each(&known));
    verdict.assert("injection: baggage and ids go on where they can", carried);
    verdict.assert(
        "injection: who may stall is left alone",
        if restrained {
            untouched(&unknown)
        } else {
            one_each(&unknown)
        },
    );
    let all = known.iter().chain(&unknown).filter(|context| !context.is_empty());
    verdict.assert(
        "injection: contexts are those of the spans",
        spans::are_of_clients(&ended, all),
    );
}

/// Whether it leaves those alone who may ask how much there is to be read: this kernel answers that wrongly.
pub(crate) fn is_restrained(agent: &Agent) -> bool {
    let says = |line: &String| line.contains("alone: this kernel answers FIONREAD");
    agent.said.iter().any(says)
}

/// The contexts that the server saw, a text a request, with commas where there were several.
pub(crate) fn asked_by(name: &str) -> Result<Vec<String>> {
    let server = Server::own(&SERVER.to_string(), CONTEXTS)?;
    drop(connect(SERVER)?);
    let program = format!("/tmp/{name}");
    fs::copy(env::current_exe()?, &program)?;
    let mut command = Command::new(program);
    let answer = command
        .args(["ask", &SERVER.to_string(), "-"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {name}"))?;
    server.stop()?;
    if !answer.status.success() {
        bail!("{name}: {}", answer.status);
    }
    let lines = String::from_utf8(answer.stdout)?;
    Ok(lines.lines().map(str::to_owned).collect())
}

/// `guest ask ADDRESS -`: prints each answer.
pub(crate) fn ask(address: &str) -> Result<()> {
    let address: SocketAddr = address.parse()?;
    // spanwire reads who this is when it hears of its start.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let get = |index: usize| format!("GET /asked/{index} HTTP/1.1\r\nHost: guest.test\r\n\r\n");
    let post = |index: usize| {
        let body = "x".repeat(1000 * index);
        format!(
            "POST /asked/{index} HTTP/1.1\r\nHost: guest.test\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let own = "GET /own HTTP/1.1\r\nHost: guest.test\r\nTraceparent: OWN\r\n\r\n";
    let gets = (0..EACH).map(get);
    let posts = (0..EACH).map(post);
    let each: Vec<String> = gets.chain(posts).collect();
    let all = each.concat();
    let waiting: Vec<String> = (0..WAITING).map(get).collect();
    let polled = || Ok::<_, anyhow::Error>(BufReader::new(Polled::connect(address)?));
    answers(polled()?, &each, 1)?;
    answers(polled()?, &[all], each.len())?;
    answers(BufReader::new(connect(address)?), &waiting, 1)?;
    answers(polled()?, &[own.to_owned()], 1)
}

/// Sends each text, which asks for so many answers, and prints them.
fn answers<S: Read + Write>(mut stream: BufReader<S>, texts: &[String], count: usize) -> Result<()> {
    for text in texts {
        write(stream.get_mut(), text.as_bytes(), Writes::Whole)?;
        for _ in 0..count {
            let (status, body) = read_response(&mut stream)?;
            ensure!(status == 200, "{status}");
            println!("{}", String::from_utf8(body)?);
        }
    }
    Ok(())
}

/// A socket that does not block: who uses it waits outside of its calls.
struct Polled(TcpStream);

impl Polled {
    fn connect(address: SocketAddr) -> Result<Self> {
        let stream = connect(address)?;
        stream.set_nonblocking(true)?;
        Ok(Self(stream))
    }

    fn when<T>(
        &mut self,
        ready: PollFlags,
        mut call: impl FnMut(&mut TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match call(&mut self.0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.0, ready)], None)?;
                }
                result => return result,
            }
        }
    }
}

impl Read for Polled {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.when(PollFlags::IN, |stream| stream.read(into))
    }
}

impl Write for Polled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.when(PollFlags::OUT, |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Those on sockets that do not block, and those on one that does. The last is apart: its request has one of its own.
fn apart(contexts: &[String]) -> Result<(&[String], &[String])> {
    ensure!(
        contexts.len() == 4 * EACH + WAITING + 1,
        "{} answers",
        contexts.len()
    );
    let (own, others) = contexts.split_last().context("no answer")?;
    ensure!(own == "OWN", "beside its own: {own}");
    Ok(others.split_at(4 * EACH))
}

fn one_each(contexts: &[String]) -> Result<()> {
    let (polled, waiting) = apart(contexts)?;
    let (first, later) = waiting.split_first().context("it asked")?;
    ensure!(
        later.iter().all(String::is_empty),
        "on a socket that blocks: {later:?}"
    );
    let others: Vec<_> = polled.iter().chain([first]).collect();
    for context in &others {
        let parts: Vec<_> = context.split('-').collect();
        let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
        ensure!(lengths == [2, 32, 16, 2], "{context:?} of {others:?}");
    }
    let distinct: BTreeSet<_> = others.iter().collect();
    ensure!(
        distinct.len() == others.len(),
        "{} of {} are distinct",
        distinct.len(),
        others.len()
    );
    Ok(())
}

fn untouched(contexts: &[String]) -> Result<()> {
    let (polled, waiting) = apart(contexts)?;
    let touched = polled.iter().chain(waiting).find(|context| !context.is_empty());
    ensure!(touched.is_none(), "{touched:?}");
    Ok(())
}
