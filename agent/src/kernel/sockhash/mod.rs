//! What happens to a socket that is put into a sockhash, found out on sockets of our own.
//!
//! Injection enrols client sockets in a sockhash with an `sk_msg` program. On kernels with commit 929e30f93125
//! such a socket answers 0 to `ioctl(FIONREAD)` while bytes wait, and programs that ask (nginx, Java, .NET) stall.
//! The range of kernels is not to be told by version, so each behaviour is tried at start.

mod trial;

use super::bpf::{AttachType, Failure, Instruction, Map, MapType, Program, ProgramType};
use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use thiserror::Error;

pub use trial::Trial;

/// `SK_PASS`: the verdict that lets the bytes go on as they are.
const PASS: i32 = 1;

/// Why nothing could be found out.
#[derive(Debug, Error)]
pub enum SockhashError {
    /// No sockhash, or no program on it.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// Not even a pair of loopback sockets.
    #[error("making a pair of loopback TCP sockets: {0}")]
    Sockets(#[from] io::Error),
}

/// How an enrolled socket differs from one that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// `ioctl(FIONREAD)` counts the bytes that wait. Where not, what asks for that count must not be enrolled.
    pub fionread: Trial,
    /// Each arrival wakes an edge-triggered `epoll_wait`.
    pub edge_triggered: Trial,
    /// One direction shut down, the other goes on.
    pub half_close: Trial,
    /// `splice` into a pipe and out of one.
    pub splice: Trial,
    /// Bytes that come together with the peer's close are read in full, then the end.
    pub data_then_end: Trial,
    /// What is sent through the program arrives unchanged.
    pub bytes: Trial,
}

impl Behaviour {
    /// Whether a process that never asks for FIONREAD may be enrolled.
    #[must_use]
    pub fn harmless(&self) -> bool {
        [
            &self.edge_triggered,
            &self.half_close,
            &self.splice,
            &self.data_then_end,
            &self.bytes,
        ]
        .into_iter()
        .all(|trial| *trial == Trial::Same)
    }

    fn observe(enrol: impl Fn(&TcpStream) -> Result<(), Failure>) -> Result<Self, SockhashError> {
        let attempt = |run: trial::Run| -> Result<Trial, SockhashError> {
            let (near, far) = trial::pair()?;
            enrol(&near)?;
            Ok(run(near, far).map_or_else(Trial::Differs, |()| Trial::Same))
        };
        Ok(Self {
            fionread: attempt(trial::fionread)?,
            edge_triggered: attempt(trial::edge_triggered)?,
            half_close: attempt(trial::half_close)?,
            splice: attempt(trial::splice)?,
            data_then_end: attempt(trial::data_then_end)?,
            bytes: attempt(trial::bytes)?,
        })
    }

    /// Takes what fails without a sockhash too out of the answer.
    fn against(self, bare: Self) -> Self {
        Self {
            fionread: self.fionread.against(bare.fionread),
            edge_triggered: self.edge_triggered.against(bare.edge_triggered),
            half_close: self.half_close.against(bare.half_close),
            splice: self.splice.against(bare.splice),
            data_then_end: self.data_then_end.against(bare.data_then_end),
            bytes: self.bytes.against(bare.bytes),
        }
    }
}

/// Tries everything on loopback sockets, first bare and then in a sockhash with a program that lets all pass:
/// some ten milliseconds where all is well, a few seconds at most where not. Leaves nothing behind.
pub fn self_test() -> Result<Behaviour, SockhashError> {
    let program = Program::load(
        ProgramType::SkMsg,
        AttachType::SkMsgVerdict,
        0,
        &Instruction::constant(PASS),
    )?;
    let map = Map::create(MapType::SockHash, 4, 4, 1)?;
    program.verdict(&map, AttachType::SkMsgVerdict)?;
    let bare = Behaviour::observe(|_| Ok(()))?;
    let enrolled = Behaviour::observe(|socket| map.enrol(0, socket.as_fd()))?;
    Ok(enrolled.against(bare))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Commit 929e30f93125 brought `tcp_bpf_ioctl`: without that function FIONREAD is TCP's own, and right.
    #[test]
    fn fionread_differs_only_where_the_kernel_answers_it_otherwise() {
        let behaviour = match self_test() {
            Ok(behaviour) => behaviour,
            Err(SockhashError::Refused(failure)) if failure.errno == libc::EPERM => return,
            Err(error) => panic!("{error}"),
        };
        let own = fs::read_to_string("/proc/kallsyms")
            .unwrap()
            .contains(" tcp_bpf_ioctl");
        assert!(own || behaviour.fionread == Trial::Same, "{behaviour:?}");
        assert!(behaviour.harmless(), "{behaviour:?}");
    }

    /// Each trial sees the fault that it is there for.
    #[test]
    fn a_socket_that_loses_bytes_is_noticed() {
        let closed = |run: trial::Run| {
            let (near, far) = trial::pair().unwrap();
            near.shutdown(std::net::Shutdown::Both).unwrap();
            run(near, far)
        };
        for run in [
            trial::fionread,
            trial::edge_triggered,
            trial::splice,
            trial::data_then_end,
            trial::bytes,
        ] {
            assert!(closed(run).is_err());
        }
        let (near, far) = trial::pair().unwrap();
        far.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(trial::half_close(near, far).is_err());
    }

    #[test]
    fn what_fails_without_a_sockhash_is_no_finding() {
        let differs = || Trial::Differs(String::from("late"));
        assert_eq!(differs().against(Trial::Same), differs());
        assert_eq!(
            Trial::Same.against(differs()),
            Trial::Unclear(String::from("late"))
        );
    }
}
