//! The query of `explain`: `method=GET&url=https://a.test/b&from=192.0.2.1&header=k:v&header=…`.

use http::Method;

use super::ExplainQuery;

/// Reads the query. `url` must be there; the method is GET by default.
///
/// # Errors
/// A sentence about the first parameter that is not understood.
pub(super) fn parse(text: &str) -> Result<ExplainQuery, String> {
    let mut query = ExplainQuery { method: Method::GET, url: String::new(), from: None, headers: Vec::new() };
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value).ok_or_else(|| format!("`{name}` is not percent-encoded UTF-8"))?;
        match name {
            "method" => query.method = method(&value)?,
            "url" => query.url = value,
            "from" if value.is_empty() => query.from = None,
            "from" => query.from = Some(value.parse().map_err(|_| format!("`from`: `{value}` is not an address"))?),
            "header" => query.headers.push(header(&value)?),
            _ => return Err(format!("unknown parameter `{name}` (known: method, url, from, header)")),
        }
    }
    if query.url.is_empty() { Err("`url` is missing (try `url=https://shop.example/`)".to_owned()) } else { Ok(query) }
}

fn method(value: &str) -> Result<Method, String> {
    value.parse().map_err(|_| format!("`method`: `{value}` is not a method"))
}

fn header(value: &str) -> Result<(String, String), String> {
    let (name, value) = value.split_once(':').ok_or_else(|| format!("`header`: `{value}` is not `name: value`"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Undoes percent-encoding and `+`, as forms are sent (WHATWG URL, application/x-www-form-urlencoded).
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2)?;
                let digits = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = tail;
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_parameter() {
        let text =
            "method=POST&url=https%3A%2F%2Fa.test%2Fb%3Fc%3D1&from=2001:db8::1&header=X-A:+b&header=Accept%3A%20*";
        let expected = ExplainQuery {
            method: Method::POST,
            url: "https://a.test/b?c=1".to_owned(),
            from: Some("2001:db8::1".parse().unwrap()),
            headers: vec![("X-A".to_owned(), "b".to_owned()), ("Accept".to_owned(), "*".to_owned())],
        };
        assert_eq!(parse(text), Ok(expected));
        let bare = parse("url=http://a.test/ü&from=").unwrap();
        assert_eq!((bare.method, bare.url, bare.from), (Method::GET, "http://a.test/ü".to_owned(), None));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, expected) in [
            ("", "`url` is missing"),
            ("url=%", "`url` is not percent-encoded"),
            ("url=%+1", "`url` is not percent-encoded"),
            ("url=%ff", "`url` is not percent-encoded"),
            ("url=a&from=b", "`from`: `b` is not an address"),
            ("url=a&method=%20", "`method`: ` ` is not a method"),
            ("url=a&header=b", "`header`: `b` is not `name: value`"),
            ("uri=a", "unknown parameter `uri`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
