//! The engine's messages as plugins edit them.
//!
//! The engine keeps a second table for how each name was spelled. Where spelling need not be kept that table goes
//! first, which makes every edit after it several times cheaper.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use pingora::http::{RequestHeader, ResponseHeader};
use tidegate_plugin::Headers;

use crate::proxy::head::{PlainHead, RequestHead};

/// The fields of a request.
pub(super) struct RequestFields<'a>(pub(crate) &'a mut RequestHeader);

/// The fields of a response.
pub(super) struct ResponseFields<'a>(pub(super) &'a mut ResponseHeader);

/// Room for what tidegate adds to a request, so that its table grows once.
const ADDED_TO_REQUEST: usize = 7;
/// The same for answers: `Server`, and `Date` and `Connection` by the engine.
const ADDED_TO_RESPONSE: usize = 3;

/// Edits a request.
pub(super) fn edit_request<R>(
    request: &mut RequestHeader,
    keeps_case: bool,
    edit: impl FnOnce(&mut dyn RequestHead) -> R,
) -> R {
    if keeps_case {
        return edit(&mut RequestFields(request));
    }
    let nothing = Request::new(()).into_parts().0;
    let mut parts = Parts::from(std::mem::replace(request, nothing.into()));
    parts.headers.reserve(ADDED_TO_REQUEST);
    let edited = edit(&mut PlainHead(&mut parts));
    *request = parts.into();
    edited
}

/// Edits the fields of a response.
pub(super) fn edit_response<R>(
    head: &mut ResponseHeader,
    keeps_case: bool,
    edit: impl FnOnce(&mut dyn Headers) -> R,
) -> R {
    if keeps_case {
        return edit(&mut ResponseFields(head));
    }
    let phrase = head.get_reason_phrase().filter(|phrase| head.status.canonical_reason() != Some(phrase));
    let phrase = phrase.map(str::to_owned);
    let nothing = Response::new(()).into_parts().0;
    let mut parts = http::response::Parts::from(std::mem::replace(head, nothing.into()));
    parts.headers.reserve(ADDED_TO_RESPONSE);
    let edited = edit(&mut parts.headers);
    *head = parts.into();
    if phrase.is_some() {
        // It came from the engine, which takes any.
        let _ = head.set_reason_phrase(phrase.as_deref());
    }
    edited
}

impl RequestHead for RequestFields<'_> {
    fn set_target(&mut self, target: Uri) {
        self.0.set_uri(target);
    }

    fn set_method(&mut self, method: Method) {
        self.0.set_method(method);
    }
}

macro_rules! fields {
    ($($type:ident),+) => {$(
        impl Headers for $type<'_> {
            fn map(&self) -> &HeaderMap {
                &self.0.headers
            }

            // Name and value are checked already, so the engine has nothing to refuse but too many fields.
            fn set(&mut self, name: HeaderName, value: HeaderValue) {
                let _ = self.0.insert_header(name, value);
            }

            fn append(&mut self, name: HeaderName, value: HeaderValue) {
                let _ = self.0.append_header(name, value);
            }

            fn remove(&mut self, name: &HeaderName) {
                self.0.remove_header(name);
            }
        }
    )+};
}

fields!(RequestFields, ResponseFields);

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn wire(head: &ResponseHeader) -> String {
        let mut bytes = Vec::new();
        head.header_to_h1_wire(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn spelling_is_kept_or_goes() {
        for (keeps_case, expected) in [(true, "X-Odd: 1\r\nServer: t\r\n"), (false, "x-odd: 1\r\nServer: t\r\n")] {
            let mut head = ResponseHeader::build(200, None).unwrap();
            head.insert_header("X-Odd", "1").unwrap();
            edit_response(&mut head, keeps_case, |fields| fields.set(header::SERVER, HeaderValue::from_static("t")));
            assert_eq!(wire(&head), expected);
        }
    }

    #[test]
    fn the_reason_phrase_of_an_upstream_stays() {
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.set_reason_phrase(Some("Fine")).unwrap();
        edit_response(&mut head, false, |_| {});
        assert_eq!((head.get_reason_phrase(), head.status.as_u16()), (Some("Fine"), 200));
    }

    #[test]
    fn a_request_keeps_method_target_and_version() {
        for keeps_case in [true, false] {
            let mut request = RequestHeader::build("PUT", b"/a?b", None).unwrap();
            request.set_version(http::Version::HTTP_11);
            edit_request(&mut request, keeps_case, |fields| fields.remove(&header::HOST));
            assert_eq!((request.method.as_str(), request.raw_path()), ("PUT", &b"/a?b"[..]));
            assert_eq!(request.version, http::Version::HTTP_11);
        }
    }
}
