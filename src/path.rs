//! The one canonical form of a request path, for rules and requests alike.
//!
//! A leaf module: the translator brings the paths of rules into this form, the guard those of requests, so that
//! routing, access rules and upstreams all see the same text. Attacks live where two readers differ.
//! Source: RFC 3986 sections 2.3, 5.2.4 and 6.2.2.

use std::borrow::Cow;

/// Why a path has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Does not begin with `/`.
    #[error("does not begin with `/`")]
    NotAbsolute,
    /// Dot segments lead above the root.
    #[error("`..` leads above the root")]
    AboveRoot,
    /// A dot segment with parameters: readers that cut parameters off take it for a dot segment, others do not.
    #[error("has a dot segment with parameters (`..;`)")]
    DotParameters,
    /// An encoded slash: readers disagree whether it separates segments.
    #[error("has an encoded slash (`%2F`)")]
    EncodedSlash,
    /// A backslash, raw or encoded: some readers take it for a slash.
    #[error("has a backslash")]
    Backslash,
    /// A NUL, raw or encoded, or another control byte.
    #[error("has a control byte")]
    Control,
    /// A `%` without two hexadecimal digits.
    #[error("has a `%` without two hexadecimal digits")]
    BadPercent,
    /// `?` or `#`, which end a path.
    #[error("has `?` or `#`, which end a path")]
    Delimiter,
}

/// Brings a path (without query) into its canonical form; a path already in it is borrowed.
///
/// Dot segments are resolved, `//` is merged, percent-encoded unreserved characters are decoded, other triplets are
/// written in upper case, spaces and bytes outside of ASCII are percent-encoded. Idempotent.
///
/// # Errors
/// Paths that readers could take differently; see [`PathError`].
pub fn canonical_path(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_canonical(raw.as_bytes()) {
        return Ok(Cow::Borrowed(raw));
    }
    resolve(&decode(raw.as_bytes())?).map(Cow::Owned)
}

/// A canonical path as readers see it that cut parameters off (`/a;v=1/b` as `/a/b`); `None`: it has none.
///
/// RFC 3986 section 3.3 gives `;` no meaning; servlet containers cut a segment there, some also at `%3B`.
///
/// # Errors
/// What is left leads above the root.
pub(crate) fn without_parameters(path: &str) -> Result<Option<String>, PathError> {
    if !path.bytes().any(|byte| matches!(byte, b';' | b'%')) {
        return Ok(None);
    }
    if path.split('/').all(|segment| name_of(segment) == segment) {
        return Ok(None);
    }
    resolve(&path.split('/').map(name_of).collect::<Vec<_>>().join("/")).map(Some)
}

/// A segment without its parameters, in a path whose triplets are in upper case.
fn name_of(segment: &str) -> &str {
    let cut = segment.find(';').into_iter().chain(segment.find(SEMICOLON)).min();
    cut.and_then(|at| segment.get(..at)).unwrap_or(segment)
}

/// `;` as a canonical path keeps it where it came encoded.
const SEMICOLON: &str = "%3B";

/// Class of a byte in the scan of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Dot,
    Slash,
    Semicolon,
    Percent,
    /// Needs the slow way: refused or encoded.
    Odd,
}

const CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Plain; 256];
    let mut byte = 0;
    #[expect(clippy::indexing_slicing, reason = "`byte` stays under 256, the table's length")]
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'/' => Class::Slash,
            b'.' => Class::Dot,
            b';' => Class::Semicolon,
            b'%' => Class::Percent,
            0..=b' ' | 0x7f..=0xff | b'\\' | b'?' | b'#' => Class::Odd,
            _ => Class::Plain,
        };
        byte += 1;
    }
    table
}

/// One pass without allocation. Begins after a slash: the caller has seen the first one.
fn is_canonical(path: &[u8]) -> bool {
    let mut bytes = path.iter();
    let mut before = Class::Plain;
    // Dots since the segment's slash; `None` once another character was seen.
    let mut dots: Option<u8> = None;
    while let Some(byte) = bytes.next() {
        let Some(class) = CLASSES.get(usize::from(*byte)).copied() else { return false };
        match class {
            Class::Plain => dots = None,
            Class::Dot => dots = dots.map(|count| count.saturating_add(1)),
            Class::Slash if before == Class::Slash || matches!(dots, Some(1 | 2)) => return false,
            Class::Slash => dots = Some(0),
            Class::Semicolon if matches!(dots, Some(1 | 2)) => return false,
            Class::Semicolon => dots = None,
            Class::Odd => return false,
            Class::Percent => {
                let (Some(high), Some(low)) = (bytes.next(), bytes.next()) else { return false };
                let ends_dots = (*high, *low) == (b'3', b'B') && matches!(dots, Some(1 | 2));
                if ends_dots || !is_canonical_triplet(*high, *low) {
                    return false;
                }
                dots = None;
            }
        }
        before = class;
    }
    !matches!(dots, Some(1 | 2))
}

fn is_canonical_triplet(high: u8, low: u8) -> bool {
    let is_upper = |digit: u8| digit.is_ascii_digit() || (b'A'..=b'F').contains(&digit);
    is_upper(high)
        && is_upper(low)
        && hex(high, low).is_some_and(|byte| !is_unreserved(byte) && !matches!(byte, 0 | b'/' | b'\\'))
}

/// Decodes what may be decoded, encodes what must be, and refuses the rest; segments are left as they are.
fn decode(path: &[u8]) -> Result<String, PathError> {
    let mut out = String::with_capacity(path.len() + 8);
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        match *byte {
            b'%' => {
                let (Some(high), Some(low)) = (bytes.next(), bytes.next()) else { return Err(PathError::BadPercent) };
                push_decoded(&mut out, hex(*high, *low).ok_or(PathError::BadPercent)?)?;
            }
            b'\\' => return Err(PathError::Backslash),
            b'?' | b'#' => return Err(PathError::Delimiter),
            0..=0x1f | 0x7f => return Err(PathError::Control),
            b' ' | 0x80..=0xff => push_triplet(&mut out, *byte),
            byte => out.push(char::from(byte)),
        }
    }
    Ok(out)
}

fn push_decoded(out: &mut String, byte: u8) -> Result<(), PathError> {
    match byte {
        0 => return Err(PathError::Control),
        b'/' => return Err(PathError::EncodedSlash),
        b'\\' => return Err(PathError::Backslash),
        byte if is_unreserved(byte) => out.push(char::from(byte)),
        byte => push_triplet(out, byte),
    }
    Ok(())
}

fn push_triplet(out: &mut String, byte: u8) {
    let digit = |value: u8| char::from(if value < 10 { b'0' + value } else { b'A' + value - 10 });
    out.push('%');
    out.push(digit(byte >> 4));
    out.push(digit(byte & 15));
}

fn resolve(decoded: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(decoded.len());
    let mut is_open = true;
    for segment in decoded.split('/').skip(1) {
        is_open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => out.truncate(out.rfind('/').ok_or(PathError::AboveRoot)?),
            segment if matches!(name_of(segment), "." | "..") => return Err(PathError::DotParameters),
            segment => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    if is_open {
        out.push('/');
    }
    Ok(out)
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some(value(high)? << 4 | value(low)?)
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests;
