use super::*;
use proptest::prelude::*;

fn canonical(raw: &str) -> Result<String, PathError> {
    canonical_path(raw).map(Cow::into_owned)
}

#[test]
fn a_canonical_path_is_borrowed() {
    for path in ["/", "/a", "/a/", "/a.b/..c/...", "/%20x%25", "/a/.b/c..", "/a:b@c!$&'()*+,;=~", "/a;b/;/...;/.a;"] {
        assert!(matches!(canonical_path(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
    }
}

/// RFC 3986 sections 5.2.4 and 6.2.2.
#[test]
fn dot_segments_slashes_and_triplets_are_normalised() {
    for (raw, expected) in [
        ("//", "/"),
        ("/a//b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/%61dm", "/adm"),
        ("/a/%2e%2E/b", "/b"),
        ("/%e4%bd", "/%E4%BD"),
        ("/é", "/%C3%A9"),
        ("/a b", "/a%20b"),
        ("/%252e", "/%252e"),
    ] {
        assert_eq!(canonical(raw).as_deref(), Ok(expected), "{raw}");
    }
}

#[test]
fn what_readers_could_take_differently_is_refused() {
    for (raw, expected) in [
        ("", PathError::NotAbsolute),
        ("a", PathError::NotAbsolute),
        ("*", PathError::NotAbsolute),
        ("/..", PathError::AboveRoot),
        ("/a/../../b", PathError::AboveRoot),
        ("/a%2fb", PathError::EncodedSlash),
        ("/a%5Cb", PathError::Backslash),
        ("/a\\b", PathError::Backslash),
        ("/a%00", PathError::Control),
        ("/a\u{7f}", PathError::Control),
        ("/a\r\n", PathError::Control),
        ("/%", PathError::BadPercent),
        ("/%4", PathError::BadPercent),
        ("/%zz", PathError::BadPercent),
        ("/a?b", PathError::Delimiter),
        ("/a#b", PathError::Delimiter),
        ("/a/..;/b", PathError::DotParameters),
        ("/a/..;x=y/b", PathError::DotParameters),
        ("/a/.;/b", PathError::DotParameters),
        ("/a/..;", PathError::DotParameters),
        ("/a/..%3B/b", PathError::DotParameters),
        ("/a/..%3bx/b", PathError::DotParameters),
        ("/a/.%3b/b", PathError::DotParameters),
        ("/a/%2e%2e;/b", PathError::DotParameters),
        ("/a/.%2E%3B", PathError::DotParameters),
        ("/..;/a", PathError::DotParameters),
    ] {
        assert_eq!(canonical(raw), Err(expected), "{raw}");
    }
}

#[test]
fn parameters_are_cut_as_servlet_containers_do() {
    for (path, expected) in [
        ("/a/b", Ok(None)),
        ("/%20", Ok(None)),
        ("/a;v=1/b;x", Ok(Some("/a/b"))),
        ("/a%3Bv", Ok(Some("/a"))),
        ("/a%3Bv;w", Ok(Some("/a"))),
        ("/;/a", Ok(Some("/a"))),
        ("/a/;", Ok(Some("/a/"))),
        ("/...;/a", Ok(Some("/.../a"))),
    ] {
        assert_eq!(without_parameters(path), expected.map(|path: Option<&str>| path.map(str::to_owned)), "{path}");
    }
}

/// The rules, step by step, each over the whole text.
fn reference(raw: &str) -> Option<String> {
    if !raw.starts_with('/') || raw.bytes().any(|b| b < 0x20 || b == 0x7f || b"\\?#".contains(&b)) {
        return None;
    }
    let mut text = String::new();
    let mut rest = raw.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let byte = if *first == b'%' {
            let [a, b, tail @ ..] = tail else { return None };
            rest = tail;
            let digits = std::str::from_utf8(&[*a, *b]).ok()?.to_owned();
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            let byte = u8::from_str_radix(&digits, 16).ok()?;
            if [0, b'/', b'\\'].contains(&byte) {
                return None;
            }
            if !(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
                text.push_str(&format!("%{byte:02X}"));
                continue;
            }
            byte
        } else {
            *first
        };
        if byte == b' ' || byte >= 0x80 {
            text.push_str(&format!("%{byte:02X}"));
        } else {
            text.push(char::from(byte));
        }
    }
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = text.split('/').skip(1).collect();
    for segment in &segments {
        match *segment {
            "" | "." => {}
            ".." => drop(kept.pop()?),
            other if [".;", "..;", ".%3B", "..%3B"].iter().any(|start| other.starts_with(start)) => return None,
            other => kept.push(other),
        }
    }
    let close = matches!(segments.last(), Some(&("" | "." | "..")));
    let mut out: String = kept.iter().map(|segment| format!("/{segment}")).collect();
    if close {
        out.push('/');
    }
    Some(out)
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "//", ".", "..", "a", "B", "%2e", "%2E", "%41", "%2f", "%2F", "%5c", "%00", "%25", "%e9", "%E9", "%",
        "%4", "%zz", "\\", " ", "é", "~", "?", "\n", "x-y_z", "%20", ":", ";", "%3b", "%3B", "..;",
    ]);
    prop::collection::vec(piece, 0..10).prop_map(|parts| format!("/{}", parts.concat()))
}

proptest! {
    #[test]
    fn agrees_with_the_naive_reference(raw in pieces()) {
        prop_assert_eq!(canonical(&raw).ok(), reference(&raw));
    }

    #[test]
    fn is_idempotent_and_borrows_its_own_output(raw in pieces()) {
        if let Ok(once) = canonical(&raw) {
            prop_assert!(matches!(canonical_path(&once), Ok(Cow::Borrowed(_))), "{once}");
        }
    }

    #[test]
    fn output_has_none_of_the_forbidden_forms(raw in "/.{0,20}") {
        if let Ok(path) = canonical(&raw) {
            prop_assert!(path.starts_with('/') && !path.contains("//") && !path.contains('\\'), "{path}");
            prop_assert!(!path.split('/').any(|segment| matches!(name_of(segment), "." | "..")), "{path}");
            for bad in ["%2F", "%2f", "%5C", "%5c", "%00"] {
                prop_assert!(!path.contains(bad), "{path}");
            }
            prop_assert!(path.bytes().all(|byte| (0x21..0x7f).contains(&byte)), "{path}");
        }
    }
}
