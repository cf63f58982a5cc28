//! Files of both formats, at every length and with any byte changed.

use super::*;
use proptest::prelude::*;

/// What is read, a line each, and how it ends.
fn read(file: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut capture = match Capture::open(file) {
        Ok(capture) => capture,
        Err(error) => return vec![error.to_string()],
    };
    loop {
        match capture.advance() {
            Ok(Next::Packet(it)) => {
                let data = it.data.escape_ascii();
                lines.push(format!("{} {} {data}+{}", it.link, it.time, it.cut));
                continue;
            }
            Ok(Next::End) => {}
            Ok(Next::Cut(offset)) => lines.push(format!("cut {offset}")),
            Err(error) => lines.push(error.to_string()),
        }
        return lines;
    }
}

fn numbers(numbers: &[u32], big_endian: bool) -> Vec<u8> {
    let bytes = |number: &u32| {
        if big_endian {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    };
    numbers.iter().flat_map(bytes).collect()
}

fn pcap(magic: u32, link: u32, big_endian: bool) -> Vec<u8> {
    let version = if big_endian { 2 << 16 | 4 } else { 4 << 16 | 2 };
    let head = numbers(&[magic, version, 0, 0, 65_535, link], big_endian);
    let packet = numbers(&[7, 5, 3, 9], big_endian);
    [head, packet.clone(), b"abc".to_vec(), packet, b"def".to_vec()].concat()
}

fn block(kind: u32, body: &[u8], big_endian: bool) -> Vec<u8> {
    let length = 12 + body.len() as u32;
    let tail = numbers(&[length], big_endian);
    [&numbers(&[kind, length], big_endian), body, &tail].concat()
}

/// A section with an interface of nanoseconds and an offset of a second, and three packets.
fn pcapng(big_endian: bool) -> Vec<u8> {
    let short = |number: u16| {
        if big_endian {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    };
    let shb = numbers(
        &[
            0x1a2b_3c4d,
            if big_endian { 1 << 16 } else { 1 },
            u32::MAX,
            u32::MAX,
        ],
        big_endian,
    );
    let offset = if big_endian {
        1_u64.to_be_bytes()
    } else {
        1_u64.to_le_bytes()
    };
    let options = [
        &[short(9), short(1)].concat()[..],
        &[9, 0, 0, 0],
        &[short(14), short(8)].concat(),
        &offset,
        &[0; 4],
    ];
    let idb = [
        &short(113)[..],
        &[0, 0],
        &numbers(&[0], big_endian),
        &options.concat(),
    ]
    .concat();
    let epb = [&numbers(&[0, 1, 5, 3, 9], big_endian), b"abc\0".as_slice()].concat();
    let spb = [&numbers(&[2], big_endian), b"de\0\0".as_slice()].concat();
    [
        block(0x0a0d_0d0a, &shb, big_endian),
        block(1, &idb, big_endian),
        block(6, &epb, big_endian),
        block(0xbad, b"is not known", big_endian),
        block(5, &numbers(&[0, 0, 0], big_endian), big_endian),
        block(3, &spb, big_endian),
    ]
    .concat()
}

#[test]
fn pcap_of_every_kind() {
    let seconds = 7_000_000_000_u64;
    for (magic, big_endian, fraction) in [
        (0xa1b2_c3d4, false, 5000),
        (0xa1b2_c3d4, true, 5000),
        (0xa1b2_3c4d, false, 5),
        (0xa1b2_3c4d, true, 5),
    ] {
        let time = seconds + fraction;
        let file = pcap(magic, 101, big_endian);
        assert_eq!(
            read(&file),
            [format!("101 {time} abc+6"), format!("101 {time} def+6")]
        );
    }
}

#[test]
fn pcapng_of_both_orders() {
    let section = |big_endian| [pcapng(big_endian), pcapng(!big_endian)].concat();
    for big_endian in [false, true] {
        let time = (1_u64 << 32) + 5 + 1_000_000_000;
        let one = [format!("113 {time} abc+6"), "113 0 de+0".to_owned()];
        assert_eq!(read(&section(big_endian)), [one.clone(), one].concat());
    }
}

#[test]
fn times_of_every_resolution() {
    let check = |resolution: u8, units: u64, expect: u64| {
        let clock = pcapng::Clock::new(resolution, 0).expect("a resolution");
        assert_eq!(
            clock.nanoseconds((units >> 32) as u32, units as u32),
            expect,
            "{resolution}"
        );
    };
    check(6, 1_500_000, 1_500_000_000);
    check(9, 1_500_000, 1_500_000);
    check(3, 1500, 1_500_000_000);
    check(0, 2, 2_000_000_000);
    check(12, 1_500_000_000_000, 1_500_000_000);
    check(0x80 | 10, 1536, 1_500_000_000);
    assert!(pcapng::Clock::new(0x7f, 0).is_none());
}

#[test]
fn a_cut_file_is_whole_up_to_its_cut() {
    for file in [pcap(0xa1b2_c3d4, 1, false), pcapng(false)] {
        let whole = read(&file);
        for length in 0..file.len() {
            let part = read(&file[..length]);
            let last = part.last().cloned().unwrap_or_default();
            let cut = last.starts_with("cut ") || last.starts_with("not a capture");
            let packets = &part[..part.len() - usize::from(cut)];
            assert_eq!(packets, &whole[..packets.len()], "{length}");
            assert!(!last.contains("damaged"), "{length}: {last}");
        }
    }
}

#[test]
fn damage_is_told() {
    assert_eq!(
        read(b"GIF89a, certainly"),
        ["not a capture: it begins like neither pcap nor pcapng"]
    );
    let mut file = pcap(0xa1b2_c3d4, 1, false);
    file[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        read(&file),
        ["damaged at byte 24: a packet longer than captures hold"]
    );
    let mut file = pcapng(false);
    file[32] ^= 2;
    assert_eq!(read(&file).len(), 1);
    assert!(read(&file)[0].contains("damaged at byte 28"), "{:?}", read(&file));
}

proptest! {
    #[test]
    fn no_byte_makes_it_panic(at in any::<prop::sample::Index>(), byte: u8, big_endian: bool, ng: bool) {
        let mut file = if ng { pcapng(big_endian) } else { pcap(0xa1b2_c3d4, 1, big_endian) };
        let at = at.index(file.len());
        file[at] = byte;
        let _ = read(&file);
    }
}
