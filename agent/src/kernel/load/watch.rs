//! Which processes the kernel half watches, and what follows from that for sockets that are enrolled.

use super::Capture;
use aya::maps::{Array, MapData, MapError};
use spanwire_ebpf::{CONNECTION_PROCESS, CONNECTION_PROTOCOL, propagate, protocol, question};
use std::collections::{BTreeMap, HashSet};

/// Says who is watched.
impl Capture {
    /// Watches all processes but one, or none.
    pub(super) fn watch_all(&mut self, watched: bool, but: u32) -> Result<(), MapError> {
        let all = if watched { u64::MAX } else { 0 };
        for index in 0..self.processes.len() {
            let but = if index == but / 64 { 1 << (but % 64) } else { 0 };
            self.processes.set(index, all & !but, 0)?;
        }
        Ok(())
    }

    /// Watches all processes but one, or those that are named. No bit that stays as it was is another for a moment.
    ///
    /// # Errors
    /// Where the map refuses.
    pub fn watch(&mut self, everything: bool, named: &HashSet<u32>, but: u32) -> Result<(), MapError> {
        if everything {
            return self.watch_all(true, but);
        }
        let mut words = BTreeMap::<u32, u64>::new();
        for pid in named {
            *words.entry(pid / 64).or_default() |= 1 << (pid % 64);
        }
        for index in 0..self.processes.len() {
            self.processes
                .set(index, words.get(&index).copied().unwrap_or(0), 0)?;
        }
        Ok(())
    }

    /// Those of `pids` that are watched.
    #[must_use]
    pub fn watched(&self, pids: &[u32]) -> HashSet<u32> {
        let is_watched = |pid: &u32| is_watched(&self.processes, *pid).unwrap_or(false);
        pids.iter().copied().filter(is_watched).collect()
    }

    /// Takes the sockets out of the sockhash of which the kernel half has found that they carry nothing to inject into, and those
    /// whose process is not watched any more.
    pub fn withdraw(&mut self) {
        let (connections, connectors) = (&self.connections, &self.connectors);
        let (processes, propagates) = (&self.processes, self.propagates);
        // What cannot be read is left as it is.
        let is_watched = |pid: Option<u32>| pid.is_none_or(|pid| is_watched(processes, pid).unwrap_or(true));
        let carries = |sock| match connections.get(&sock, 0).ok() {
            Some(value) => match value[CONNECTION_PROTOCOL] {
                protocol::IGNORED => false,
                protocol::POSTGRES if propagates & propagate::SQL == 0 => false,
                _ => is_watched(process_of(&value)),
            },
            // It has carried nothing yet.
            None => is_watched(connectors.get(&sock, 0).ok()),
        };
        if let Err(error) = self.propagation.withdraw(carries) {
            tracing::debug!("cannot read which sockets are enrolled: {error}");
        }
    }

    /// The process that has connected a socket, if that was enrolled then.
    #[must_use]
    pub fn connector(&self, sock: u64) -> Option<u32> {
        self.connectors.get(&sock, 0).ok()
    }

    /// Asks to be told who begins to listen, or no longer.
    ///
    /// # Errors
    /// Where the map refuses.
    pub fn ask_who_listens(&mut self, asks: bool) -> Result<(), MapError> {
        self.questions.set(question::LISTENS, u32::from(asks), 0)
    }

    /// Watches a process, or no longer. Whether that is new.
    ///
    /// # Errors
    /// Where the map refuses.
    pub fn set_watched(&mut self, pid: u32, watched: bool) -> Result<bool, MapError> {
        let (index, bit) = (pid / 64, 1 << (pid % 64));
        let word = self.processes.get(&index, 0)?;
        let changed = if watched { word | bit } else { word & !bit };
        if changed == word {
            return Ok(false);
        }
        self.processes.set(index, changed, 0).map(|()| true)
    }
}

/// The process that used a connection last, by the kernel half's value.
fn process_of(value: &[u8]) -> Option<u32> {
    let bytes = value.get(CONNECTION_PROCESS..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes)).filter(|pid| *pid != 0)
}

fn is_watched(processes: &Array<MapData, u64>, pid: u32) -> Result<bool, MapError> {
    let word = processes.get(&(pid / 64), 0)?;
    Ok(word & (1 << (pid % 64)) != 0)
}
