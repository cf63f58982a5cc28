//! The system calls that `workloads/peer.c` moves messages by: one list for the live tests on this kernel and for the
//! guests of `cargo xtask test kernels`.

use std::fmt;

/// Exchanges that `peer.c` makes on the connection of one case.
pub const ROUNDS: usize = 2;

/// Two exchanges whose messages `send` sends and `receive` receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    send: &'static str,
    receive: &'static str,
    /// Bytes of each request's body.
    pub request: u64,
    /// Bytes of each response's body.
    pub response: u64,
}

/// Ordinary calls, on every kind of stream socket.
pub const CASES: [Case; 9] = [
    case("write", "read", 100, 3_000_000),
    case("bytewise", "bytewise", 10, 20),
    case("nonblocking", "read", 3_000_000, 3_000_000),
    case("writev", "readv", 100, 20_000),
    case("send", "recv", 4000, 4000),
    case("sendto", "recvfrom", 100, 20_000),
    case("sendmsg", "recvmsg", 300, 20_000),
    case("write", "peek", 300, 20_000),
    case("bytewise", "peek", 10, 20),
];

/// Cases that only TCP has, or that only TCP's hooks see whole.
pub const TCP_CASES: [Case; 4] = [
    case("sendfile", "read", 100, 300_000),
    case("splice", "read", 70_000, 300_000),
    case("zerocopy", "read", 100, 300_000),
    case("write", "truncate", 100, 3000),
];

/// Calls that take several messages are rare on stream sockets, and which of them a hook is run for is not always to be
/// told. Until it is, what is missing is counted.
pub const SEVERAL_MESSAGES: [Case; 2] = [
    case("writev", "recvmmsg", 1, 1),
    case("sendmmsg", "recvmmsg", 300, 20_000),
];

/// A head that is sent from a file by sendfile or splice never was in the sender's memory: seen or counted.
pub const HEADS_FROM_FILES: [Case; 2] = [
    case("sendfile-all", "read", 100, 3000),
    case("splice-all", "read", 100, 3000),
];

/// By calls that `peer.c` knows.
#[must_use]
pub const fn case(send: &'static str, receive: &'static str, request: u64, response: u64) -> Case {
    Case {
        send,
        receive,
        request,
        response,
    }
}

impl Case {
    /// The same with bodies cut to `limit` bytes, for a machine that is emulated.
    #[must_use]
    pub fn at_most(self, limit: u64) -> Self {
        Self {
            request: self.request.min(limit),
            response: self.response.min(limit),
            ..self
        }
    }

    /// What its requests ask for, one a round.
    pub fn targets(self, prefix: &str) -> impl Iterator<Item = String> {
        (1..=ROUNDS).map(move |round| format!("{prefix}/{}/{}/{round}", self.send, self.receive))
    }
}

/// As `peer.c` takes it: `SEND:RECEIVE:REQUEST:RESPONSE`.
impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            send,
            receive,
            request,
            response,
        } = self;
        write!(formatter, "{send}:{receive}:{request}:{response}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_written_as_the_program_reads_it() {
        let case = case("write", "read", 100, 3000).at_most(1000);
        assert_eq!(case.to_string(), "write:read:100:1000");
        assert_eq!(
            case.targets("/p").collect::<Vec<_>>(),
            ["/p/write/read/1", "/p/write/read/2"]
        );
    }
}
