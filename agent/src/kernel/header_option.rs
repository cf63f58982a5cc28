//! Whether this kernel lets a program put options into TCP's headers, found out on sockets of our own.
//!
//! The helpers came with 5.10, and the program is asked only on a cgroup, so it is tried as it is used: a `sock_ops` program on the
//! root puts an option into one SYN, that to a port of ours, and the end that listens shows which SYN came.

use super::bpf::{AttachType, Failure, Instruction, Program, ProgramType, Register};
use super::cgroup::{self, CgroupError};
use spanwire_ebpf::tcp_option::SEARCHED;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use thiserror::Error;

/// Why nothing could be found out, or no option comes.
#[derive(Debug, Error)]
pub enum HeaderOptionError {
    /// The program was refused.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// It has nowhere to be attached.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Not even a pair of loopback sockets.
    #[error("making a pair of loopback TCP sockets: {0}")]
    Sockets(#[from] io::Error),
    /// All was taken, and nothing came of it.
    #[error("the option that was put into a SYN did not arrive")]
    Missing,
}

/// Fields of `struct bpf_sock_ops`, include/uapi/linux/bpf.h.
const OP: i16 = 0;
const REMOTE_PORT: i16 = 64;
/// Values of `op`: a SYN is about to be made, how much room is needed, there is the header.
const CONNECT: i32 = 3;
const LENGTH: i32 = 14;
const WRITE: i32 = 15;
/// `BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG`.
const WRITES: i32 = 1 << 6;
/// Helpers: `sock_ops_cb_flags_set`, `store_hdr_opt` and `reserve_hdr_opt`.
const SET_FLAGS: i32 = 59;
const STORE: i32 = 143;
const RESERVE: i32 = 144;
/// The option: kind, length and identifier.
const BYTES: i32 = 4;

/// Puts an option into a SYN to `port`, and into nothing else.
fn program(port: u16) -> Vec<Instruction> {
    use Register::{R0, R1, R2, R3, R4, R6, R10};
    // As the kernel shows it: network order, in the upper half.
    let port = (u32::from(port.to_be()) << 16).cast_signed();
    // Each asks whether `op` is its own, and jumps over the rest of it where it is not.
    let answers = |op: i32, calls: &[Instruction]| {
        let over = i16::try_from(calls.len()).unwrap_or(i16::MAX);
        [&[Instruction::unless(R2, op, over)], calls].concat()
    };
    let begins = [
        Instruction::copy(R1, R6),
        Instruction::set(R2, WRITES),
        Instruction::call(SET_FLAGS),
        Instruction::set(R0, 1),
        Instruction::exit(),
    ];
    let reserves = [
        Instruction::copy(R1, R6),
        Instruction::set(R2, BYTES),
        Instruction::set(R3, 0),
        Instruction::call(RESERVE),
        Instruction::set(R0, 1),
        Instruction::exit(),
    ];
    let writes = [
        Instruction::store(R10, -8, SEARCHED.cast_signed()),
        Instruction::copy(R1, R6),
        Instruction::copy(R2, R10),
        Instruction::add(R2, -8),
        Instruction::set(R3, BYTES),
        Instruction::set(R4, 0),
        Instruction::call(STORE),
    ];
    let all = [
        answers(CONNECT, &begins),
        answers(LENGTH, &reserves),
        answers(WRITE, &writes),
    ]
    .concat();
    let over = i16::try_from(all.len()).unwrap_or(i16::MAX);
    [
        &[
            Instruction::copy(R6, R1),
            Instruction::load(R2, R6, OP),
            Instruction::load(R3, R6, REMOTE_PORT),
            Instruction::unless(R3, port, over),
        ],
        &all[..],
        &Instruction::constant(1),
    ]
    .concat()
}

/// Tries it: some milliseconds. Leaves nothing behind.
///
/// # Errors
/// What was refused, or did not happen.
pub fn self_test() -> Result<(), HeaderOptionError> {
    let listener = TcpListener::bind("127.0.0.1:0").or_else(|_| TcpListener::bind("[::1]:0"))?;
    let address = listener.local_addr()?;
    save_syn(&listener)?;
    let program = Program::load(
        ProgramType::SockOps,
        AttachType::None,
        0,
        &program(address.port()),
    )?;
    let root = File::open(cgroup::root()?.path)?;
    let link = program.cgroup(root.as_fd(), AttachType::SockOps)?;
    let syn = syn_of(&listener, address);
    drop(link);
    let option = SEARCHED.to_ne_bytes();
    if syn?.windows(option.len()).any(|window| window == option) {
        Ok(())
    } else {
        Err(HeaderOptionError::Missing)
    }
}

/// The SYN with which a connection to ourselves began.
fn syn_of(listener: &TcpListener, address: SocketAddr) -> io::Result<Vec<u8>> {
    let near = TcpStream::connect(address)?;
    loop {
        // Anybody may connect to a port that is open.
        let (far, from) = listener.accept()?;
        if from == near.local_addr()? {
            return saved_syn(&far);
        }
    }
}

/// Longest headers of IP and TCP.
const HEADERS: usize = 60 + 60 + 256;

#[expect(unsafe_code, reason = "no crate that is here knows this option")]
fn save_syn(listener: &TcpListener) -> io::Result<()> {
    let one: libc::c_int = 1;
    // SAFETY: an option that is an int.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVE_SYN,
            (&raw const one).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[expect(unsafe_code, reason = "as above")]
fn saved_syn(accepted: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEADERS];
    let mut length = HEADERS as libc::socklen_t;
    // SAFETY: the buffer is as long as said.
    let result = unsafe {
        libc::getsockopt(
            accepted.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVED_SYN,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    bytes.truncate(length as usize);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_arrives_where_the_kernel_knows_the_helpers() {
        match self_test() {
            Ok(()) => {}
            Err(HeaderOptionError::Refused(failure)) if failure.errno == libc::EPERM => {}
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn without_a_program_there_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        save_syn(&listener).unwrap();
        let syn = syn_of(&listener, listener.local_addr().unwrap()).unwrap();
        let option = SEARCHED.to_ne_bytes();
        assert!(!syn.is_empty() && !syn.windows(4).any(|window| window == option));
    }
}
