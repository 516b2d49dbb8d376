//! Bytes of clients made harmless, and capped.

/// Most bytes that are kept of one field, before escaping.
pub(super) const MAX_FIELD_BYTES: usize = 2048;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes the inside of a JSON string (RFC 8259 section 7), valid for any bytes.
///
/// Control characters, C1 controls too, become `\u00XX`; so does each byte that is not UTF-8.
pub(super) fn json(line: &mut Vec<u8>, field: &[u8]) {
    let (field, is_cut) = cap(field);
    let mut rest = field;
    while let Some(at) = rest.iter().position(|&byte| !is_plain(byte)) {
        let (plain, special) = rest.split_at(at);
        line.extend_from_slice(plain);
        let length = special.iter().position(|&byte| is_plain(byte)).unwrap_or(special.len());
        let (special, tail) = special.split_at(length);
        json_special(line, special);
        rest = tail;
    }
    line.extend_from_slice(rest);
    if is_cut {
        line.extend_from_slice("…".as_bytes());
    }
}

/// Writes a field as nginx does (ngx_http_log_escape): `"`, `\`, and what is not printable ASCII become `\xXX`.
pub(super) fn nginx(line: &mut Vec<u8>, field: &[u8]) {
    for &byte in cap(field).0 {
        if is_plain(byte) {
            line.push(byte);
        } else {
            line.extend_from_slice(b"\\x");
            hex(line, byte, u8::to_ascii_uppercase);
        }
    }
}

/// Cuts a field, between characters where it has any.
fn cap(field: &[u8]) -> (&[u8], bool) {
    let Some(head) = field.get(..MAX_FIELD_BYTES).filter(|head| head.len() < field.len()) else {
        return (field, false);
    };
    let is_inside = |at: &usize| field.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = (head.len() - 3..=head.len()).rev().find(|at| !is_inside(at)).unwrap_or(head.len());
    (head.get(..end).unwrap_or(head), true)
}

/// Which bytes need no escape, a bit each: printable ASCII but `"` and `\`. Every byte of every line is asked.
const PLAIN: [u64; 4] = [!0 << 32 & !(1 << b'"'), !(1 << 63) & !(1 << (b'\\' - 64)), 0, 0];

fn is_plain(byte: u8) -> bool {
    PLAIN.get(usize::from(byte >> 6)).is_some_and(|bits| bits >> (byte & 63) & 1 == 1)
}

fn json_special(line: &mut Vec<u8>, special: &[u8]) {
    for chunk in special.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => line.extend_from_slice(b"\\\""),
                '\\' => line.extend_from_slice(b"\\\\"),
                control if control.is_control() => json_byte(line, control as u8),
                other => line.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        chunk.invalid().iter().for_each(|&byte| json_byte(line, byte));
    }
}

fn json_byte(line: &mut Vec<u8>, byte: u8) {
    line.extend_from_slice(b"\\u00");
    hex(line, byte, |digit| *digit);
}

fn hex(line: &mut Vec<u8>, byte: u8, form: fn(&u8) -> u8) {
    for half in [byte >> 4, byte & 15] {
        line.extend(HEX.get(usize::from(half)).map(form));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(escape: fn(&mut Vec<u8>, &[u8]), field: &[u8]) -> String {
        let mut line = Vec::new();
        escape(&mut line, field);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn plain_is_printable_ascii_without_quote_and_backslash() {
        for byte in 0..=255 {
            let expected = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            assert_eq!(is_plain(byte), expected, "{byte}");
        }
    }

    #[test]
    fn json_keeps_text_and_escapes_the_rest() {
        assert_eq!(escaped(json, "a \"b\" \\ ü€😀".as_bytes()), "a \\\"b\\\" \\\\ ü€😀");
        assert_eq!(escaped(json, b"a\r\n\x1b[0m\x7f"), "a\\u000d\\u000a\\u001b[0m\\u007f");
        assert_eq!(escaped(json, b"\xc2\x9b|\xff\xc3"), "\\u009b|\\u00ff\\u00c3");
    }

    #[test]
    fn nginx_escapes_what_is_not_printable_ascii() {
        assert_eq!(escaped(nginx, "a\"\\\nü".as_bytes()), "a\\x22\\x5C\\x0A\\xC3\\xBC");
    }

    #[test]
    fn long_fields_are_cut_between_characters() {
        let long = "ä".repeat(MAX_FIELD_BYTES);
        assert_eq!(escaped(json, long.as_bytes()), "ä".repeat(MAX_FIELD_BYTES / 2) + "…");
        let odd = format!("x{long}");
        assert_eq!(escaped(json, odd.as_bytes()), format!("x{}…", "ä".repeat(MAX_FIELD_BYTES / 2 - 1)));
        assert_eq!(escaped(json, &"x".repeat(MAX_FIELD_BYTES).into_bytes()).len(), MAX_FIELD_BYTES, "fits");
        assert_eq!(escaped(nginx, &[b'x'; 10 * MAX_FIELD_BYTES]).len(), MAX_FIELD_BYTES);
        assert!(escaped(json, &[0xbf; 3 * MAX_FIELD_BYTES]).ends_with("\\u00bf…"), "only continuation bytes");
    }
}
