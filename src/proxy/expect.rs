//! Clients that wait to be told to go on before they send their body (RFC 9110 section 10.1.1).
//!
//! Where the answer comes instead, no body follows, and there is nothing to wait for. The engine would wait for it
//! until a deadline. The test that tells when this can go: `a_final_answer_ends_the_wait_for_a_body`.

use http::{HeaderMap, StatusCode, header};
use pingora::protocols::http::HttpTask;

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// Nothing: it sends its body.
    None,
    /// To be told to go on.
    Open,
    /// It got the whole answer instead.
    Answered,
}

// === impl Expectation ===

impl Expectation {
    /// What the request's head says.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key(header::EXPECT) { Self::Open } else { Self::None }
    }

    /// Whether no body comes any more.
    pub(crate) fn is_answered(self) -> bool {
        self == Self::Answered
    }

    /// A piece of the body came.
    pub(crate) fn came(&mut self, bytes: usize) {
        if bytes > 0 {
            *self = Self::None;
        }
    }

    /// Something is sent to the client.
    pub(crate) fn sends(&mut self, tasks: &[HttpTask]) {
        let goes_on =
            |task: &HttpTask| matches!(task, HttpTask::Header(head, _) if head.status == StatusCode::CONTINUE);
        if *self == Self::Open && tasks.iter().any(goes_on) {
            *self = Self::None;
        }
    }

    /// The answer is complete.
    pub(crate) fn answered(&mut self) {
        if *self == Self::Open {
            *self = Self::Answered;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use pingora::http::ResponseHeader;

    use super::*;

    fn head(status: u16) -> HttpTask {
        HttpTask::Header(Box::new(ResponseHeader::build(status, None).unwrap()), false)
    }

    fn open() -> Expectation {
        Expectation::of(&HeaderMap::from_iter([(header::EXPECT, HeaderValue::from_static("100-continue"))]))
    }

    #[test]
    fn who_got_the_answer_instead_sends_no_body() {
        let mut expectation = open();
        expectation.came(0);
        expectation.sends(&[head(103)]);
        expectation.sends(&[head(403)]);
        assert!(!expectation.is_answered(), "not all of it");
        expectation.answered();
        assert!(expectation.is_answered());
    }

    #[test]
    fn who_was_told_to_go_on_or_did_not_wait_sends_one() {
        for change in [|it: &mut Expectation| it.sends(&[head(100)]), |it: &mut Expectation| it.came(1)] {
            let mut expectation = open();
            change(&mut expectation);
            expectation.answered();
            assert!(!expectation.is_answered());
        }
        let mut none = Expectation::of(&HeaderMap::new());
        none.answered();
        assert!(!none.is_answered());
    }
}
