//! `spanwire status`: asks the running spanwire for its metrics, and shows them to people.

use crate::cli::Exit;
use crate::config::Listen;
use crate::instance;
use crate::metrics::read::{Sample, samples};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest that it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most bytes of an answer: a thousand times what it has without services.
const ANSWER: u64 = 64 << 20;

/// Where systemd's `RuntimeDirectory=spanwire` has the socket of a spanwire that is not root's.
const OF_SERVICE: &str = "/run/spanwire/spanwire.sock";

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The first of these sockets that answers.
    Sockets(Vec<PathBuf>),
    /// A port.
    Tcp(SocketAddr),
}

impl Target {
    /// The one that was named, else the default sockets.
    pub(crate) fn of(address: Option<Listen>) -> Self {
        match address {
            Some(Listen::Tcp(address)) => Self::Tcp(address),
            Some(Listen::Unix(path)) => Self::Sockets(vec![path]),
            None | Some(Listen::Default | Listen::Nowhere) => Self::default(),
        }
    }
}

impl Default for Target {
    /// The default sockets.
    fn default() -> Self {
        Self::Sockets(vec![instance::socket(), OF_SERVICE.into()])
    }
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    /// Nobody is there.
    #[error(
        "no spanwire answers at {0}: start one with `sudo spanwire run`, or name the address that it was given \
         (`--address`)"
    )]
    NotRunning(String),
    /// Somebody is there.
    #[error("cannot ask the spanwire at {address}: {source}{}", hint(.source))]
    Refused {
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// It is there, and does not tell.
    #[error("the spanwire at {address} does not tell: {said}")]
    Untold {
        /// Where.
        address: String,
        /// What it said instead.
        said: String,
    },
    /// It does not answer as spanwire does.
    #[error("what answers at {0} is no spanwire")]
    Stranger(String),
}

impl StatusError {
    /// What a script is told.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::NotRunning(_) => Exit::NotRunning,
            Self::Refused { .. } | Self::Untold { .. } | Self::Stranger(_) => Exit::Failed,
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; it is for its owner alone: try `sudo spanwire status`",
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            "; it hangs, or the host is out of processor time"
        }
        _ => "",
    }
}

/// Runs `spanwire status`: what it is told goes to `out`, what is wrong to `err`.
///
/// # Errors
/// `out` or `err` cannot be written to.
pub fn run(address: Option<Listen>, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    match status(&Target::of(address)) {
        Ok(text) => {
            out.write_all(text.as_bytes())?;
            Ok(Exit::Success)
        }
        Err(error) => {
            writeln!(err, "spanwire: {error}")?;
            Ok(error.exit())
        }
    }
}

/// What the running spanwire tells, as text for people.
///
/// # Errors
/// None runs, or it does not tell.
fn status(target: &Target) -> Result<String, StatusError> {
    let ready = ask(target, "/readyz")?;
    let metrics = ask(target, "/metrics")?;
    let samples: Vec<_> = samples(&metrics.body).collect();
    if !samples.iter().any(|sample| sample.name == "spanwire_build_info") {
        return Err(StatusError::Stranger(metrics.address));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let state = if ready.is_ok { "ready" } else { ready.body.trim() };
    Ok(Shown(&samples).text(state, now.as_secs_f64()))
}

/// What was answered.
pub(crate) struct Answer {
    /// Who answered.
    pub(crate) address: String,
    /// With success.
    pub(crate) is_ok: bool,
    /// What was said.
    pub(crate) body: String,
}

/// Asks for a path.
///
/// # Errors
/// None runs, or it does not answer.
pub(crate) fn ask(target: &Target, path: &str) -> Result<Answer, StatusError> {
    let refused = |address: &str, source| StatusError::Refused {
        address: address.to_owned(),
        source,
    };
    let absent = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        )
    };
    match target {
        Target::Tcp(at) => {
            let address = at.to_string();
            match TcpStream::connect_timeout(at, PATIENCE) {
                Ok(stream) => {
                    let timed = stream.set_read_timeout(Some(PATIENCE));
                    timed.map_err(|error| refused(&address, error))?;
                    exchange(stream, &address, path)
                }
                Err(error) if absent(&error) => Err(StatusError::NotRunning(address)),
                Err(error) => Err(refused(&address, error)),
            }
        }
        Target::Sockets(paths) => {
            for socket in paths {
                let address = socket.display().to_string();
                match UnixStream::connect(socket) {
                    Ok(stream) => {
                        let timed = stream.set_read_timeout(Some(PATIENCE));
                        timed.map_err(|error| refused(&address, error))?;
                        return exchange(stream, &address, path);
                    }
                    Err(error) if absent(&error) => {}
                    Err(error) => return Err(refused(&address, error)),
                }
            }
            let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
            Err(StatusError::NotRunning(paths.join(" or ")))
        }
    }
}

fn exchange(mut stream: impl Read + Write, address: &str, path: &str) -> Result<Answer, StatusError> {
    let failed = |source| StatusError::Refused {
        address: address.to_owned(),
        source,
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: spanwire\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let stranger = || StatusError::Stranger(address.to_owned());
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(stranger)?;
    let status = head.strip_prefix("HTTP/1.1 ").ok_or_else(stranger)?;
    Ok(Answer {
        address: address.to_owned(),
        is_ok: status.starts_with("200 "),
        body: body.to_owned(),
    })
}

/// Samples, as people read them.
struct Shown<'a>(&'a [Sample]);

impl Shown<'_> {
    fn of(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    fn value(&self, name: &str) -> f64 {
        self.of(name).next().map_or(0.0, |sample| sample.value)
    }

    fn text(&self, state: &str, now: f64) -> String {
        let version = self.of("spanwire_build_info").next();
        let version = version
            .and_then(|info| info.labels.get("version"))
            .map_or("?", |version| version);
        let up = (now - self.value("process_start_time_seconds")).max(0.0);
        let cpu = self.value("process_cpu_seconds_total");
        let mut text = format!("spanwire {version}, {state}, up {}\n", duration(up));
        let mut line = |name: &str, said: String| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {name:<12} {said}");
        };
        line(
            "process",
            format!(
                "{cpu:.1} s of CPU ({:.1} % of one), {} resident, {} threads, {} descriptors",
                100.0 * cpu / up.max(1.0),
                bytes(self.value("process_resident_memory_bytes")),
                self.value("process_threads"),
                self.value("process_open_fds"),
            ),
        );
        if self.value("spanwire_pipeline_answers") == 0.0 {
            line(
                "",
                "the pipeline does not answer: what follows is the agent's part alone".to_owned(),
            );
        }
        line("events", self.list("spanwire_events_total", &["kind"]));
        line("spans", self.list("spanwire_spans_total", &["kind"]));
        line("connections", self.list("spanwire_connections_total", &["kind"]));
        line(
            "lost",
            self.list("spanwire_lost_total", &["place", "what", "reason"]),
        );
        for (name, metric, keys) in [
            ("gaps", "spanwire_gaps_total", &["reason"][..]),
            ("cut", "spanwire_cut_total", &["place", "kind"]),
            ("unclaimed", "spanwire_unclaimed_total", &["kind"]),
            ("malformed", "spanwire_malformed_total", &["kind"]),
            ("skipped", "spanwire_skipped_total", &["kind"]),
            ("causality", "spanwire_causality_total", &["kind"]),
            ("sampling", "spanwire_sampling_total", &["kind"]),
            ("propagation", "spanwire_propagation_total", &["place", "kind"]),
            ("routes", "spanwire_routes_total", &["kind"]),
            ("spooled", "spanwire_spool_total", &["kind"]),
        ] {
            if self.of(metric).any(|sample| sample.value > 0.0) {
                line(name, self.list(metric, keys));
            }
        }
        line("processes", self.list("spanwire_processes", &["state"]));
        line(
            "queues",
            self.fills("spanwire_queue_length", "spanwire_queue_capacity"),
        );
        for (name, spans, used, size) in [
            (
                "spool",
                "spanwire_spool_length",
                "spanwire_spool_size_bytes",
                "spanwire_spool_capacity_bytes",
            ),
            (
                "held",
                "spanwire_tail_spans",
                "spanwire_tail_used_bytes",
                "spanwire_tail_size_bytes",
            ),
        ] {
            if self.of(spans).next().is_none() {
                continue;
            }
            line(
                name,
                format!(
                    "{} spans, {} of {}",
                    self.value(spans),
                    bytes(self.value(used)),
                    bytes(self.value(size))
                ),
            );
        }
        line(
            "maps",
            self.fills("spanwire_map_entries", "spanwire_map_capacity"),
        );
        line(
            "ring buffer",
            format!(
                "{} of {}",
                bytes(self.value("spanwire_ring_buffer_used_bytes")),
                bytes(self.value("spanwire_ring_buffer_size_bytes"))
            ),
        );
        let programs = self.of("spanwire_bpf_runs_total").filter_map(|runs| {
            let mut times = self.of("spanwire_bpf_run_time_seconds_total");
            let time = times.find(|time| time.labels == runs.labels)?;
            let nanoseconds = 1e9 * time.value / runs.value.max(1.0);
            let name = runs.labels.get("program")?;
            Some((
                time.value,
                format!("{name} {} runs, {nanoseconds:.0} ns each", runs.value),
            ))
        });
        let mut programs: Vec<_> = programs.collect();
        programs.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        for (number, (_, said)) in programs.into_iter().enumerate() {
            line(if number == 0 { "in kernel" } else { "" }, said);
        }
        text
    }

    /// What is not zero, the labels in front of each value.
    fn list(&self, metric: &str, keys: &[&str]) -> String {
        let some = self.of(metric).filter(|sample| sample.value > 0.0);
        let said: Vec<_> = some
            .map(|sample| {
                let labels = keys.iter().filter_map(|key| sample.labels.get(*key)).cloned();
                format!("{} {}", labels.collect::<Vec<_>>().join(" "), sample.value)
            })
            .collect();
        match said.is_empty() {
            true => "none".to_owned(),
            false => said.join(", "),
        }
    }

    fn fills(&self, used: &str, capacity: &str) -> String {
        let said: Vec<_> = self
            .of(used)
            .map(|sample| {
                let name = sample.labels.get("name").map_or("?", |name| name);
                let of = self
                    .of(capacity)
                    .find(|capacity| capacity.labels == sample.labels);
                format!("{name} {} of {}", sample.value, of.map_or(0.0, |of| of.value))
            })
            .collect();
        match said.is_empty() {
            true => "none".to_owned(),
            false => said.join(", "),
        }
    }
}

fn bytes(value: f64) -> String {
    if value < 1024.0 * 1024.0 {
        format!("{:.1} KiB", value / 1024.0)
    } else {
        format!("{:.1} MiB", value / 1024.0 / 1024.0)
    }
}

fn duration(seconds: f64) -> String {
    // Whole seconds, and never below 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds of uptime"
    )]
    let seconds = seconds as u64;
    match (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    ) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn metrics_are_shown_to_people_and_zeroes_left_out() {
        let text = "\
spanwire_build_info{version=\"0.1.0\"} 1
spanwire_pipeline_answers 1
process_start_time_seconds 1000.0
process_cpu_seconds_total 73.0
process_resident_memory_bytes 33554432
process_threads 4
process_open_fds 60
spanwire_events_total{kind=\"bytes\"} 12
spanwire_events_total{kind=\"gap\"} 0
spanwire_spans_total{place=\"agent\",kind=\"built\"} 6
spanwire_spool_length 7
spanwire_spool_size_bytes 4096
spanwire_spool_capacity_bytes 1048576
spanwire_lost_total{place=\"kernel\",what=\"records\",reason=\"ring_full\"} 3
spanwire_lost_total{place=\"agent\",what=\"spans\",reason=\"queue_full\"} 0
spanwire_cut_total{place=\"agent\",kind=\"heads\"} 0
spanwire_queue_length{name=\"export\"} 5
spanwire_queue_capacity{name=\"export\"} 2048
spanwire_tail_spans 7
spanwire_tail_used_bytes 4096
spanwire_tail_size_bytes 67108864
spanwire_sampling_total{place=\"agent\",kind=\"tail.early.bytes\"} 2
spanwire_ring_buffer_used_bytes{name=\"events\"} 512
spanwire_ring_buffer_size_bytes{name=\"events\"} 8388608
spanwire_bpf_runs_total{program=\"a\"} 1000
spanwire_bpf_runs_total{program=\"b\"} 10
spanwire_bpf_run_time_seconds_total{program=\"a\"} 0.0004
spanwire_bpf_run_time_seconds_total{program=\"b\"} 0.1
";
        let samples: Vec<_> = samples(text).collect();
        assert_eq!(
            Shown(&samples).text("ready", 1000.0 + 7300.0),
            "\
spanwire 0.1.0, ready, up 2 h 1 min
  process      73.0 s of CPU (1.0 % of one), 32.0 MiB resident, 4 threads, 60 descriptors
  events       bytes 12
  spans        built 6
  connections  none
  lost         kernel records ring_full 3
  sampling     tail.early.bytes 2
  processes    none
  queues       export 5 of 2048
  spool        7 spans, 4.0 KiB of 1.0 MiB
  held         7 spans, 4.0 KiB of 64.0 MiB
  maps         none
  ring buffer  0.5 KiB of 8.0 MiB
  in kernel    b 10 runs, 10000000 ns each
               a 1000 runs, 400 ns each
"
        );
    }

    #[test]
    fn nobody_there_is_said_with_what_to_do() {
        let target = Target::Sockets(vec!["/nowhere/a.sock".into(), "/nowhere/b.sock".into()]);
        assert_eq!(
            status(&target).unwrap_err().to_string(),
            "no spanwire answers at /nowhere/a.sock or /nowhere/b.sock: start one with `sudo spanwire run`, or name the \
             address that it was given (`--address`)"
        );
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = status(&Target::Tcp(free)).unwrap_err();
        assert!(matches!(error, StatusError::NotRunning(_)), "{error}");
    }

    #[test]
    fn a_stranger_is_not_taken_for_spanwire() {
        for answer in ["HTTP/1.1 200 OK\r\n\r\nup 1\n", "SSH-2.0-x\r\n", ""] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            thread::spawn(move || {
                for stream in listener.incoming().take(2).flatten() {
                    let mut stream = stream;
                    let _ = stream.read(&mut [0; 1024]);
                    let _ = stream.write_all(answer.as_bytes());
                }
            });
            let error = status(&Target::Tcp(address)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("what answers at {address} is no spanwire")
            );
        }
    }

    #[test]
    fn times_are_told_by_their_two_largest_units() {
        for (seconds, expect) in [
            (0.9, "0 s"),
            (61.0, "1 min 1 s"),
            (7_300.0, "2 h 1 min"),
            (200_000.0, "2 d 7 h"),
        ] {
            assert_eq!(duration(seconds), expect);
        }
    }
}
