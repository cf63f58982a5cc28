//! The end of Unix connections, which no hook shows everywhere: looked for in `/proc`.

use crate::kernel::events::ConnectionId;
use hashbrown::{HashMap, HashSet};
use std::fs;

/// A Unix connection with something in flight, and who used it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Which.
    pub connection: ConnectionId,
    /// Process.
    pub pid: u32,
    /// Inode of its socket.
    pub inode: u64,
}

/// Those of `suspects` whose socket is gone.
#[must_use]
pub fn gone(suspects: &[Suspect]) -> Vec<&Suspect> {
    // One reading a network namespace would do; a process is a good enough stand-in, as there are few.
    let mut inodes: HashMap<u32, Option<HashSet<u64>>> = HashMap::new();
    suspects
        .iter()
        .filter(|suspect| {
            match inodes
                .entry(suspect.pid)
                .or_insert_with_key(|pid| sockets_seen_by(*pid))
            {
                Some(alive) => !alive.contains(&suspect.inode),
                // The process is gone, and with it, as far as anybody can tell, its sockets.
                None => true,
            }
        })
        .collect()
}

/// Inodes of the Unix sockets in the network namespace of a process; `None` where that is gone.
fn sockets_seen_by(pid: u32) -> Option<HashSet<u64>> {
    Some(parse(&fs::read_to_string(format!("/proc/{pid}/net/unix")).ok()?))
}

/// The column `Inode` of `/proc/net/unix` (net/unix/af_unix.c, `unix_seq_show`).
fn parse(text: &str) -> HashSet<u64> {
    text.lines()
        .skip(1)
        .filter_map(|line| line.split_ascii_whitespace().nth(6)?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_socket_is_gone_once_it_is_closed() {
        let (ours, _peer) = UnixStream::pair().expect("a pair of sockets");
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&ours));
        let inode = fs::metadata(link).expect("our own descriptor").ino();
        let suspect = Suspect {
            connection: ConnectionId { sock: 1, born: 1 },
            pid: std::process::id(),
            inode,
        };
        assert!(gone(&[suspect]).is_empty());
        drop(ours);
        assert_eq!(gone(&[suspect]), [&suspect]);
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        assert_eq!(
            parse("Num RefCount\n\nshort line\n0: 2 0 10000 1 1 4711 @x\n"),
            HashSet::from_iter([4711])
        );
    }
}
