//! Capture files: made by tcpdump on the loopback interface, read by tshark as an oracle, and rewritten packet by packet.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::child::{self, Child};

/// tcpdump at work.
#[derive(Debug)]
pub struct Tap {
    child: Child,
}

impl Tap {
    /// Captures what goes to or comes from `port` into `file`; `options` beside.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub fn start(file: &Path, port: u16, options: &[&str]) -> Result<Self> {
        let mut command = child::command("tcpdump");
        command.args(["-Z", "root", "-U", "--immediate-mode"]);
        // In this mode each packet takes as much of the buffer as the longest could: some 3,600 of them fit.
        command.args(["-s", "70000", "-B", "262144"]);
        command.args(options).arg("-w").arg(file);
        command.args(["port", &port.to_string()]);
        let mut child = Child::spawn(command)?;
        child.error_line("tcpdump: listening on")?;
        Ok(Self { child })
    }

    /// Stops once nothing more has come for a moment.
    ///
    /// # Errors
    /// tcpdump failed, or dropped packets.
    pub fn stop(mut self) -> Result<()> {
        std::thread::sleep(std::time::Duration::from_millis(300));
        self.child.signal(Signal::INT)?;
        self.child.wait()?;
        let text = self.child.text();
        ensure!(text.contains("\n0 packets dropped by kernel"), "{text}");
        Ok(())
    }
}

/// An HTTP exchange as tshark tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// Time of the packet in which the request ends, in nanoseconds since the epoch.
    pub time: u64,
    /// Request method.
    pub method: String,
    /// Full URI of the request.
    pub uri: String,
    /// Status of the response.
    pub status: i64,
}

/// A command that reads `file` with tshark.
pub fn tshark(file: &Path) -> Command {
    let mut command = child::command("tshark");
    // On a busy machine the loopback interface shows segments in another order than they were sent.
    command
        .args(["-o", "tcp.reassemble_out_of_order:TRUE", "-r"])
        .arg(file);
    command
}

/// All HTTP/1 exchanges of `file` whose response is there, in order.
///
/// # Errors
/// tshark fails, or says something else than what it is asked.
pub fn exchanges(file: &Path) -> Result<Vec<Told>> {
    let mut command = tshark(file);
    command.args(["-Y", "http.request || http.response", "-T", "fields"]);
    for field in [
        "frame.number",
        "frame.time_epoch",
        "http.request.method",
        "http.request.full_uri",
        "http.response.code",
        "http.request_in",
    ] {
        command.args(["-e", field]);
    }
    let mut requests = std::collections::BTreeMap::new();
    let mut told = Vec::new();
    for line in Child::spawn(command)?.succeed()? {
        let fields: Vec<_> = line.split('\t').collect();
        let [frame, time, method, uri, status, request] = fields[..] else {
            anyhow::bail!("{line}");
        };
        if status.is_empty() {
            let (seconds, fraction) = time.split_once('.').context("a time")?;
            let time = seconds.parse::<u64>()? * 1_000_000_000 + fraction.parse::<u64>()?;
            requests.insert(frame.to_owned(), (time, method.to_owned(), uri.to_owned()));
        } else if !status.starts_with('1')
            && let Some((time, method, uri)) = requests.get(request).cloned()
        {
            let status = status.parse()?;
            told.push(Told {
                time,
                method,
                uri,
                status,
            });
        }
    }
    told.sort();
    Ok(told)
}

/// A packet of a pcap file.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Seconds and microseconds.
    pub time: [u32; 2],
    /// The frame.
    pub data: Vec<u8>,
}

/// The packets of a little-endian pcap file, as tcpdump writes it here of loopback; what TCP has sent twice once only: a busy
/// machine does that, and where the first is taken out, the second is not lost, but later.
///
/// # Errors
/// It is something else.
pub fn packets(file: &[u8]) -> Result<Vec<Packet>> {
    ensure!(file.starts_with(&0xa1b2_c3d4_u32.to_le_bytes()), "no pcap");
    let mut rest = &file[24..];
    let (mut packets, mut sent) = (Vec::new(), HashSet::new());
    while let Some((head, behind)) = rest.split_first_chunk::<16>() {
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = number(8) as usize;
        let data = behind[..length].to_vec();
        if payload(&data).is_none_or(|payload| sent.insert(payload)) {
            let time = [number(0), number(4)];
            packets.push(Packet { time, data });
        }
        rest = &behind[length..];
    }
    Ok(packets)
}

/// What tells the payload of a TCP segment over Ethernet and IPv4 from all others of a short capture: the ports and the
/// sequence number, and its length. `None` where there is none, and of other packets.
fn payload(frame: &[u8]) -> Option<([u8; 8], usize)> {
    let (tcp, payload) = segment(frame)?;
    (payload > 0).then_some((*tcp.first_chunk()?, payload))
}

/// A TCP segment over Ethernet and IPv4, with the length of its payload. `None` of other packets.
fn segment(frame: &[u8]) -> Option<(&[u8], usize)> {
    const ETHERNET: usize = 14;
    let ip = frame.get(ETHERNET..)?;
    let is_tcp = frame[12..ETHERNET] == [8, 0] && *ip.get(9)? == 6;
    let tcp = ip.get(usize::from(ip[0] & 15) * 4..)?;
    let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let headers = ip.len() - tcp.len() + usize::from(*tcp.get(12)? >> 4) * 4;
    let payload = length.checked_sub(headers)?;
    is_tcp.then_some((tcp, payload))
}

/// Whether `packets` begin in the middle of a connection: it carries something before another begins.
#[must_use]
pub fn begin_amid_a_connection(packets: &[Packet]) -> bool {
    const SYN: u8 = 2;
    let told = packets.iter().find_map(|packet| {
        let (tcp, payload) = segment(&packet.data)?;
        let begins = tcp.get(13)? & SYN != 0;
        (begins || payload > 0).then_some(!begins)
    });
    told.unwrap_or(false)
}

impl Packet {
    /// When it was captured, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn nanoseconds(&self) -> u64 {
        let [seconds, microseconds] = self.time.map(u64::from);
        seconds * 1_000_000_000 + microseconds * 1000
    }
}

/// A pcap file of `packets`, whose link type is `link`.
#[must_use]
pub fn pcap(link: u32, packets: &[Packet]) -> Vec<u8> {
    let mut file = Vec::new();
    for number in [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 262_144, link] {
        file.extend(number.to_le_bytes());
    }
    for packet in packets {
        let length = packet.data.len() as u32;
        for number in [packet.time[0], packet.time[1], length, length] {
            file.extend(number.to_le_bytes());
        }
        file.extend(&packet.data);
    }
    file
}

/// Rounds of [`thinned`].
pub const ROUNDS: u32 = 16;

/// `packets` without some: in the first half of [`ROUNDS`] about one is missing, in the second one in ten.
#[must_use]
pub fn thinned(packets: &[Packet], round: u32) -> Vec<Packet> {
    let chance = if round < ROUNDS / 2 {
        packets.len() as u64
    } else {
        10
    };
    let is_lost = |at: usize| {
        let number = (at as u64 + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(round);
        (number >> 32).is_multiple_of(chance)
    };
    let some = packets.iter().enumerate().filter(|(at, _)| !is_lost(*at));
    some.map(|(_, packet)| packet.clone()).collect()
}

/// `packets` out of order, by at most `distance` places.
#[must_use]
pub fn disordered(packets: &[Packet], distance: usize) -> Vec<Packet> {
    let mut mixed: Vec<_> = packets.iter().cloned().enumerate().collect();
    mixed.sort_by_key(|(index, _)| index + (index * 7919 % 13) * distance / 13);
    mixed.into_iter().map(|(_, packet)| packet).collect()
}

/// Each of `packets` twice.
#[must_use]
pub fn doubled(packets: &[Packet]) -> Vec<Packet> {
    let twice = packets.iter().flat_map(|packet| [packet.clone(), packet.clone()]);
    twice.collect()
}
