//! A name server: as much of DNS (RFC 1035) as resolvers of programs under test need.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

/// Length of a header.
const HEADER: usize = 12;

/// How long a question is waited for until it is looked whether there is to be an end.
const TICK: Duration = Duration::from_millis(100);

/// Addresses by name in lower case.
type Table = Arc<Mutex<HashMap<String, Ipv4Addr>>>;

/// A name server in a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    table: Table,
    known: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Listens on port 53 of `address`, where alone resolvers ask, in the calling thread's network.
    ///
    /// # Errors
    /// It is no address of ours, or somebody else listens there.
    pub fn serve(address: Ipv4Addr) -> Result<Self> {
        let socket = UdpSocket::bind((address, 53)).with_context(|| format!("port 53 of {address}"))?;
        socket.set_read_timeout(Some(TICK))?;
        let (table, known, stop) = (
            Table::default(),
            Arc::<AtomicUsize>::default(),
            Arc::<AtomicBool>::default(),
        );
        let thread = std::thread::spawn({
            let (table, known, stop) = (Arc::clone(&table), Arc::clone(&known), Arc::clone(&stop));
            let socket = socket.try_clone()?;
            move || {
                let mut question = [0; 512];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, from)) = socket.recv_from(&mut question) else {
                        continue;
                    };
                    let found = answer(&question[..length], &table.lock().expect("no holder panics"));
                    if let Some((answer, is_known)) = found {
                        known.fetch_add(usize::from(is_known), Ordering::Relaxed);
                        let _ = socket.send_to(&answer, from);
                    }
                }
            }
        });
        Ok(Self {
            address: socket.local_addr()?,
            table,
            known,
            stop,
            thread: Some(thread),
        })
    }

    /// Gives `name` an address.
    pub fn add(&self, name: &str, address: Ipv4Addr) {
        let mut table = self.table.lock().expect("no holder panics");
        table.insert(name.to_lowercase(), address);
    }

    /// How often it was asked for a name that it knows.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.known.load(Ordering::Relaxed)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The answer to a question of one name, and whether that is known; none to what is no question.
fn answer(question: &[u8], table: &HashMap<String, Ipv4Addr>) -> Option<(Vec<u8>, bool)> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let end = at + 4;
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let found = table.get(&labels.join("."));
    // A name that is there has no address of version 6; one that is not is no name.
    let code = if found.is_some() { 0 } else { 3 };
    let address = found.filter(|_| kind == 1);
    let mut answer = question.get(..end)?.to_vec();
    // A response, authoritative, recursion as asked for and available.
    answer[2] = 0x84 | (question[2] & 1);
    answer[3] = 0x80 | code;
    // One question, an answer or none, nothing else.
    answer[4..HEADER].copy_from_slice(&[0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    if let Some(address) = address {
        // The question's name, A, IN, 5 s, 4 bytes.
        answer.extend([0xC0, 0x0C, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        answer.extend(address.octets());
    }
    Some((answer, found.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, kind: u8) -> Vec<u8> {
        let mut bytes = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).expect("a short label"));
            bytes.extend(label.as_bytes());
        }
        bytes.extend([0, 0, kind, 0, 1]);
        bytes
    }

    #[test]
    fn names_that_are_known_have_addresses_and_others_are_none() {
        let name = "front.shop.svc.cluster.local";
        let table = HashMap::from([(name.to_owned(), Ipv4Addr::new(10, 96, 1, 2))]);
        let asked = |name: &str, kind| {
            let (answer, is_known) = answer(&question(name, kind), &table).expect("an answer");
            let address = answer[answer.len() - 4..].to_vec();
            (answer[3] & 0xF, answer[7], is_known, address)
        };
        let known = (0, 1, true, vec![10, 96, 1, 2]);
        assert_eq!(asked("Front.shop.svc.cluster.local", 1), known);
        let (code, answers, is_known, _) = asked(name, 28);
        assert_eq!((code, answers, is_known), (0, 0, true));
        let (code, answers, is_known, _) = asked("front.shop.spanwire.svc.cluster.local", 1);
        assert_eq!((code, answers, is_known), (3, 0, false));
        assert_eq!(answer(&[0; 12], &table), None);
        assert_eq!(answer(&[0; 11], &table), None);
    }
}
