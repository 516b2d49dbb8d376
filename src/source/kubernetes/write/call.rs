//! How writers call the API server: under one name, and not for ever.

use std::time::Duration;

use kube::Error;
use kube::api::PostParams;
use tokio::time::timeout;

use super::super::client::chain;

/// Under which the server notes who wrote a field.
pub(super) const FIELD_MANAGER: &str = "tidegate";

/// What is said with each object that is made or replaced.
pub(super) fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Waits for an answer so long; says why there is none.
pub(super) async fn within<T>(patience: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(patience, call).await {
        Ok(answer) => answer.map_err(|error| chain(&error)),
        Err(_) => Err("no response".to_owned()),
    }
}
