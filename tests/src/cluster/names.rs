//! A name server for pods: as much of DNS (RFC 1035) as a cluster's own needs, in place of CoreDNS.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};

/// The domain of services.
const DOMAIN: &str = ".svc.cluster.local";

/// Length of a header.
const HEADER: usize = 12;

/// Addresses by name in lower case: `service.namespace`.
type Table = Arc<Mutex<HashMap<String, Ipv4Addr>>>;

/// A name server in a thread of its own, for as long as the network is there.
#[derive(Debug)]
pub(super) struct Names(Table);

impl Names {
    /// Listens on port 53 of `address`, in the calling thread's network.
    pub(super) fn serve(address: Ipv4Addr) -> Result<Self> {
        let table = Table::default();
        let socket = UdpSocket::bind((address, 53))?;
        let names = Self(table.clone());
        names.add("kubernetes.default", Ipv4Addr::new(10, 96, 0, 1))?;
        std::thread::spawn(move || {
            let mut question = [0; 512];
            // The cluster's network is gone with the cluster, but not this socket: it ends with the test's process.
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                let answer = answer(&question[..length], &table.lock().expect("no holder panics"));
                if let Some(answer) = answer {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok(names)
    }

    /// Gives `name` (`service.namespace`) an address.
    pub(super) fn add(&self, name: &str, address: Ipv4Addr) -> Result<()> {
        ensure!(name.split('.').count() == 2, "{name} is no service.namespace");
        self.0
            .lock()
            .expect("no holder panics")
            .insert(name.to_owned(), address);
        Ok(())
    }
}

/// The answer to a question of one name; none to what is no question.
fn answer(question: &[u8], table: &HashMap<String, Ipv4Addr>) -> Option<Vec<u8>> {
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
    let name = labels.join(".");
    let found = name.strip_suffix(DOMAIN).and_then(|name| table.get(name));
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
    Some(answer)
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
    fn services_have_addresses_and_other_names_are_none() {
        let table = HashMap::from([("front.shop".to_owned(), Ipv4Addr::new(10, 96, 1, 2))]);
        let asked = |name: &str, kind| {
            let answer = answer(&question(name, kind), &table).expect("an answer");
            (answer[3] & 0xF, answer[7], answer[answer.len() - 4..].to_vec())
        };
        assert_eq!(
            asked("Front.shop.svc.cluster.local", 1),
            (0, 1, vec![10, 96, 1, 2])
        );
        assert_eq!(asked("front.shop.svc.cluster.local", 28).0, 0);
        assert_eq!(asked("front.shop.svc.cluster.local", 28).1, 0);
        assert_eq!(asked("front.shop.spanwire.svc.cluster.local", 1).0, 3);
        assert_eq!(answer(&[0; 12], &table), None);
        assert_eq!(answer(&[0; 11], &table), None);
    }
}
