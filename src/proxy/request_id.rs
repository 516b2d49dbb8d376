//! The name of a request in logs, answers and at upstreams.

use http::HeaderMap;

use super::forwarded;

/// A request's id: 32 hexadecimal digits of our own, or what a trusted proxy called it.
pub(crate) enum RequestId {
    Made(Digits),
    Kept(Box<str>),
}

/// Aligned, so that it is seen to be text eight bytes at a time.
#[repr(align(8))]
pub(crate) struct Digits([u8; 32]);

// === impl RequestId ===

impl RequestId {
    /// The id that these fields give, if they are believed and it is sane; else a new one.
    pub(crate) fn of(believed: Option<&HeaderMap>) -> Self {
        match believed.and_then(forwarded::request_id) {
            Some(kept) => Self::Kept(kept.into()),
            None => Self::Made(Digits(hexadecimal(fastrand::u128(..)))),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Made(Digits(digits)) => std::str::from_utf8(digits).unwrap_or_default(),
            Self::Kept(id) => id,
        }
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::Made(Digits([b'0'; 32]))
    }
}

/// Formatting through `fmt` costs ten times as much, for each request.
fn hexadecimal(number: u128) -> [u8; 32] {
    let bytes = number.to_be_bytes();
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    digits
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_new_id_has_32_hexadecimal_digits() {
        let numbers = [0, 1, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210, u128::MAX];
        for number in numbers {
            assert_eq!(std::str::from_utf8(&hexadecimal(number)).unwrap(), format!("{number:032x}"));
        }
        let [first, second] = [RequestId::of(None), RequestId::of(None)];
        assert_eq!(first.as_str().len(), 32);
        assert_ne!(first.as_str(), second.as_str());
    }

    #[test]
    fn a_believed_id_is_kept_when_it_is_sane() {
        let given = |id| HeaderMap::from_iter([(forwarded::REQUEST_ID, HeaderValue::from_static(id))]);
        assert_eq!(RequestId::of(Some(&given("abc-1"))).as_str(), "abc-1");
        assert_eq!(RequestId::of(Some(&given("a b"))).as_str().len(), 32);
    }
}
