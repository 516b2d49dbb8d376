//! User name and password out of an `Authorization` field (RFC 7617).

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Bytes of user name, colon and password. Hashing costs more the longer a password is, with SHA-crypt in each round,
/// so that one as long as a head may be would keep a thread busy for minutes.
const MAX: usize = 768;
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Room for the decoded text.
pub(super) type Buffer = [u8; MAX];

/// What a client says it is.
#[derive(Debug, PartialEq)]
pub(super) struct Credentials<'b> {
    pub(super) user: &'b str,
    pub(super) password: &'b str,
}

/// An empty buffer.
pub(super) const fn buffer() -> Buffer {
    [0; MAX]
}

/// Reads them; `None`: there are none, or not as they must be.
pub(super) fn read<'b>(headers: &HeaderMap, buffer: &'b mut Buffer) -> Option<Credentials<'b>> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    // Of two fields, somebody behind may take the other.
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, rest) = field.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let length = ENGINE.decode_slice(rest.trim_matches(' '), buffer).ok()?;
    let text = std::str::from_utf8(buffer.get(..length)?).ok()?;
    if text.chars().any(char::is_control) {
        return None;
    }
    let (user, password) = text.split_once(':')?;
    Some(Credentials { user, password })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    fn basic(text: impl AsRef<[u8]>) -> String {
        let mut out = [0; 2048];
        let length = STANDARD.encode_slice(text, &mut out).unwrap();
        format!("Basic {}", std::str::from_utf8(&out[..length]).unwrap())
    }

    fn read_one(value: &str) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        read(&headers, &mut buffer()).map(|found| (found.user.to_owned(), found.password.to_owned()))
    }

    /// RFC 7617, sections 2 and 2.1.
    #[test]
    fn the_examples_of_the_standard_are_read() {
        let some = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read_one("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), some("Aladdin", "open sesame"));
        assert_eq!(read_one("bAsIc  QWxhZGRpbjpvcGVuIHNlc2FtZQ"), some("Aladdin", "open sesame"));
        assert_eq!(read_one("Basic dGVzdDoxMjPCow=="), some("test", "123£"));
        assert_eq!(read_one(&basic("a:b:c")), some("a", "b:c"), "a user name has no colon, a password may");
        assert_eq!(read_one(&basic(":")), some("", ""));
    }

    #[test]
    fn anything_else_is_nobody() {
        for value in [
            "Basic",
            "Basic ",
            "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==, Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "Basic !!!!",
            &basic("no colon"),
            &basic("a:\n"),
            &basic("a\0:b"),
            &basic(b"a:\xff"),
            &basic(format!("a:{}", "x".repeat(MAX))),
        ] {
            assert_eq!(read_one(value), None, "{value}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(read(&headers, &mut buffer()), None);
        headers.append(AUTHORIZATION, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".parse().unwrap());
        headers.append(AUTHORIZATION, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".parse().unwrap());
        assert_eq!(read(&headers, &mut buffer()), None, "two fields");
    }
}
