//! Words that no person writes: JSON Web Tokens (RFC 7519), keys of well-known services, hashes and ids.

use std::ops::Range;

/// Shortest word that is looked at.
pub(super) const SHORTEST: usize = 16;

/// Digits from which on a hexadecimal number is a key or a hash: 128 bits.
const HEX: usize = 32;

/// Shortest opaque word: 120 bits in base 64.
const OPAQUE: usize = 20;

/// What keys of well-known services begin with, and how many characters follow at least.
const SERVICES: &[(&[u8], usize)] = &[
    (b"AKIA", 16),
    (b"ASIA", 16),
    (b"AIza", 35),
    (b"ghp_", 30),
    (b"gho_", 30),
    (b"ghu_", 30),
    (b"ghs_", 30),
    (b"ghr_", 30),
    (b"github_pat_", 22),
    (b"glpat-", 20),
    (b"npm_", 30),
    (b"pypi-", 30),
    (b"sk_live_", 16),
    (b"sk_test_", 16),
    (b"rk_live_", 16),
    (b"rk_test_", 16),
    (b"whsec_", 24),
    (b"xoxb-", 20),
    (b"xoxp-", 20),
    (b"xoxa-", 20),
    (b"xoxr-", 20),
    (b"xoxs-", 20),
    (b"xapp-", 20),
    (b"sk-", 32),
    (b"hf_", 30),
    (b"dop_v1_", 32),
    (b"shpat_", 32),
    (b"ya29.", 20),
    (b"SG.", 22),
    (b"hvs.", 24),
    (b"dckr_pat_", 20),
    (b"lin_api_", 32),
];

/// End of the word that begins at `start`: letters, digits, hyphens, underscores.
pub(super) fn end(text: &[u8], start: usize) -> usize {
    start + text[start..].iter().take_while(|byte| is_part(**byte)).count()
}

/// Whether words are made of `byte`: base 64 as URLs have it (RFC 4648, section 5).
pub(super) const fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// A JSON Web Token in the word at `word`, with its parts behind it. Half of one is one, too: it was cut.
pub(super) fn web_token(text: &[u8], word: Range<usize>) -> Option<Range<usize>> {
    // `{"` and a letter, in base 64.
    let mut starts = pieces(text, word.clone()).map(|piece| piece.start);
    let start = starts.find(|start| text[*start..].starts_with(b"eyJ"))?;
    (word.end - start > SHORTEST).then(|| start..parts(text, word.end))
}

/// A private key (RFC 7468, section 10) whose first line begins in the word at `word`, with all that is behind it.
pub(super) fn private_key(text: &[u8], word: Range<usize>) -> Option<Range<usize>> {
    if !text[word.clone()].starts_with(b"-----") {
        return None;
    }
    memchr::memmem::find(&text[word.start..], b"PRIVATE KEY-----")?;
    Some(word.start..text.len())
}

/// A key of a service that marks its keys, in the word at `word`.
pub(super) fn service_key(text: &[u8], word: Range<usize>) -> Option<Range<usize>> {
    // What ends with a point is in front of the word.
    let has_point = word.start > 0 && text[word.start - 1] == b'.';
    let dotted = |prefix: &[u8]| {
        text[..word.start]
            .ends_with(prefix)
            .then(|| word.start - prefix.len())
    };
    let starts = pieces(text, word.clone()).map(|piece| piece.start);
    let before = SERVICES
        .iter()
        .filter(|(prefix, _)| has_point && prefix.ends_with(b"."));
    let mut before = before.filter_map(|known| Some((dotted(known.0)?, known)));
    let within = || {
        starts.flat_map(|start| {
            let fits = move |known: &&(&[u8], usize)| {
                known.0[0] == text[start] && text[start..].starts_with(known.0)
            };
            SERVICES.iter().filter(fits).map(move |known| (start, known))
        })
    };
    let is_key = |(start, (prefix, length)): &(usize, &(&[u8], usize))| {
        let key = &text[*start..word.end];
        // Amazon's are upper case and exactly so long; what is longer is something else.
        let is_amazon = !matches!(prefix, [b'A', _, b'I', b'A'])
            || key.len() == 20 && !key.iter().any(u8::is_ascii_lowercase);
        let is_first = *start == 0 || !text[start - 1].is_ascii_alphanumeric();
        is_first && key.len() >= prefix.len() + length && is_amazon
    };
    let (start, _) = before.find(&is_key).or_else(|| within().find(&is_key))?;
    Some(start..parts(text, word.end))
}

/// Where the parts end that follow with a point in front of each.
fn parts(text: &[u8], mut place: usize) -> usize {
    while let [b'.', first, ..] = text[place..] {
        if !is_part(first) {
            break;
        }
        place = end(text, place + 1);
    }
    place
}

/// Letters and digits of `word` as pieces between hyphens and underscores.
fn pieces(text: &[u8], word: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut place = word.start;
    std::iter::from_fn(move || {
        while place < word.end && !text[place].is_ascii_alphanumeric() {
            place += 1;
        }
        let start = place;
        while place < word.end && text[place].is_ascii_alphanumeric() {
            place += 1;
        }
        (start < place).then_some(start..place)
    })
}

/// A long hexadecimal number in the word at `word`.
pub(super) fn long_hex(text: &[u8], word: Range<usize>) -> Option<Range<usize>> {
    pieces(text, word).find(|piece| {
        let piece = &text[piece.clone()];
        let digits = piece
            .strip_prefix(b"0x")
            .or_else(|| piece.strip_prefix(b"0X"))
            .unwrap_or(piece);
        digits.len() >= HEX && digits.iter().all(u8::is_ascii_hexdigit)
    })
}

/// A UUID (RFC 9562) or ULID in the word at `word`.
pub(super) fn unique_id(text: &[u8], word: Range<usize>) -> Option<Range<usize>> {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    const LENGTH: usize = 36;
    let whole = &text[word.clone()];
    let is_uuid = |from: usize| {
        let mut groups = whole[from..from + LENGTH].split(|byte| *byte == b'-');
        let fits = |length| {
            groups
                .next()
                .is_some_and(|group| group.len() == length && group.iter().all(u8::is_ascii_hexdigit))
        };
        GROUPS.into_iter().all(fits)
    };
    let is_first = |from: usize| from == 0 || !whole[from - 1].is_ascii_alphanumeric();
    let uuid = (0..(whole.len() + 1).saturating_sub(LENGTH)).find(|from| is_first(*from) && is_uuid(*from));
    if let Some(from) = uuid {
        return Some(word.start + from..word.start + from + LENGTH);
    }
    pieces(text, word).find(|piece| {
        let piece = &text[piece.clone()];
        let is_ulid =
            |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase() && !b"ILOU".contains(byte);
        piece.len() == 26 && matches!(piece[0], b'0'..=b'7') && piece.iter().all(is_ulid)
    })
}

/// The word at `word`, where it is long and mixes upper case, lower case and digits as no name does.
pub(super) fn opaque(text: &[u8], word: Range<usize>) -> Option<Range<usize>> {
    let whole = &text[word.clone()];
    let count = |is: fn(&u8) -> bool| whole.iter().filter(|byte| is(byte)).count();
    let groups = whole
        .split(|byte| !byte.is_ascii_digit())
        .filter(|group| !group.is_empty())
        .count();
    let is_mixed = count(u8::is_ascii_uppercase) > 1 && count(u8::is_ascii_lowercase) > 1 && groups > 1;
    (whole.len() >= OPAQUE && is_mixed && count(u8::is_ascii_digit) > 2).then_some(word)
}
