//! How often a request has come by already, by its `CDN-Loop`.
//!
//! Pure, one pass, no allocation. Source: RFC 8586 section 2 (a list of ids with parameters), RFC 9110 section 5.6.

use http::HeaderMap;

use crate::proxy::forwarded::{CDN_LOOP, quoted_len};

/// How many members of the field, all its lines together, have this id; ids are compared without case, as hosts are.
///
/// A client cannot hide what is appended behind its own: a quoted string that does not end on its line is none.
pub(super) fn hops(headers: &HeaderMap, id: &[u8]) -> u32 {
    let lines = headers.get_all(CDN_LOOP).iter();
    lines.fold(0, |sum, line| sum.saturating_add(hops_of_line(line.as_bytes(), id)))
}

fn hops_of_line(line: &[u8], id: &[u8]) -> u32 {
    let mut members = Members { rest: line, has_strings: true };
    let mut sum: u32 = 0;
    while let Some(member) = members.next() {
        let name = member.split(|byte| *byte == b';').next().unwrap_or_default();
        sum = sum.saturating_add(u32::from(name.trim_ascii().eq_ignore_ascii_case(id)));
    }
    sum
}

/// The members of a list.
struct Members<'a> {
    rest: &'a [u8],
    /// Whether quoted strings may follow. Behind one that does not end there is none that does, for its end would be
    /// the end of the first; so each byte is looked at twice at most.
    has_strings: bool,
}

impl<'a> Members<'a> {
    /// The text up to the next comma outside of quoted strings.
    fn next(&mut self) -> Option<&'a [u8]> {
        let list = self.rest;
        let mut at = 0;
        while let Some(byte) = list.get(at) {
            match byte {
                b',' => break,
                b'"' if self.has_strings => match list.get(at..).and_then(quoted_len) {
                    Some(length) => at += length,
                    None => self.has_strings = false,
                },
                _ => at += 1,
            }
        }
        let (member, rest) = list.split_at_checked(at)?;
        self.rest = rest.get(1..).unwrap_or_default();
        (!list.is_empty()).then_some(member)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn hops_in(lines: &[&str]) -> u32 {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CDN_LOOP, HeaderValue::from_str(line).unwrap());
        }
        hops(&headers, b"tidegate")
    }

    #[test]
    fn members_of_all_lines_count() {
        for (lines, expected) in [
            (&[][..], 0),
            (&["tidegate"], 1),
            (&["TideGate , tidegate"], 2),
            (&["tidegate", "other, tidegate;v=1", "tidegate ; a=\"b, c\""], 3),
            (&["tidegates, xtidegate, tide gate, tidegate.example, tidegate:80"], 0),
            (&[",, tidegate,\t,tidegate,"], 2),
            (&["cloudflare; loops=1; subreqs=1, tidegate"], 1),
        ] {
            assert_eq!(hops_in(lines), expected, "{lines:?}");
        }
    }

    /// RFC 9110 section 5.6.4.
    #[test]
    fn quoted_strings_are_one_parameter_and_unended_ones_hide_nothing() {
        for (line, expected) in [
            ("a;x=\"b, tidegate, c\"", 0),
            ("a;x=\"b\\\", tidegate, c\", tidegate", 1),
            ("a;x=\", tidegate", 1),
            ("a;x=\"\\\", tidegate, tidegate", 2),
            ("a;x=\", tidegate, tidegate;y=\"z\", tidegate", 1),
            ("\"tidegate\"", 0),
            ("tidegate;\"", 1),
            ("a\\, tidegate", 1),
        ] {
            assert_eq!(hops_in(&[line]), expected, "{line}");
        }
    }

    /// A client must not make this dear: 64 KiB of the worst text take as many steps as of any other.
    #[test]
    fn long_values_take_time_by_their_length() {
        for piece in ["\\\"", "\"", ",", "\"\\"] {
            let line = format!("\"{}", piece.repeat(32_000));
            let began = std::time::Instant::now();
            hops_in(&[&line]);
            assert!(began.elapsed().as_secs() < 1, "{piece}");
        }
    }

    /// Splits at commas in one step, after what stands in quotes was put out of sight.
    fn naive(line: &str) -> u32 {
        let mut text = line.as_bytes().to_vec();
        let mut at = 0;
        while at < text.len() {
            let is_quote = |text: &[u8], at: usize| text[at] == b'"';
            if is_quote(&text, at) {
                let mut end = at + 1;
                while end < text.len() && !is_quote(&text, end) {
                    end += if text[end] == b'\\' { 2 } else { 1 };
                }
                if end < text.len() {
                    text[at..=end].fill(b'.');
                    at = end;
                }
            }
            at += 1;
        }
        let text = String::from_utf8(text).unwrap();
        let ids = text.split(',').map(|member| member.split(';').next().unwrap_or("").trim().to_ascii_lowercase());
        u32::try_from(ids.filter(|id| id == "tidegate").count()).unwrap()
    }

    fn line() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "tidegate",
            "Tidegate",
            "a",
            ",",
            ", ",
            ";",
            "; x=",
            "\"",
            "\\",
            " ",
            "\t",
            "=",
            "other.example:80",
            "[::1]",
        ]);
        prop::collection::vec(piece, 0..16).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_reader(line in line()) {
            prop_assert_eq!(hops_in(&[&line]), naive(&line), "{}", line);
        }

        /// Whatever a client sends, each round is counted.
        #[test]
        fn what_is_appended_is_always_counted(line in line(), rounds in 1_u32..4) {
            let joined = (0..rounds).fold(line.clone(), |joined, _| format!("{joined}, tidegate"));
            prop_assert!(hops_in(&[&joined]) >= rounds, "{}", joined);
        }
    }
}
