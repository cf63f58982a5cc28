//! The Huffman code of RFC 7541, appendix B.
//!
//! The code is canonical: shorter codes come before longer ones, and codes of one length are in the order of their
//! symbols. So the lengths are the whole table, and a code is found by its length and its distance from the first
//! code of that length.

use super::Malformed;

/// The symbol that no string may hold.
const EOS: u16 = 256;

/// Longest code, in bits.
const LONGEST: usize = 30;

/// Bits of each symbol's code.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

/// Codes of one length.
#[derive(Clone, Copy)]
struct Length {
    /// The last code with its first bit in bit 31 and ones behind; 0 where there is none of this length.
    last: u32,
    /// The first code.
    first: u32,
    /// Place of its symbol in [`SYMBOLS`].
    place: u16,
}

/// Symbols in the order of their codes.
const SYMBOLS: [u16; 257] = {
    let mut symbols = [0; 257];
    let (mut length, mut place) = (0, 0);
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                symbols[place] = symbol as u16;
                place += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    symbols
};

/// Codes by their length.
const CODES: [Length; LONGEST + 1] = {
    let mut codes = [Length {
        last: 0,
        first: 0,
        place: 0,
    }; LONGEST + 1];
    let (mut code, mut place, mut length) = (0_u32, 0_usize, 1);
    while length <= LONGEST {
        code <<= 1;
        let first = code;
        codes[length].first = first;
        codes[length].place = place as u16;
        while place < 257 && LENGTHS[SYMBOLS[place] as usize] as usize == length {
            place += 1;
            code += 1;
        }
        if code > first {
            codes[length].last = (((code as u64) << (32 - length)) - 1) as u32;
        }
        length += 1;
    }
    codes
};

/// Shortest code, in bits.
const SHORTEST: usize = 5;

/// Adds the text that `coded` stands for to `out`.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    // Bits not yet used, the next one first; ones follow the last, as padding does.
    let mut bits = u64::MAX;
    let mut count = 0;
    let mut rest = coded.iter();
    loop {
        while count <= 56 {
            let Some(octet) = rest.next() else { break };
            let place = 56 - count;
            bits = (bits & !(0xff << place)) | (u64::from(*octet) << place);
            count += 8;
        }
        let next = (bits >> 32) as u32;
        let length = (SHORTEST..LONGEST)
            .find(|length| next <= CODES[*length].last)
            .unwrap_or(LONGEST);
        if length > count {
            // Less than a code is left: padding, which is the beginning of EOS, and that is all ones.
            let padding = count < 8 && next.leading_ones() as usize >= count;
            return if padding { Ok(()) } else { Err(Malformed::Huffman) };
        }
        let Length { first, place, .. } = CODES[length];
        let symbol = SYMBOLS[usize::from(place) + ((next >> (32 - length)) - first) as usize];
        if symbol == EOS {
            return Err(Malformed::Huffman);
        }
        out.push(symbol as u8);
        bits = (bits << length) | ((1 << length) - 1);
        count -= length;
    }
}

/// The code of `text`, for tests of the decoder against others.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut bits = String::new();
    for byte in text {
        let length = usize::from(LENGTHS[usize::from(*byte)]);
        let place = SYMBOLS
            .iter()
            .position(|symbol| *symbol == u16::from(*byte))
            .expect("a symbol");
        let code = CODES[length].first as usize + place - usize::from(CODES[length].place);
        bits.push_str(&format!("{code:0length$b}"));
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    let octet = |octet: &[u8]| octet.iter().fold(0, |octet, bit| octet << 1 | (bit & 1));
    bits.as_bytes().chunks(8).map(octet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(coded: &[u8], expect: Result<&str, Malformed>) {
        let mut out = Vec::new();
        let result = decode(coded, &mut out).map(|()| String::from_utf8_lossy(&out).into_owned());
        assert_eq!(result, expect.map(str::to_owned), "{coded:x?}");
    }

    #[test]
    fn texts() {
        check(&[], Ok(""));
        check(
            b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
            Ok("www.example.com"),
        );
        let all: Vec<u8> = (0..=255).collect();
        let mut out = Vec::new();
        assert_eq!(decode(&encode(&all), &mut out), Ok(()));
        assert_eq!(out, all);
    }

    #[test]
    fn padding() {
        // "0" is 00000.
        check(&[0b0000_0111], Ok("0"));
        check(&[0b0000_0110], Err(Malformed::Huffman));
        check(&[0b0000_0000], Err(Malformed::Huffman));
        // "&" has eight bits: any octet behind it is too much padding.
        check(&[0xf8], Ok("&"));
        check(&[0xf8, 0xff], Err(Malformed::Huffman));
        check(&[0xff], Err(Malformed::Huffman));
        check(&[0xff, 0xff], Err(Malformed::Huffman));
    }

    #[test]
    fn eos_is_no_text() {
        check(&[0xff, 0xff, 0xff, 0xff], Err(Malformed::Huffman));
        check(&[0x07, 0xff, 0xff, 0xff, 0xff], Err(Malformed::Huffman));
    }
}
