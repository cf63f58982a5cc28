//! Addresses as texts.

use smol_str::{SmolStr, ToSmolStr as _};
use std::net::IpAddr;

/// `address` as text, one of IPv4 within IPv6 as that of IPv4. Nearly each span has one or two, and a formatter takes ten times as
/// long for four small numbers.
pub(super) fn text(address: IpAddr) -> SmolStr {
    let IpAddr::V4(address) = address.to_canonical() else {
        return address.to_smolstr();
    };
    let mut text = *b"255.255.255.255";
    let mut length = 0;
    let mut push = |byte| {
        text[length] = byte;
        length += 1;
    };
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    SmolStr::new(str::from_utf8(&text[..length]).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::text;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    fn check(address: IpAddr, expect: &str) {
        assert_eq!(text(address), expect);
    }

    #[test]
    fn addresses_of_ipv6_are_written_as_usual_and_those_of_ipv4_within_as_ipv4() {
        check("::1".parse().unwrap(), "::1");
        check("2001:db8::ff:1".parse().unwrap(), "2001:db8::ff:1");
        check("::ffff:10.0.0.200".parse().unwrap(), "10.0.0.200");
    }

    proptest! {
        #[test]
        fn addresses_are_written_as_the_formatter_writes_them(octets: [u8; 4], segments: [u16; 8]) {
            let short = Ipv4Addr::from(octets);
            check(short.into(), &short.to_string());
            let long = IpAddr::V6(Ipv6Addr::from(segments)).to_canonical();
            check(long, &long.to_string());
        }
    }
}
