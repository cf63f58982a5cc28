//! Which ports of TCP a process listens on: what its network namespace has, and its descriptors hold.

use crate::config::value::PortRange;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Of `net/tcp`, where sockets that listen come first, no more bytes are read.
const MAX_TABLE: u64 = 1 << 20;
/// Most descriptors of a process that are looked at.
const MAX_DESCRIPTORS: usize = 16_384;
/// Network namespaces that are remembered.
const REMEMBERED: usize = 256;
/// For so long. The kernel walks all connections that could be for each reading, which takes milliseconds.
const FRESH: Duration = Duration::from_secs(1);

/// Sockets that listen, as last read, by network namespace.
#[derive(Debug, Default)]
pub(super) struct Tables(Mutex<HashMap<PathBuf, (Instant, Arc<Sockets>)>>);

/// Ports by inode.
type Sockets = HashMap<u64, u16>;

impl Tables {
    /// Somebody has begun to listen: what was read before does not count.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Those of the ports in `wanted` that the process below `folder` (`/proc/PID`) listens on, in order. Where nobody in its
    /// network namespace listens on one of them, its descriptors are not looked at.
    pub(super) fn ports(&self, folder: &Path, wanted: &[PortRange]) -> Vec<u16> {
        let sockets = self.sockets(folder);
        let is_wanted = |port: &u16| {
            wanted
                .iter()
                .any(|range| (range.first..=range.last).contains(port))
        };
        if !sockets.values().any(is_wanted) {
            return Vec::new();
        }
        let descriptors = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
        let mut ports: Vec<u16> = descriptors
            .take(MAX_DESCRIPTORS)
            .filter_map(|descriptor| {
                let target = fs::read_link(descriptor.path()).ok()?;
                let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
                sockets.get(&inode.parse().ok()?).copied().filter(is_wanted)
            })
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    fn sockets(&self, folder: &Path) -> Arc<Sockets> {
        let Ok(namespace) = fs::read_link(folder.join("ns/net")) else {
            return Arc::default();
        };
        let known = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&namespace)
            .cloned();
        if let Some((read, sockets)) = known
            && read.elapsed() < FRESH
        {
            return sockets;
        }
        let now = Instant::now();
        let mut sockets = Sockets::new();
        for table in ["net/tcp", "net/tcp6"] {
            if let Ok(file) = File::open(folder.join(table)) {
                let lines = BufReader::new(file.take(MAX_TABLE)).lines();
                sockets.extend(listening(lines.map_while(Result::ok)));
            }
        }
        let sockets = Arc::new(sockets);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(namespace, (now, Arc::clone(&sockets)));
        sockets
    }
}

/// Inodes and ports of sockets that listen, of a table as proc_net(5) has it. They come before all others (net/ipv4/tcp_ipv4.c,
/// `tcp_get_idx`), so the first other ends it: a busy host has a hundred thousand of these.
fn listening(lines: impl Iterator<Item = String>) -> impl Iterator<Item = (u64, u16)> {
    const TCP_LISTEN: &str = "0A";
    lines.skip(1).map_while(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (_, port) = fields.nth(1)?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (fields.nth(1)? == TCP_LISTEN).then_some(())?;
        // tx_queue:rx_queue, tr:tm->when, retrnsmt, uid, timeout, inode
        Some((fields.nth(5)?.parse().ok()?, port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const ALL: &[PortRange] = &[PortRange {
        first: 1,
        last: u16::MAX,
    }];

    #[test]
    fn this_process_listens_where_it_does_and_nowhere_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("[::1]:0").unwrap();
        let [port, other] = [listener, other].map(|it| (it.local_addr().unwrap().port(), it));
        let own = Path::new("/proc/self");
        let tables = Tables::default();
        let all = tables.ports(own, ALL);
        assert!(all.contains(&port.0) && all.contains(&other.0), "{all:?}");
        let only = PortRange {
            first: port.0,
            last: port.0,
        };
        assert_eq!(tables.ports(own, &[only]), [port.0]);
        drop(port.1);
        assert!(tables.ports(own, &[only]).is_empty());
    }

    #[test]
    fn who_begins_to_listen_is_found_once_that_is_told() {
        let own = Path::new("/proc/self");
        let tables = Tables::default();
        tables.ports(own, ALL);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        tables.forget();
        assert!(tables.ports(own, ALL).contains(&port));
    }

    #[test]
    fn what_listens_comes_first_and_the_rest_is_not_read() {
        let row = |port: &str, state: &str, inode: u32| {
            format!(
                "   0: 0100007F:{port} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 100 0 0 10 0"
            )
        };
        let check = |rows: Vec<String>, expect: &[(u64, u16)]| {
            let lines = std::iter::once("  sl  local_address rem_address   st".to_owned()).chain(rows);
            assert_eq!(listening(lines).collect::<Vec<_>>(), expect);
        };
        check(
            vec![row("1F90", "0A", 7), row("0050", "0A", 8)],
            &[(7, 8080), (8, 80)],
        );
        check(
            vec![row("1F90", "0A", 7), row("C001", "01", 9), row("0050", "0A", 8)],
            &[(7, 8080)],
        );
        check(vec![row("XX", "0A", 7)], &[]);
        check(vec!["cut".into()], &[]);
    }
}
