//! Packets of both versions, with extension headers, fragmented, tunnelled, cut.

use super::*;
use etherparse::PacketBuilder;
use proptest::prelude::*;

const DATA: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn v4() -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1000, 80, 7, 512)
        .write(&mut packet, DATA)
        .expect("a packet");
    packet
}

fn v6() -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv6([1; 16], [2; 16], 64)
        .tcp(1000, 80, 7, 512)
        .write(&mut packet, DATA)
        .expect("a packet");
    packet
}

/// An IPv6 packet with `headers` before what it carries; `first` is the kind of the first of them.
fn extended(first: u8, headers: &[u8]) -> Vec<u8> {
    let mut packet = v6();
    let length = (packet.len() - 40 + headers.len()) as u16;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet[6] = first;
    packet.splice(40..40, headers.iter().copied());
    packet
}

/// `inner` in a UDP datagram to `port`, over IPv4.
fn udp(port: u16, head: &[u8], inner: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([172, 16, 0, 1], [172, 16, 0, 2], 64)
        .udp(50_000, port)
        .write(&mut packet, &[head, inner].concat())
        .expect("a packet");
    packet
}

/// The segments of packets that come one after the other, or why there is none: the two ends, the data, and how much of
/// it is cut.
fn segments(packets: &[Vec<u8>]) -> Vec<String> {
    let mut fragments = Fragments::default();
    let mut lines = Vec::new();
    for packet in packets {
        let mut found = None;
        let result = segment(packet, 0, &mut fragments, &mut |it| {
            let data = it.tcp.payload().escape_ascii();
            found = Some(format!("{} {} {data}+{}", it.source, it.destination, it.cut));
        });
        lines.push(found.unwrap_or_else(|| format!("{result:?}")));
    }
    lines
}

fn check(packet: Vec<u8>, expect: &str) {
    assert_eq!(segments(&[packet]), [expect]);
}

fn data() -> String {
    DATA.escape_ascii().to_string()
}

#[test]
fn both_versions_with_and_without_extensions() {
    let v4_expect = format!("10.0.0.1:1000 10.0.0.2:80 {}+0", data());
    let v6_expect = format!(
        "[101:101:101:101:101:101:101:101]:1000 [202:202:202:202:202:202:202:202]:80 {}+0",
        data()
    );
    check(v4(), &v4_expect);
    check(v6(), &v6_expect);
    // Padding of a short frame.
    check([v4(), vec![0; 9]].concat(), &v4_expect);
    // Hop-by-hop options, then destination options, then TCP.
    check(
        extended(0, &[60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]),
        &v6_expect,
    );
    // Routing; a fragment header of a packet that is none.
    check(extended(43, &[6, 0, 4, 0, 0, 0, 0, 0]), &v6_expect);
    check(extended(44, &[6, 0, 0, 0, 0, 0, 0, 9]), &v6_expect);
    // The length left to the hardware.
    let mut offloaded = v4();
    offloaded[2..4].fill(0);
    check(offloaded, &v4_expect);
}

#[test]
fn tunnels_come_off() {
    let expect = format!("10.0.0.1:1000 10.0.0.2:80 {}+0", data());
    let ethernet = [b"ddddddssssss\x08\x00".as_slice(), &v4()].concat();
    check(udp(4789, b"\x08\0\0\0\0\0\x07\0", &ethernet), &expect);
    check(udp(8472, b"\x08\0\0\0\0\0\x07\0", &ethernet), &expect);
    check(udp(6081, b"\0\0\x65\x58\0\0\x07\0", &ethernet), &expect);
    check(udp(6081, b"\x02\0\x08\x00\0\0\x07\0optional", &v4()), &expect);
    check(udp(4789, b"\0\0\0\0\0\0\x07\0", &ethernet), "Err(NotTcp)");
    check(udp(53, b"", &ethernet), "Err(NotTcp)");
    let twice = udp(4789, b"\x08\0\0\0\0\0\x07\0", &ethernet);
    let twice = [b"ddddddssssss\x08\x00".as_slice(), &twice].concat();
    check(udp(4789, b"\x08\0\0\0\0\0\x07\0", &twice), &expect);
}

#[test]
fn what_was_not_captured_is_known_by_its_length() {
    let packet = v4();
    let cut = packet[..packet.len() - 5].to_vec();
    let left = DATA[..DATA.len() - 5].escape_ascii();
    check(cut, &format!("10.0.0.1:1000 10.0.0.2:80 {left}+5"));
    check(packet[..30].to_vec(), "Err(Malformed)");
    check(packet[..10].to_vec(), "Err(Malformed)");
}

/// `packet`, of IPv4, in parts of `most` bytes of payload.
fn fragments(packet: &[u8], most: usize) -> Vec<Vec<u8>> {
    let (head, payload) = packet.split_at(20);
    let count = payload.len().div_ceil(most);
    let part = |(index, part): (usize, &[u8])| {
        let mut packet = [head, part].concat();
        packet[2..4].copy_from_slice(&((20 + part.len()) as u16).to_be_bytes());
        let more = if index + 1 < count { 0x2000 } else { 0 };
        packet[6..8].copy_from_slice(&((index * most / 8) as u16 | more).to_be_bytes());
        packet
    };
    payload.chunks(most).enumerate().map(part).collect()
}

#[test]
fn fragments_make_a_whole_in_any_order() {
    let expect = format!("10.0.0.1:1000 10.0.0.2:80 {}+0", data());
    let mut parts = fragments(&v4(), 16);
    assert_eq!(parts.len(), 3);
    for _ in 0..3 {
        parts.rotate_left(1);
        assert_eq!(segments(&parts), ["Err(Fragment)", "Err(Fragment)", &expect]);
    }
    assert_eq!(segments(&parts[..2]), ["Err(Fragment)"; 2]);
    // IPv6: the second half first.
    let expect = expect.replace("10.0.0.1", "[101:101:101:101:101:101:101:101]");
    let expect = expect.replace("10.0.0.2", "[202:202:202:202:202:202:202:202]");
    let whole = v6();
    let part = |from: usize, to: usize, offset: u16| {
        let mut packet = extended(44, &[&[6, 0][..], &offset.to_be_bytes(), &[0, 0, 0, 9]].concat());
        let payload = packet.split_off(48);
        packet.extend(&payload[from..to]);
        let length = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&length.to_be_bytes());
        packet
    };
    let parts = [part(24, whole.len() - 40, 24), part(0, 24, 1)];
    assert_eq!(segments(&parts), ["Err(Fragment)", &expect]);
}

#[test]
fn fragments_that_never_meet_are_bounded() {
    let mut pool = Fragments::default();
    for number in 0..1000_u16 {
        let mut part = fragments(&v4(), 16).swap_remove(0);
        part[4..6].copy_from_slice(&number.to_be_bytes());
        let _ = segment(&part, 0, &mut pool, &mut |_| {});
        assert!(pool.open.len() <= MOST_DATAGRAMS);
    }
    assert_eq!(pool.lost(), 1000);
}

proptest! {
    #[test]
    fn no_byte_makes_it_panic(at in any::<prop::sample::Index>(), byte: u8, which in 0..4_usize, length: prop::sample::Index) {
        let ethernet = [b"ddddddssssss\x08\x00".as_slice(), &v4()].concat();
        let mut packet = match which {
            0 => v4(),
            1 => extended(0, &[60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]),
            2 => udp(4789, b"\x08\0\0\0\0\0\x07\0", &ethernet),
            _ => udp(6081, b"\x02\0\x08\x00\0\0\x07\0optional", &v4()),
        };
        let at = at.index(packet.len());
        packet[at] = byte;
        packet.truncate(length.index(packet.len() + 1));
        segments(&[packet]);
    }
}
