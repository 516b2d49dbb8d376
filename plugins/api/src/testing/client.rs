//! A client of HTTP for tests.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};

use crate::{BoxFuture, CallError, CallLimits, Caller, HttpClient};

/// A client that asks nobody: this function answers, for [`crate::BuildContext::with_http`].
pub fn client(answer: impl Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static) -> HttpClient {
    HttpClient::new(Arc::new(Answers(answer)))
}

struct Answers<F>(F);

impl<F: Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync> Caller for Answers<F> {
    fn call(
        &self,
        request: Request<Bytes>,
        limits: CallLimits,
    ) -> BoxFuture<'static, Result<Response<Bytes>, CallError>> {
        let response = (self.0)(&request);
        let is_small = response.body().len() <= limits.max_response;
        Box::pin(std::future::ready(if is_small { Ok(response) } else { Err(CallError::TooLarge) }))
    }
}
