//! Clients that wait to be told to go on before they send their body (RFC 9110 section 10.1.1).
//!
//! Where the response comes instead, no body follows, and there is nothing to wait for. Pingora would wait for it until
//! a deadline. The test that tells when this can go: `a_final_answer_ends_the_wait_for_a_body`.

use http::{HeaderMap, StatusCode, header};

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

    /// A head is sent to the client.
    pub(crate) fn sends(&mut self, status: StatusCode) {
        if *self == Self::Open && status == StatusCode::CONTINUE {
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

    use super::*;

    fn open() -> Expectation {
        Expectation::of(&HeaderMap::from_iter([(header::EXPECT, HeaderValue::from_static("100-continue"))]))
    }

    #[test]
    fn who_got_the_answer_instead_sends_no_body() {
        let mut expectation = open();
        expectation.came(0);
        expectation.sends(StatusCode::EARLY_HINTS);
        expectation.sends(StatusCode::FORBIDDEN);
        assert!(!expectation.is_answered(), "not all of it");
        expectation.answered();
        assert!(expectation.is_answered());
    }

    #[test]
    fn who_was_told_to_go_on_or_did_not_wait_sends_one() {
        for change in [|it: &mut Expectation| it.sends(StatusCode::CONTINUE), |it: &mut Expectation| it.came(1)] {
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
