//! What a route asks of a request beside its path: method, headers, query parameters.
//!
//! Source: Gateway API `HTTPRouteMatch`; query parameters as `application/x-www-form-urlencoded`.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method};
use regex::bytes::Regex;

use super::RequestView;

/// Conditions that must all hold.
#[derive(Debug, Default)]
pub struct Conditions {
    /// One of these; empty: any.
    pub methods: Box<[Method]>,
    /// Headers, several fields of a name joined by `,`.
    pub headers: Box<[(HeaderName, TextTest)]>,
    /// First value of each query parameter, decoded; the name is case-sensitive.
    pub query: Box<[(Arc<str>, TextTest)]>,
}

/// How a text is compared.
#[derive(Debug)]
pub enum TextTest {
    /// There, with any value.
    Present,
    /// Equal.
    Exact(Arc<str>),
    /// The expression as it was written, and compiled so that it fits the whole text only.
    Regex(Arc<str>, Regex),
}

/// The first condition that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss<'r> {
    /// Another method.
    Method,
    /// No such header.
    HeaderMissing(&'r str),
    /// Another value of that header.
    HeaderDiffers(&'r str),
    /// No such parameter.
    QueryMissing(&'r str),
    /// Another value of that parameter.
    QueryDiffers(&'r str),
}

// === impl Conditions ===

impl Conditions {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.methods.is_empty() && self.headers.is_empty() && self.query.is_empty()
    }

    /// Checks a request.
    ///
    /// Allocates only to hand a regex a text that is not there in one piece: repeated fields, encoded parameters.
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub fn check(&self, request: &RequestView<'_>) -> Result<(), Miss<'_>> {
        if !self.methods.is_empty() && !self.methods.contains(request.method) {
            return Err(Miss::Method);
        }
        for (name, test) in &self.headers {
            match test.fits_header(request.headers, name) {
                None => return Err(Miss::HeaderMissing(name.as_str())),
                Some(false) => return Err(Miss::HeaderDiffers(name.as_str())),
                Some(true) => {}
            }
        }
        for (name, test) in &self.query {
            match first_value(request.query.unwrap_or(""), name).map(|value| test.fits_encoded(value)) {
                None => return Err(Miss::QueryMissing(name)),
                Some(false) => return Err(Miss::QueryDiffers(name)),
                Some(true) => {}
            }
        }
        Ok(())
    }

    /// Sorts before others when it asks for more: a method, then more headers, then more parameters.
    pub(super) fn precedence(&self) -> (bool, usize, usize) {
        (self.methods.is_empty(), usize::MAX - self.headers.len(), usize::MAX - self.query.len())
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        let mut piece = |f: &mut fmt::Formatter<'_>, what: &str, name: &str, test: &TextTest| {
            write!(f, "{gap}{what} {name}{test}")?;
            gap = ", ";
            Ok(())
        };
        if !self.methods.is_empty() {
            let methods: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
            piece(f, "method", &methods.join("|"), &TextTest::Present)?;
        }
        for (name, test) in &self.headers {
            piece(f, "header", name.as_str(), test)?;
        }
        for (name, test) in &self.query {
            piece(f, "query", name, test)?;
        }
        Ok(())
    }
}

// === impl TextTest ===

impl TextTest {
    /// Compares all fields of a name; `None`: there is none.
    fn fits_header(&self, headers: &HeaderMap, name: &HeaderName) -> Option<bool> {
        let mut fields = headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
        let first = fields.next()?;
        let mut rest = fields.peekable();
        Some(match self {
            Self::Present => true,
            Self::Exact(text) => {
                let joined = first.iter().chain(rest.flat_map(|field| b",".iter().chain(field)));
                joined.eq(text.as_bytes())
            }
            Self::Regex(_, regex) if rest.peek().is_none() => regex.is_match(first),
            Self::Regex(_, regex) => {
                let all: Vec<&[u8]> = std::iter::once(first).chain(rest).collect();
                regex.is_match(&all.join(&b','))
            }
        })
    }

    fn fits_encoded(&self, value: &str) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(text) => decode(value).eq(text.bytes()),
            Self::Regex(_, regex) if !value.contains(['%', '+']) => regex.is_match(value.as_bytes()),
            Self::Regex(_, regex) => regex.is_match(&decode(value).collect::<Vec<u8>>()),
        }
    }
}

impl fmt::Display for TextTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => Ok(()),
            Self::Exact(text) => write!(f, "={text}"),
            Self::Regex(text, _) => write!(f, "~{text}"),
        }
    }
}

/// The first value of a parameter, still encoded; a parameter without `=` has the empty value.
fn first_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| !key.is_empty() && decode(key).eq(name.bytes()))
        .map(|(_, value)| value)
}

/// Decodes `%XX` and `+`; what is no valid escape stays as it is.
fn decode(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, after) = rest.split_first()?;
        if let (b'%', [high, low, tail @ ..]) = (first, after)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = tail;
            return Some(high << 4 | low);
        }
        rest = after;
        Some(if *first == b'+' { b' ' } else { *first })
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_parameter_of_a_name_counts_decoded() {
        assert_eq!(first_value("a=1&b=x%20y&b=z", "b"), Some("x%20y"));
        assert_eq!(first_value("%62=1", "b"), Some("1"));
        assert_eq!(first_value("b&a", "b"), Some(""));
        assert_eq!(first_value("B=1&=2", "b"), None);
        let exact = |text: &str| TextTest::Exact(text.into());
        assert!(exact("x y").fits_encoded("x%20y"));
        assert!(exact("x y").fits_encoded("x+y"));
        assert!(exact("100%").fits_encoded("100%"));
        assert!(exact("%zz").fits_encoded("%zz"));
        assert!(!exact("x").fits_encoded("xy"));
    }

    #[test]
    fn repeated_header_fields_are_joined_by_commas() {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_static("x-a");
        headers.append(&name, "1".parse().unwrap());
        headers.append(&name, "2".parse().unwrap());
        assert_eq!(TextTest::Exact("1,2".into()).fits_header(&headers, &name), Some(true));
        assert_eq!(TextTest::Exact("1".into()).fits_header(&headers, &name), Some(false));
        let regex = TextTest::Regex("1.2".into(), Regex::new(r"\A(?:1.2)\z").unwrap());
        assert_eq!(regex.fits_header(&headers, &name), Some(true));
        assert_eq!(TextTest::Present.fits_header(&headers, &HeaderName::from_static("x-b")), None);
    }
}
