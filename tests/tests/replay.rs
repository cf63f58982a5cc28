//! `spanwire replay`: captures of real servers and clients, against tshark; the same packets in other clothes; files that
//! are damaged, cut, or something else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use spanwire_tests::capture::{self, Packet, Tap, Told};
use spanwire_tests::child::{self, Child};
use spanwire_tests::http;
use spanwire_tests::replay::{count, read, replay, spans};
use spanwire_tests::service::nginx::Nginx;
use spanwire_tests::service::python;
use spanwire_tests::span::{Kind, Span};
use std::io::Write as _;
use tempfile::TempDir;

fn told(spans: &[Span]) -> Vec<Told> {
    let mut told: Vec<_> = spans
        .iter()
        .map(|span| Told {
            time: span.start,
            method: span.text("http.request.method").unwrap_or_default().to_owned(),
            uri: span.text("url.full").unwrap_or_default().to_owned(),
            status: span.attributes["http.response.status_code"].as_i64().unwrap_or(0),
        })
        .collect();
    told.sort();
    told
}

/// Runs curl with one of its connections for all `urls`.
fn curl(options: &[&str], urls: &[String]) -> Result<()> {
    let mut command = child::command("curl");
    command.args(["-sS", "--no-buffer"]).args(options);
    for url in urls {
        command.args(["-o", "/dev/null", url]);
    }
    Child::spawn(command)?.succeed()?;
    Ok(())
}

/// Requests of every kind to nginx and to Python's server behind it.
fn traffic(nginx: &Nginx, address: SocketAddr) -> Result<()> {
    nginx.file("small", b"hello")?;
    nginx.file("large", &vec![b'x'; 3 << 20])?;
    let url = |path: &str| format!("http://{address}{path}");
    let urls = [
        "/small",
        "/large",
        "/nothing",
        "/broken",
        "/missing?q=1",
        "/small",
    ]
    .map(url);
    curl(&[], &urls)?;
    curl(&["--head"], &["/large", "/small"].map(url))?;
    curl(&["--http1.0"], &["/small"].map(url))?;
    // Answered by an interim response first.
    curl(
        &["-H", "Expect: 100-continue", "--data-binary", &"y".repeat(20_000)],
        &["/proxy/small"].map(url),
    )?;
    curl(&[], &["/proxy/small", "/proxy/", "/proxy/none"].map(url))?;
    curl(&["--limit-rate", "10M"], &["/proxy/large"].map(url))
}

/// The capture that most tests rewrite: loopback's Ethernet, as pcap.
static CAPTURE: LazyLock<Result<(TempDir, PathBuf)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("traffic.pcap");
    let files = tempfile::tempdir()?;
    let proxied = files.path().join("proxy");
    std::fs::create_dir(&proxied)?;
    std::fs::write(proxied.join("small"), "hello")?;
    std::fs::write(proxied.join("large"), vec![b'z'; 1 << 20])?;
    let upstream = python::files(files.path())?;
    let nginx = Nginx::start(Some(upstream.address))?;
    let tap = Tap::start(&file, nginx.service.address.port(), &["-i", "lo"])?;
    traffic(&nginx, nginx.service.address)?;
    tap.stop()?;
    Ok((folder, file))
});

fn captured() -> Result<&'static Path> {
    match &*CAPTURE {
        Ok((_, file)) => Ok(file),
        Err(error) => anyhow::bail!("{error:#}"),
    }
}

fn packets() -> Result<Vec<Packet>> {
    capture::packets(&std::fs::read(captured()?)?)
}

#[test]
fn real_traffic_is_what_tshark_sees() -> Result<()> {
    let file = captured()?;
    let (lines, said) = read(&std::fs::read(file)?)?;
    let spans = spans(&lines)?;
    let expected = capture::exchanges(file)?;
    ensure!(expected.len() == 14, "{expected:#?}");
    let found = told(&spans);
    ensure!(found.len() == expected.len(), "{found:#?}\n{expected:#?}");
    for (found, expected) in found.iter().zip(&expected) {
        // tshark's time is that of the request's last packet.
        let late = expected.time - found.time;
        let expected = Told {
            time: found.time,
            ..expected.clone()
        };
        ensure!(
            *found == expected && late < 100_000_000,
            "{found:#?}\n{expected:#?}"
        );
    }
    for span in &spans {
        ensure!(span.kind == Kind::Client && span.start <= span.end, "{span:?}");
        ensure!(span.resource["service.name"] == "unknown_service", "{span:?}");
    }
    ensure!(count(&said, "replay.messages.requests") == 14, "{said}");
    ensure!(count(&said, "replay.messages.responses") == 14, "{said}");
    ensure!(!said.contains("lost") && !said.contains("gap"), "{said}");
    Ok(())
}

#[test]
fn every_file_format_gives_the_same_bytes() -> Result<()> {
    let file = captured()?;
    let plain = std::fs::read(file)?;
    let (expected, _) = read(&plain)?;
    ensure!(read(&plain)?.0 == expected, "not the same twice");
    let folder = tempfile::tempdir()?;
    for format in ["pcapng", "nsecpcap", "pcap"] {
        let other = folder.path().join(format);
        let mut command = child::command("editcap");
        command.args(["-F", format]).arg(file).arg(&other);
        Child::spawn(command)?.succeed()?;
        let other = std::fs::read(&other)?;
        ensure!(read(&other)?.0 == expected, "{format}");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&other)?;
        ensure!(read(&gzip.finish()?)?.0 == expected, "{format}, compressed");
    }
    let path = file.to_str().context("a path in UTF-8")?;
    let output = replay(&["--output", "otlp-json", path], b"")?;
    ensure!(
        output.stdout == expected.as_bytes() && output.stderr.is_empty(),
        "{output:?}"
    );
    Ok(())
}

/// The same packets with other headers around the IP packet.
#[test]
fn every_link_layer_and_tunnel_gives_the_same_bytes() -> Result<()> {
    let packets = packets()?;
    let (expected, _) = read(&capture::pcap(1, &packets))?;
    let ethernet: &[u8] = b"ddddddssssss\x08\x00";
    let udp = |port: u16, inner: &[u8], head: &[u8]| {
        let length = 8 + head.len() + inner.len();
        let mut packet = vec![0x45, 0];
        packet.extend((20 + length as u16).to_be_bytes());
        packet.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x99, 0x99]);
        packet.extend(port.to_be_bytes());
        packet.extend((length as u16).to_be_bytes());
        [&packet[..], &[0, 0], head, inner].concat()
    };
    type Wrap<'a> = (&'a str, u32, &'a dyn Fn(&[u8]) -> Vec<u8>);
    let wraps: &[Wrap<'_>] = &[
        ("VLAN", 1, &|ip| {
            [b"ddddddssssss\x81\x00\x00\x05\x08\x00", ip].concat()
        }),
        ("QinQ", 1, &|ip| {
            [b"ddddddssssss\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x00", ip].concat()
        }),
        ("NULL", 0, &|ip| [b"\x02\0\0\0", ip].concat()),
        ("LOOP", 108, &|ip| [b"\0\0\0\x02", ip].concat()),
        ("RAW", 101, &|ip| ip.to_vec()),
        ("SLL", 113, &|ip| {
            [b"\0\0\x03\x04\0\x06\0\0\0\0\0\0\0\0\x08\0", ip].concat()
        }),
        ("SLL2", 276, &|ip| {
            [b"\x08\0\0\0\0\0\0\x01\x03\x04\0\x06\0\0\0\0\0\0\0\0", ip].concat()
        }),
        ("VXLAN", 101, &|ip| {
            udp(4789, &[ethernet, ip].concat(), b"\x08\0\0\0\0\0\x07\0")
        }),
        ("Geneve", 101, &|ip| {
            udp(6081, &[ethernet, ip].concat(), b"\0\0\x65\x58\0\0\x07\0")
        }),
        ("Geneve with options", 101, &|ip| {
            udp(6081, ip, b"\x01\0\x08\x00\0\0\x07\0opti")
        }),
    ];
    for (name, link, wrap) in wraps {
        let wrapped: Vec<_> = packets
            .iter()
            // A tunnel's packet is no longer than 64 KiB.
            .flat_map(|packet| halves(packet, 60_000))
            .map(|packet| Packet {
                data: wrap(&packet.data[14..]),
                ..packet
            })
            .collect();
        let (lines, said) = read(&capture::pcap(*link, &wrapped))?;
        ensure!(lines == expected, "{name}: {said}");
    }
    let fragments: Vec<_> = packets
        .iter()
        .flat_map(|packet| fragments(packet, 1400))
        .collect();
    ensure!(fragments.len() > packets.len());
    ensure!(read(&capture::pcap(1, &fragments))?.0 == expected, "fragments");
    Ok(())
}

/// An Ethernet frame of IPv4 and TCP as one or two, the segment cut where it is over `most`.
fn halves(packet: &Packet, most: usize) -> Vec<Packet> {
    let head = 34 + usize::from(packet.data[46] >> 4) * 4;
    if packet.data.len() <= most {
        return vec![packet.clone()];
    }
    let middle = head + (packet.data.len() - head) / 2;
    let first = packet.data[..middle].to_vec();
    let mut second = [&packet.data[..head], &packet.data[middle..]].concat();
    let sequence = u32::from_be_bytes([second[38], second[39], second[40], second[41]]);
    second[38..42].copy_from_slice(&sequence.wrapping_add((middle - head) as u32).to_be_bytes());
    [first, second]
        .into_iter()
        .map(|mut data| {
            let length = (data.len() - 14) as u16;
            data[16..18].copy_from_slice(&length.to_be_bytes());
            Packet {
                data,
                ..packet.clone()
            }
        })
        .collect()
}

/// An Ethernet frame of IPv4 as fragments of `most` bytes at most, the last one first.
fn fragments(packet: &Packet, most: usize) -> Vec<Packet> {
    let (head, payload) = packet.data.split_at(34);
    let count = payload.len().div_ceil(most);
    let parts = payload.chunks(most).enumerate().map(|(index, part)| {
        let mut data = [head, part].concat();
        data[16..18].copy_from_slice(&((20 + part.len()) as u16).to_be_bytes());
        let more = if index + 1 < count { 0x2000 } else { 0 };
        data[20..22].copy_from_slice(&(((index * most / 8) as u16) | more).to_be_bytes());
        Packet {
            data,
            ..packet.clone()
        }
    });
    let mut parts: Vec<_> = parts.collect();
    parts.reverse();
    parts
}

/// The same exchanges whatever order the packets come in, and however often.
#[test]
fn disorder_and_repetition_change_nothing() -> Result<()> {
    let packets = packets()?;
    let (lines, _) = read(&capture::pcap(1, &packets))?;
    let sorted = |lines: &str| -> Result<Vec<String>> {
        let mut all = spans(lines)?;
        for span in &mut all {
            // What was sent twice has the time of whichever comes first.
            span.end = 0;
            span.events.iter_mut().for_each(|(_, time)| *time = 0);
        }
        let mut all: Vec<_> = all.iter().map(|span| format!("{span:?}")).collect();
        all.sort();
        Ok(all)
    };
    let expected = sorted(&lines)?;
    for distance in [1, 2, 5, 8] {
        let (lines, said) = read(&capture::pcap(1, &capture::disordered(&packets, distance)))?;
        for (found, expected) in sorted(&lines)?.iter().zip(&expected) {
            ensure!(found == expected, "{distance}:\n{found}\n{expected}\n{said}");
        }
        ensure!(sorted(&lines)?.len() == expected.len(), "{distance}: {said}");
    }
    let twice = capture::doubled(&packets);
    ensure!(read(&capture::pcap(1, &twice))?.0 == lines, "each packet twice");
    Ok(())
}

/// Whatever packet is missing: no exchange that was not there, and each request is told or counted.
#[test]
fn no_loss_makes_a_wrong_span() -> Result<()> {
    let packets = packets()?;
    let (lines, _) = read(&capture::pcap(1, &packets))?;
    let all: Vec<_> = told(&spans(&lines)?);
    for missing in (0..packets.len()).step_by(7) {
        let mut some = packets.clone();
        some.remove(missing);
        let (lines, said) = read(&capture::pcap(1, &some))?;
        let found = told(&spans(&lines)?);
        for one in &found {
            ensure!(all.contains(one), "without packet {missing}: {one:?}\n{said}");
        }
        ensure!(found.len() + 2 >= all.len(), "without packet {missing}: {said}");
    }
    Ok(())
}

#[test]
fn a_cut_capture_gives_what_was_whole() -> Result<()> {
    let whole = std::fs::read(captured()?)?;
    let (lines, _) = read(&whole)?;
    let all = told(&spans(&lines)?);
    for part in 1..10 {
        // Within a packet's header, so that it is certainly cut.
        let packets = capture::packets(&whole)?;
        let kept = &packets[..packets.len() * part / 10];
        let mut cut = capture::pcap(1, kept);
        cut.extend([1, 2, 3]);
        let (lines, said) = read(&cut)?;
        ensure!(said.contains("cut short"), "{said}");
        ensure!(said.contains(&format!("after {} packets", kept.len())), "{said}");
        let found = told(&spans(&lines)?);
        ensure!(found.iter().all(|one| all.contains(one)), "{found:#?}");
    }
    Ok(())
}

#[test]
fn what_was_not_answered_is_counted() -> Result<()> {
    let packets = packets()?;
    let ports = |packet: &Packet| {
        let [a, b, c, d] = [34, 35, 36, 37].map(|at| packet.data[at]);
        [[a, b], [c, d]].map(u16::from_be_bytes)
    };
    // Servers of tests listen below the range of the clients' ports.
    let from_server = |packet: &Packet| ports(packet)[0] < ports(packet)[1];
    let is_answer = |packet: &Packet| packet.data.windows(7).any(|part| part == b"HTTP/1.");
    let first = packets
        .iter()
        .position(|packet| from_server(packet) && is_answer(packet));
    let (lines, said) = read(&capture::pcap(1, &packets[..first.context("an answer")?]))?;
    ensure!(
        lines.is_empty() && count(&said, "replay.lost.exchanges.unanswered") == 1,
        "{said}"
    );
    let questions: Vec<_> = packets
        .iter()
        .filter(|packet| !from_server(packet))
        .cloned()
        .collect();
    let (lines, said) = read(&capture::pcap(1, &questions))?;
    let lost = count(&said, "lost.exchanges.incomplete") + count(&said, "replay.lost.exchanges.unanswered");
    ensure!(lines.is_empty() && lost == 14, "{said}");
    let answers: Vec<_> = packets
        .iter()
        .filter(|packet| from_server(packet))
        .cloned()
        .collect();
    let (lines, said) = read(&capture::pcap(1, &answers))?;
    ensure!(
        lines.is_empty() && count(&said, "lost.exchanges.response_without_request") > 0,
        "{said}"
    );
    Ok(())
}

#[test]
fn what_cannot_be_read_is_said() -> Result<()> {
    let capture = std::fs::read(captured()?)?;
    let fails = |input: &[u8], status: i32, what: &str| -> Result<()> {
        let output = replay(&["--output", "otlp-json", "-"], input)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(status),
            "{what}: {} {said}",
            output.status
        );
        ensure!(said.contains(what), "{said}");
        Ok(())
    };
    fails(b"", 1, "not a capture")?;
    fails(b"hello, world, this is text", 1, "not a capture")?;
    let mut damaged = capture.clone();
    damaged[24 + 8..24 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    fails(&damaged, 1, "damaged at byte 24")?;
    let packets = capture::packets(&capture)?;
    fails(&capture::pcap(105, &packets), 1, "link type 105")?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&capture)?;
    let mut gzip = gzip.finish()?;
    fails(&gzip[..gzip.len() / 2], 0, "cut short")?;
    let middle = gzip.len() / 2;
    gzip[middle..middle + 64].fill(0x55);
    fails(&gzip, 1, "damaged")?;
    let output = replay(&["/nowhere/at/all.pcap"], b"")?;
    ensure!(
        output.status.code() == Some(1) && !output.stderr.is_empty(),
        "{output:?}"
    );
    ensure!(replay(&[], b"")?.status.code() == Some(2));
    Ok(())
}

#[test]
fn credentials_are_hidden_unless_asked_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("secret.pcap");
    let (listener, address) = spanwire_tests::port::listener()?;
    let _server = http::Server::tcp(listener, |connection| {
        http::serve(connection, |_| Some(http::response(200, b"ok")));
    })?;
    let tap = Tap::start(&file, address.port(), &["-i", "lo"])?;
    let long = "x".repeat(1000);
    curl(&[], &[format!("http://{address}/?sig=secret&x={long}")])?;
    tap.stop()?;
    let file = file.to_str().context("a path in UTF-8")?;
    let hidden = replay(&["--output", "otlp-json", file], b"")?;
    let hidden = String::from_utf8(hidden.stdout)?;
    ensure!(
        hidden.contains("sig=REDACTED") && !hidden.contains("secret"),
        "{hidden}"
    );
    let shown = replay(&["--output", "otlp-json", "--no-redact", file], b"")?;
    let said = String::from_utf8(shown.stderr)?;
    let shown = String::from_utf8(shown.stdout)?;
    ensure!(shown.contains("sig=secret") && shown.contains(&long), "{shown}");
    ensure!(said.matches("--no-redact").count() == 1, "{said}");
    let tree = String::from_utf8(replay(&[file], b"")?.stdout)?;
    ensure!(tree.lines().count() == 1 && tree.contains("GET"), "{tree}");
    ensure!(replay(&["--output", "none", file], b"")?.stdout.is_empty());
    Ok(())
}
