//! Numbers and addresses as text, without the formatting machinery where a line has many of them.

use std::fmt::Arguments;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Digits of the largest 64-bit number.
const MAX_DIGITS: usize = 20;

/// Writes a number.
pub(super) fn number(line: &mut Vec<u8>, value: impl Into<u64>) {
    padded(line, value.into(), 1);
}

/// Writes a number with zeros before it, up to a width of at most twenty.
pub(super) fn padded(line: &mut Vec<u8>, value: u64, width: usize) {
    let mut digits = [b'0'; MAX_DIGITS];
    let (mut rest, mut length) = (value, 0);
    for digit in digits.iter_mut().rev() {
        if rest == 0 && length >= width {
            break;
        }
        *digit += (rest % 10) as u8;
        rest /= 10;
        length += 1;
    }
    line.extend_from_slice(digits.get(MAX_DIGITS - length..).unwrap_or_default());
}

/// Writes seconds with three decimals, as nginx's times are.
pub(super) fn seconds_millis(line: &mut Vec<u8>, duration: Duration) {
    number(line, duration.as_secs());
    line.push(b'.');
    padded(line, u64::from(duration.subsec_millis()), 3);
}

/// Writes seconds with six decimals.
pub(super) fn seconds_micros(line: &mut Vec<u8>, duration: Duration) {
    number(line, duration.as_secs());
    line.push(b'.');
    padded(line, u64::from(duration.subsec_micros()), 6);
}

/// Writes an address.
pub(super) fn ip(line: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(v4) = address else {
        return print(line, format_args!("{address}"));
    };
    for (position, octet) in v4.octets().into_iter().enumerate() {
        if position > 0 {
            line.push(b'.');
        }
        number(line, octet);
    }
}

/// Writes an address and port; those of IPv6 with brackets.
pub(super) fn socket(line: &mut Vec<u8>, address: SocketAddr) {
    if address.is_ipv6() {
        return print(line, format_args!("{address}"));
    }
    ip(line, address.ip());
    line.push(b':');
    number(line, address.port());
}

/// Writes formatted text; writing to a vector cannot fail.
fn print(line: &mut Vec<u8>, text: Arguments<'_>) {
    let _ = line.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut line = Vec::new();
        write(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn numbers_are_as_the_standard_library_writes_them() {
        for value in [0, 7, 10, 99, 100, 1_234_567, u64::MAX] {
            assert_eq!(text(|line| number(line, value)), value.to_string());
            assert_eq!(text(|line| padded(line, value, 6)), format!("{value:06}"));
        }
        assert_eq!(text(|line| seconds_micros(line, Duration::from_nanos(61_000_012_999))), "61.000012");
        assert_eq!(text(|line| seconds_millis(line, Duration::from_micros(999))), "0.000");
    }

    #[test]
    fn addresses_are_as_the_standard_library_writes_them() {
        for address in ["10.0.0.255:80", "0.0.0.0:0", "[2001:db8::1]:443", "[::ffff:1.2.3.4]:65535"] {
            let parsed: SocketAddr = address.parse().unwrap();
            assert_eq!(text(|line| socket(line, parsed)), address);
            assert_eq!(text(|line| ip(line, parsed.ip())), parsed.ip().to_string());
        }
    }
}
