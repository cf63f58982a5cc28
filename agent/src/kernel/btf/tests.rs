use super::section::{ARRAY, CONST, ENUM, ENUM64, FUNCTION, INT, POINTER, STRUCT, TYPE_TAG, TYPEDEF, UNION};
use super::*;
use proptest::prelude::*;
use std::mem::offset_of;

/// BTF by hand: types are numbered from 1 in the order in which they are added.
struct Maker {
    types: Vec<u8>,
    strings: Vec<u8>,
    layout: Vec<u8>,
}

impl Maker {
    fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
            layout: Vec::new(),
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        offset
    }

    fn words(&mut self, words: &[u32]) {
        self.types
            .extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    fn add(mut self, name: &str, kind: u8, vlen: u32, size_or_type: u32, body: &[u32]) -> Self {
        let name = self.name(name);
        self.words(&[name, u32::from(kind) << 24 | vlen, size_or_type]);
        self.words(body);
        self
    }

    fn int(self, name: &str, size: u32) -> Self {
        self.add(name, INT, 0, size, &[size * 8])
    }

    fn composite(
        mut self,
        kind: u8,
        name: &str,
        size: u32,
        flag: bool,
        members: &[(&str, u32, u32)],
    ) -> Self {
        let name = self.name(name);
        let info = u32::from(flag) << 31 | u32::from(kind) << 24 | members.len() as u32;
        self.words(&[name, info, size]);
        for (member, of, place) in members {
            let member = self.name(member);
            self.words(&[member, *of, *place]);
        }
        self
    }

    fn bytes(self) -> Vec<u8> {
        let length = |part: &[u8]| part.len() as u32;
        let mut words = vec![
            32,
            0,
            length(&self.types),
            length(&self.types),
            length(&self.strings),
        ];
        words.extend([words[2] + words[4], length(&self.layout)]);
        let mut bytes = vec![];
        bytes.extend(0xeb9f_u16.to_ne_bytes());
        bytes.extend([1, 0]);
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(self.types.iter().chain(&self.strings).chain(&self.layout));
        bytes
    }

    fn btf(self) -> Btf {
        Btf::parse(self.bytes()).unwrap()
    }
}

/// One of everything that a lookup meets.
fn sample() -> Maker {
    Maker::new()
        .int("unsigned int", 4) // 1
        .add("u32", TYPEDEF, 0, 1, &[]) // 2
        .add("", CONST, 0, 2, &[]) // 3
        .add("", POINTER, 0, 9, &[]) // 4
        .add("", ARRAY, 0, 0, &[3, 1, 6]) // 5
        .composite(STRUCT, "", 8, false, &[("deep", 3, 0), ("deeper", 1, 32)]) // 6
        .composite(UNION, "", 8, false, &[("other", 1, 0), ("", 6, 0)]) // 7
        .composite(STRUCT, "inner", 40, false, &[("", 7, 64), ("list", 5, 128)]) // 8
        .composite(
            STRUCT,
            "outer",
            96,
            false,
            &[("next", 4, 0), ("inner", 8, 64), ("many", 10, 384)],
        ) // 9
        .add("", ARRAY, 0, 0, &[8, 1, 2]) // 10
        .composite(
            STRUCT,
            "packed",
            8,
            true,
            &[("low", 1, 4 << 24), ("high", 1, 3 << 24 | 13), ("all", 1, 32)],
        )
        .add("signed", ENUM, 2, 4, &[0, 1, 0, 2]) // 12
        .add("tcp_send", FUNCTION, 1, 0, &[]) // 13
        .add("", TYPE_TAG, 0, 9, &[]) // 14
        .add("btf_trace_sent", TYPEDEF, 0, 4, &[]) // 15
}

#[test]
fn fields_are_found_through_typedefs_anonymous_members_and_arrays() {
    let btf = sample().btf();
    assert_eq!(btf.offset("outer", "inner"), Some(8));
    assert_eq!(btf.offset("inner", "other"), Some(8));
    assert_eq!(btf.offset("inner", "deep"), Some(8));
    assert_eq!(btf.offset("inner", "deeper"), Some(12));
    assert_eq!(btf.offset("outer", "inner.deeper"), Some(20));
    assert_eq!(btf.offset("outer", "many.deeper"), Some(60));
    assert_eq!(
        btf.field(&["outer", "inner", "list"]),
        Some(Field {
            offset: 24,
            size: 24,
            bits: None
        }),
        "six const u32"
    );
    assert_eq!(
        btf.field(&["outer", "next"]).map(|field| field.size),
        Some(size_of::<usize>() as u32)
    );
}

#[test]
fn what_is_not_there_is_none() {
    let btf = sample().btf();
    for path in [
        &[] as &[&str],
        &["outer"],
        &["outer", "nothing"],
        &["nothing", "inner"],
        &["outer", "next", "inner"],
        &["outer", ""],
        &["", "deep"],
        &["u32", "deep"],
    ] {
        assert_eq!(btf.field(path), None, "{path:?}");
    }
    assert_eq!(btf.size("nothing"), None);
    assert_eq!(btf.enumerator("outer", "next"), None);
    assert!(!btf.has_function("outer"));
    assert!(!btf.has_type("tcp_send"));
}

#[test]
fn bit_fields_say_which_bits() {
    let btf = sample().btf();
    let field = |name| btf.field(&["packed", name]);
    assert_eq!(
        field("low"),
        Some(Field {
            offset: 0,
            size: 4,
            bits: Some(Bits { shift: 0, width: 4 })
        })
    );
    assert_eq!(
        field("high"),
        Some(Field {
            offset: 1,
            size: 4,
            bits: Some(Bits { shift: 5, width: 3 })
        })
    );
    assert_eq!(
        field("all"),
        Some(Field {
            offset: 4,
            size: 4,
            bits: None
        })
    );
    assert_eq!(btf.offset("packed", "low"), None, "no byte of its own");
}

#[test]
fn functions_tracepoints_and_sizes() {
    let btf = sample().btf();
    assert_eq!(btf.function_id("tcp_send"), Some(13));
    assert_eq!(btf.tracepoint_id("sent"), Some(15));
    assert!(btf.has_type("outer") && btf.has_type("btf_trace_sent"));
    assert_eq!((btf.size("outer"), btf.size("u32")), (Some(96), Some(4)));
}

#[test]
fn enumerators_of_either_width_and_sign() {
    let mut maker = Maker::new();
    let [low, high, own, wide] = ["LOW", "HIGH", "values", "wide"].map(|name| maker.name(name));
    maker.words(&[
        own,
        1 << 31 | u32::from(ENUM) << 24 | 2,
        4,
        low,
        u32::MAX,
        high,
        7,
    ]);
    maker.words(&[wide, u32::from(ENUM64) << 24 | 2, 8, low, 1, 0, high, 2, 3]);
    let btf = maker.btf();
    assert_eq!(btf.enumerator("values", "LOW"), Some(-1));
    assert_eq!(btf.enumerator("values", "HIGH"), Some(7));
    assert_eq!(btf.enumerator("wide", "HIGH"), Some(3 << 32 | 2));
    assert_eq!(btf.enumerator("wide", "NONE"), None);
}

#[test]
fn a_kind_of_the_future_needs_the_layout_section() {
    let unknown = || Maker::new().add("new", 23, 2, 0, &[1, 2, 3]).int("int", 4);
    assert!(matches!(
        Btf::parse(unknown().bytes()),
        Err(BtfError::Kind { id: 1, kind: 23 })
    ));
    let mut told = unknown();
    told.layout = [[0_u8; 4]; 23].concat();
    told.layout.extend([4, 4, 0, 0]);
    assert_eq!(told.btf().size("int"), Some(4));
}

#[test]
fn types_that_refer_to_themselves_end() {
    let btf = Maker::new()
        .add("loop", TYPEDEF, 0, 1, &[])
        .composite(STRUCT, "matryoshka", 8, false, &[("", 2, 0), ("", 2, 0)])
        .add("ring", ARRAY, 0, 0, &[3, 3, 2])
        .btf();
    assert_eq!(btf.size("loop"), None);
    assert_eq!(btf.offset("matryoshka", "nothing"), None);
    assert_eq!(btf.size("ring"), None);
}

#[test]
fn foreign_and_future_files_are_refused() {
    let mut swapped = sample().bytes();
    swapped.swap(0, 1);
    assert!(matches!(Btf::parse(swapped), Err(BtfError::Magic(0x9feb))));
    let mut newer = sample().bytes();
    newer[2] = 2;
    assert!(matches!(Btf::parse(newer), Err(BtfError::Version(2))));
    assert!(matches!(Btf::load("/nonexistent"), Err(BtfError::Read { .. })));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = sample().bytes();
    for length in 0..whole.len() {
        assert!(
            Btf::parse(whole[..length].to_vec()).is_err(),
            "{length} of {} bytes",
            whole.len()
        );
    }
}

fn look_around(btf: &Btf) {
    for name in ["outer", "inner", "packed", "signed", "u32", "tcp_send", ""] {
        let _ = (
            btf.size(name),
            btf.has_function(name),
            btf.has_type(name),
            btf.enumerator(name, "LOW"),
        );
        for member in ["inner", "inner.deeper", "many.deeper", "list", "high", "next"] {
            let _ = (btf.offset(name, member), btf.field(&[name, member]));
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(btf) = Btf::parse(bytes) {
            look_around(&btf);
        }
    }

    #[test]
    fn no_change_panics(changes in proptest::collection::vec((8_usize..700, any::<u8>()), 1..8)) {
        let mut bytes = sample().bytes();
        for (place, value) in changes {
            let length = bytes.len();
            bytes[place % length] = value;
        }
        if let Ok(btf) = Btf::parse(bytes) {
            look_around(&btf);
        }
    }
}

/// This machine's own BTF against what the user-space interface fixes for good.
#[test]
fn the_running_kernel_agrees_with_its_own_interface() {
    let Ok(btf) = Btf::load(VMLINUX) else {
        assert!(!Path::new(VMLINUX).exists(), "there, but not readable");
        return;
    };
    assert_eq!(
        btf.size("sockaddr_in6"),
        Some(size_of::<libc::sockaddr_in6>() as u32)
    );
    assert_eq!(
        btf.offset("sockaddr_in6", "sin6_addr"),
        Some(offset_of!(libc::sockaddr_in6, sin6_addr) as u32)
    );
    assert_eq!(
        btf.offset("iovec", "iov_len"),
        Some(offset_of!(libc::iovec, iov_len) as u32)
    );
    assert_eq!(btf.field(&["tcphdr", "doff"]).map(|field| field.offset), Some(12));
    assert_eq!(
        btf.field(&["iphdr", "version"]).and_then(|field| field.bits),
        Some(Bits {
            shift: if cfg!(target_endian = "little") { 4 } else { 0 },
            width: 4
        })
    );
    assert_eq!(btf.helper("map_lookup_elem"), Some(1));
    assert_eq!(btf.helper("ringbuf_output"), Some(130));
    assert!(btf.has_function("tcp_sendmsg") && btf.has_tracepoint("inet_sock_set_state"));
    assert!(!btf.has_function("spanwire"));
    // An anonymous struct in an anonymous union, at the very beginning since 3.13.
    assert_eq!(btf.offset("sock", "__sk_common.skc_daddr"), Some(0));
    assert_eq!(btf.offset("sock", "__sk_common.skc_rcv_saddr"), Some(4));
    assert!(btf.offset("task_struct", "thread_info.flags").is_some());
}
