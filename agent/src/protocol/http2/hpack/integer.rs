//! Integers with a prefix (RFC 7541, section 5.1).

use super::Malformed;

/// Reads an integer whose first octet has `prefix` bits of it, 1 to 8, and moves `rest` behind it.
pub(super) fn read(rest: &mut &[u8], prefix: u32) -> Result<u32, Malformed> {
    let (&first, mut behind) = rest.split_first().ok_or(Malformed::Truncated)?;
    let most = (1_u64 << prefix) - 1;
    let mut value = u64::from(first) & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (&octet, next) = behind.split_first().ok_or(Malformed::Truncated)?;
            behind = next;
            value += u64::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                break;
            }
            shift += 7;
            if shift > 28 {
                return Err(Malformed::Integer);
            }
        }
    }
    *rest = behind;
    u32::try_from(value).map_err(|_| Malformed::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[u8], prefix: u32, expect: Result<(u32, usize), Malformed>) {
        let mut rest = input;
        let value = read(&mut rest, prefix);
        assert_eq!(
            value.map(|value| (value, rest.len())),
            expect,
            "{input:x?}/{prefix}"
        );
    }

    #[test]
    fn examples_of_appendix_c_1() {
        check(&[0b1110_1010], 5, Ok((10, 0)));
        check(&[0b1111_1111, 0b1001_1010, 0b0000_1010], 5, Ok((1337, 0)));
        check(&[42, 7], 8, Ok((42, 1)));
    }

    #[test]
    fn bounds() {
        check(&[0x1e], 5, Ok((30, 0)));
        check(&[0x1f, 0], 5, Ok((31, 0)));
        check(&[0x1f, 0x80, 0x80, 0x80, 0x80, 0], 5, Ok((31, 0)));
        check(&[0xff, 0xe0, 0xff, 0xff, 0xff, 0x0f], 5, Ok((u32::MAX, 0)));
        check(&[0xff, 0xe1, 0xff, 0xff, 0xff, 0x0f], 5, Err(Malformed::Integer));
        check(
            &[0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
            5,
            Err(Malformed::Integer),
        );
        check(&[0xff; 20], 8, Err(Malformed::Integer));
        check(&[], 5, Err(Malformed::Truncated));
        check(&[0x1f], 5, Err(Malformed::Truncated));
        check(&[0x1f, 0x80], 5, Err(Malformed::Truncated));
    }
}
