//! One behaviour of a TCP connection each: `near` is the end that may be enrolled, `far` its peer.

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::pipe::SpliceFlags;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::thread;
use std::time::Duration;

/// How long to wait for what should come at once. Only a failure waits that long.
const PATIENCE: Duration = Duration::from_secs(1);
const ROUNDS: u8 = 50;

/// The answer of one trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// As without a sockhash.
    Same,
    /// Otherwise, and how.
    Differs(String),
    /// It fails without a sockhash too, so nothing can be said.
    Unclear(String),
}

impl Trial {
    pub(super) fn against(self, bare: Self) -> Self {
        match bare {
            Self::Same => self,
            Self::Differs(how) | Self::Unclear(how) => Self::Unclear(how),
        }
    }
}

/// A trial: takes both ends, says what went wrong.
pub(super) type Run = fn(TcpStream, TcpStream) -> Result<(), String>;

/// Two ends of one loopback connection, which wait for `PATIENCE` at most.
pub(super) fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").or_else(|_| TcpListener::bind("[::1]:0"))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let own = near.local_addr()?;
    let far = loop {
        // Anybody may connect to a port that is open.
        let (far, from) = listener.accept()?;
        if from == own {
            break far;
        }
    };
    for end in [&near, &far] {
        end.set_read_timeout(Some(PATIENCE))?;
        end.set_write_timeout(Some(PATIENCE))?;
        end.set_nodelay(true)?;
    }
    Ok((near, far))
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

fn words(what: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {error}")
}

fn readable(socket: &TcpStream) -> Result<(), String> {
    let patience = Timespec {
        tv_sec: PATIENCE.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&patience)) {
        Ok(0) => Err(String::from(
            "bytes were sent, but the socket did not become readable",
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("poll: {error}")),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "all trials have one signature, most close an end"
)]
pub(super) fn fionread(near: TcpStream, mut far: TcpStream) -> Result<(), String> {
    const SENT: usize = 4096;
    far.write_all(&pattern(SENT)).map_err(words("the peer's write"))?;
    // What a write of one segment's size sends on loopback arrives in one piece.
    readable(&near)?;
    match rustix::io::ioctl_fionread(&near) {
        Ok(count) if count == SENT as u64 => Ok(()),
        Ok(count) => Err(format!("FIONREAD says {count} with {SENT} bytes readable")),
        Err(error) => Err(format!("FIONREAD: {error}")),
    }
}

/// Rounds of one message there and one back; a wake-up that is lost ends them.
pub(super) fn edge_triggered(mut near: TcpStream, mut far: TcpStream) -> Result<(), String> {
    let failed = words("epoll");
    near.set_nonblocking(true).map_err(&failed)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    let interest = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&epoll, &near, epoll::EventData::new_u64(0), interest)
        .map_err(|error| failed(error.into()))?;
    let peer = thread::spawn(move || -> io::Result<()> {
        for round in 0..ROUNDS {
            far.write_all(&[round; 100])?;
            far.read_exact(&mut [0])?;
        }
        Ok(())
    });
    let rounds = (0..ROUNDS).try_for_each(|round| {
        let mut left = 100;
        while left > 0 {
            let mut events = [epoll::Event {
                flags: interest,
                data: epoll::EventData::new_u64(0),
            }];
            let patience = Timespec {
                tv_sec: PATIENCE.as_secs().cast_signed(),
                tv_nsec: 0,
            };
            let woken = epoll::wait(&epoll, events.as_mut_slice(), Some(&patience));
            if woken.map_err(|error| failed(error.into()))? == 0 {
                return Err(format!("no wake-up for message {} of {ROUNDS}", round + 1));
            }
            // To the end, as edge-triggered readers do.
            let mut bytes = [0; 100];
            loop {
                match near.read(&mut bytes) {
                    Ok(count)
                        if count > 0 && bytes[..count].iter().all(|&byte| byte == round) && count <= left =>
                    {
                        left -= count;
                    }
                    Ok(_) => return Err(format!("wrong bytes in message {}", round + 1)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(words("read")(error)),
                }
            }
        }
        near.write_all(&[1]).map_err(words("write"))
    });
    drop(near);
    // The peer ends by its own time limit where the rounds have ended early.
    let peer = peer
        .join()
        .map_err(|_| String::from("the peer's thread ended early"))?;
    rounds?;
    peer.map_err(words("the peer"))
}

pub(super) fn half_close(mut near: TcpStream, mut far: TcpStream) -> Result<(), String> {
    near.shutdown(Shutdown::Write).map_err(words("shutdown"))?;
    match far.read(&mut [0]) {
        Ok(0) => {}
        Ok(_) => return Err(String::from("bytes that nobody sent")),
        Err(error) => return Err(words("the peer does not see the end")(error)),
    }
    let late = pattern(1000);
    far.write_all(&late).map_err(words("the peer's write after it"))?;
    drop(far);
    ends_with(&mut near, &late)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "all trials have one signature, most close an end"
)]
pub(super) fn splice(near: TcpStream, mut far: TcpStream) -> Result<(), String> {
    let sent = pattern(4096);
    let (mut out, mut into) = io::pipe().map_err(words("pipe"))?;
    let splice_all = |from: BorrowedFd<'_>, to: BorrowedFd<'_>| {
        let mut left = sent.len();
        while left > 0 {
            match rustix::pipe::splice(from, None, to, None, left, SpliceFlags::empty()) {
                Ok(0) => return Err(format!("splice ended {left} bytes early")),
                Ok(count) => left -= count.min(left),
                Err(error) => return Err(format!("splice: {error}")),
            }
        }
        Ok(())
    };
    far.write_all(&sent).map_err(words("the peer's write"))?;
    splice_all(near.as_fd(), into.as_fd())?;
    let mut received = vec![0; sent.len()];
    out.read_exact(&mut received)
        .map_err(words("read from the pipe"))?;
    if received != sent {
        return Err(String::from("splice out of the socket changes bytes"));
    }
    into.write_all(&sent).map_err(words("write to the pipe"))?;
    splice_all(out.as_fd(), near.as_fd())?;
    received.fill(0);
    far.read_exact(&mut received)
        .map_err(words("the peer's read of what was spliced"))?;
    if received == sent {
        Ok(())
    } else {
        Err(String::from("splice into the socket changes bytes"))
    }
}

pub(super) fn data_then_end(mut near: TcpStream, mut far: TcpStream) -> Result<(), String> {
    let sent = pattern(30_000);
    far.write_all(&sent).map_err(words("the peer's write"))?;
    drop(far);
    ends_with(&mut near, &sent)
}

pub(super) fn bytes(mut near: TcpStream, mut far: TcpStream) -> Result<(), String> {
    let sent = pattern(300_000);
    let expected = sent.clone();
    let writer = thread::spawn(move || -> io::Result<()> {
        let mut rest = sent.as_slice();
        let mut size = 1;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(size.min(rest.len()));
            near.write_all(now)?;
            rest = later;
            size = size * 3 + 1;
        }
        Ok(())
    });
    let read = ends_with(&mut far, &expected);
    drop(far);
    let written = writer
        .join()
        .map_err(|_| String::from("the writing thread ended early"))?;
    read?;
    written.map_err(words("write"))
}

fn ends_with(socket: &mut TcpStream, expected: &[u8]) -> Result<(), String> {
    let mut received = Vec::with_capacity(expected.len());
    socket
        .read_to_end(&mut received)
        .map_err(|error| format!("after {} of {} bytes: {error}", received.len(), expected.len()))?;
    match received == expected {
        true => Ok(()),
        false if received.len() == expected.len() => Err(String::from("bytes are changed")),
        false => Err(format!(
            "{} of {} bytes arrive before the end",
            received.len(),
            expected.len()
        )),
    }
}
