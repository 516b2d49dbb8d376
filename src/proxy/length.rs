//! What a head says of its body's length.
//!
//! Pure. Old applications tell it twice, as two lines or as a list; that is one length where all say the same, and none
//! where they differ (RFC 9110 section 8.6).

use http::{HeaderMap, HeaderValue, header};

/// The length that a head tells.
#[derive(Debug, PartialEq)]
pub(super) enum Told<'a> {
    Never,
    Once(&'a HeaderValue),
    /// Several times the same.
    Again(HeaderValue),
    /// No number, or several.
    Badly,
}

/// Reads it.
pub(super) fn told(headers: &HeaderMap) -> Told<'_> {
    let mut fields = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = fields.next() else { return Told::Never };
    let second = fields.next();
    if second.is_none() && is_number(first.as_bytes()) {
        return Told::Once(first);
    }
    again(std::iter::once(first).chain(second).chain(fields))
}

/// Whether it says that there is no body.
pub(crate) fn is_zero(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).map(HeaderValue::as_bytes);
    length.is_some_and(|length| length.iter().all(|digit| *digit == b'0'))
}

/// The body's length; the guard has seen to it that the field is a number. Too long for one is too long.
pub(super) fn content_length(headers: &HeaderMap) -> u64 {
    let text = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    text.map_or(0, |text| text.parse().unwrap_or(u64::MAX))
}

fn again<'a>(fields: impl Iterator<Item = &'a HeaderValue>) -> Told<'a> {
    let mut members = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let Some(length) = members.next().filter(|length| is_number(length)) else { return Told::Badly };
    match HeaderValue::from_bytes(length) {
        Ok(value) if members.all(|other| other == length) => Told::Again(value),
        _ => Told::Badly,
    }
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (header::CONTENT_LENGTH, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn one_number_is_one_length_however_often_it_is_told() {
        assert_eq!(told(&of(&[])), Told::Never);
        assert_eq!(told(&of(&["5"])), Told::Once(&HeaderValue::from_static("5")));
        for values in [&["5", "5"][..], &["5, 5"], &["5,5 ,5"], &["5", "5, 5", "5"]] {
            assert_eq!(told(&of(values)), Told::Again(HeaderValue::from_static("5")), "{values:?}");
        }
    }

    #[test]
    fn what_differs_or_is_no_number_is_no_length() {
        for values in [
            &["5", "6"][..],
            &["5, 6"],
            &["5", "05"],
            &["5,"],
            &[",5"],
            &["5", ""],
            &[""],
            &["+5"],
            &["-5"],
            &["5 5"],
            &["0x5"],
            &["5", "5", "x"],
        ] {
            assert_eq!(told(&of(values)), Told::Badly, "{values:?}");
        }
    }

    #[test]
    fn nothing_is_told_in_many_zeros() {
        for (values, expected) in [(&[][..], false), (&["0"], true), (&["000"], true), (&["10"], false)] {
            assert_eq!(is_zero(&of(values)), expected, "{values:?}");
        }
    }
}
