//! One canonical form of request paths, used by routing, policies and upstreams alike.
//!
//! Source: RFC 3986 sections 2.3, 5.2.4 and 6.2.2.

use std::borrow::Cow;

/// Why a path has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Does not begin with a slash.
    #[error("does not begin with `/`")]
    NotAbsolute,
    /// Dot segments lead above the root.
    #[error("leads above the root")]
    AboveRoot,
    /// An encoded slash, backslash or NUL, a raw backslash or control byte, or a broken percent-encoding.
    #[error("has a character that servers read differently")]
    Ambiguous,
}

/// Brings a path into canonical form; borrowed when it is already.
///
/// # Errors
/// See [`PathError`].
pub fn canonical_path(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_plain(raw) {
        return Ok(Cow::Borrowed(raw));
    }
    resolve(&decode(raw)?).map(|path| if path == raw { Cow::Borrowed(raw) } else { Cow::Owned(path) })
}

fn is_plain(raw: &str) -> bool {
    let mut previous = 0;
    raw.bytes().all(|byte| {
        let pair = (previous, byte);
        previous = byte;
        matches!(byte, b'!' | b'$' | b'&'..=b'-' | b'.'..=b';' | b'=' | b'@'..=b'Z' | b'_' | b'a'..=b'z' | b'~')
            && !matches!(pair, (b'/', b'/' | b'.'))
    })
}

fn decode(raw: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => decode_triplet(bytes.next(), bytes.next(), &mut out)?,
            b'\\' | 0..=0x1f | 0x7f => return Err(PathError::Ambiguous),
            0x21..=0x7e => out.push(char::from(byte)),
            other => push_encoded(other, &mut out),
        }
    }
    Ok(out)
}

fn decode_triplet(high: Option<u8>, low: Option<u8>, out: &mut String) -> Result<(), PathError> {
    let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16)).ok_or(PathError::Ambiguous);
    let value = u8::try_from(digit(high)? * 16 + digit(low)?).map_err(|_| PathError::Ambiguous)?;
    match value {
        b'/' | b'\\' | 0..=0x1f | 0x7f => Err(PathError::Ambiguous),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            out.push(char::from(value));
            Ok(())
        }
        other => {
            push_encoded(other, out);
            Ok(())
        }
    }
}

fn push_encoded(byte: u8, out: &mut String) {
    let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('0').to_ascii_uppercase();
    out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
}

fn resolve(path: &str) -> Result<String, PathError> {
    let mut segments = Vec::new();
    let mut is_folder = false;
    for segment in path.split('/').skip(1) {
        is_folder = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop().ok_or(PathError::AboveRoot)?),
            name => segments.push(name),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &segments {
        out.push('/');
        out.push_str(segment);
    }
    if is_folder || segments.is_empty() {
        out.push('/');
    }
    Ok(out)
}
