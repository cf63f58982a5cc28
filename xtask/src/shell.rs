//! Running other programs: shown before they run, and named when they fail.

use anyhow::{Context as _, Result, bail};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::env;
use std::io::{self, Read as _, stderr, stdout};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// `program arguments…` as one would type it, without the environment.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Shows `command`, runs it to its end with our own output, and fails when it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("  $ {}", line(command));
    run_silently(command)
}

/// As [`run`], for a command whose line says less than what was printed before it.
pub(crate) fn run_silently(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("starting `{}`", line(command)))?;
    for stream in [stdout().as_fd(), stderr().as_fd()] {
        make_blocking(stream)?;
    }
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Has writes to a stream wait for its reader. Who shares it with us may have changed that for both, as Node.js does, and `println!` panics
/// where it cannot write.
fn make_blocking(stream: BorrowedFd<'_>) -> io::Result<()> {
    let flags = fcntl_getfl(stream)?;
    Ok(fcntl_setfl(stream, flags - OFlags::NONBLOCK)?)
}

/// Standard output of `command`; fails with its standard error when it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting `{}`", line(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` ended with {}: {}",
            line(command),
            output.status,
            complaint.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// As [`output`], both streams together, ended after `limit`.
pub(crate) fn output_within(command: &mut Command, limit: Duration) -> Result<String> {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{}`", line(command)))?;
    let streams: Vec<_> = [
        child
            .stdout
            .take()
            .map(|stream| Box::new(stream) as Box<dyn io::Read + Send>),
        child
            .stderr
            .take()
            .map(|stream| Box::new(stream) as Box<dyn io::Read + Send>),
    ]
    .into_iter()
    .flatten()
    .map(|mut stream| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stream.read_to_end(&mut bytes);
            read.map(|_| bytes)
        })
    })
    .collect();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("`{}` was ended after {limit:?}", line(command));
        }
        thread::sleep(Duration::from_millis(20));
    };
    let mut text = String::new();
    for stream in streams {
        let bytes = stream.join().ok().context("a reader of the output died")??;
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    if !status.success() {
        bail!("`{}` ended with {status}: {}", line(command), text.trim());
    }
    Ok(text)
}

/// A command that runs as root: as it is when we are, through sudo otherwise.
pub(crate) fn as_root(program: &str) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    if find("sudo").is_none() {
        bail!("`{program}` must run as root, and there is no sudo: become root and repeat the command");
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Full path of `program`, looked up in PATH and in the folders that hold administrators' programs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(more)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_with_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("why"),
            "{error}"
        );
    }

    #[test]
    fn a_hanging_command_is_ended_at_its_limit() {
        let error = output_within(Command::new("sleep").arg("1000"), Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("was ended after"), "{error}");
    }

    #[test]
    fn output_larger_than_a_pipe_is_read_whole() -> Result<()> {
        let mut command = Command::new("sh");
        command.args(["-c", "head -c 300000 /dev/zero | tr '\\0' x"]);
        assert_eq!(
            output_within(&mut command, Duration::from_secs(60))?.len(),
            300_000
        );
        Ok(())
    }

    #[test]
    fn a_stream_that_another_left_non_blocking_blocks_again() -> Result<()> {
        let (_reader, writer) = rustix::pipe::pipe()?;
        fcntl_setfl(&writer, fcntl_getfl(&writer)? | OFlags::NONBLOCK)?;
        make_blocking(writer.as_fd())?;
        assert!(!fcntl_getfl(&writer)?.contains(OFlags::NONBLOCK));
        Ok(())
    }
}
