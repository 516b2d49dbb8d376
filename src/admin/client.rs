//! Asks a running tidegate: what the command line's `--admin URL` uses.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Error of a request to the admin API.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Not an address of an admin API.
    #[error("`{url}` is not an admin URL (try `http://127.0.0.1:10255`)")]
    Url {
        /// What was given.
        url: String,
    },
    /// Nobody listens there.
    #[error("no connection to {url}: is tidegate running there, with `admin` on?")]
    Connect {
        /// Where.
        url: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("no response from {url}")]
    Http {
        /// Where.
        url: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("no response from {url} within {} seconds", DEADLINE.as_secs())]
    Timeout {
        /// Where.
        url: String,
    },
    /// An answer that is not 200.
    #[error("{url} responds {status}: {message}")]
    Refused {
        /// Where.
        url: String,
        /// Its status.
        status: StatusCode,
        /// What it says.
        message: String,
    },
    /// An answer that is not JSON.
    #[error("{url} does not respond with JSON: is that tidegate's admin address?")]
    Json {
        /// Where.
        url: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

const DEADLINE: Duration = Duration::from_secs(30);
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// Gets a path, with query, of the admin API at `base`, such as `http://127.0.0.1:10255`; `https` is not spoken.
///
/// # Errors
/// When the URL is wrong, nobody answers within 30 seconds, or the answer is not 200 with JSON.
pub(crate) async fn get(base: &str, path: &str) -> Result<Value, ClientError> {
    let (authority, url) = target(base, path)?;
    let asked = timeout(DEADLINE, ask(&authority, path, &url)).await;
    let (status, body) = asked.map_err(|_| ClientError::Timeout { url: url.clone() })??;
    if status != StatusCode::OK {
        return Err(ClientError::Refused { url, status, message: message(&body) });
    }
    serde_json::from_slice(&body).map_err(|source| ClientError::Json { url, source })
}

/// Host and port to connect to, and the whole URL for messages.
fn target(base: &str, path: &str) -> Result<(String, String), ClientError> {
    let wrong = || ClientError::Url { url: base.to_owned() };
    let uri: Uri = base.parse().map_err(|_| wrong())?;
    let authority = uri.authority().filter(|_| uri.scheme_str().is_none_or(|scheme| scheme == "http"));
    let authority = authority.filter(|_| matches!(uri.path(), "" | "/") && uri.query().is_none()).ok_or_else(wrong)?;
    let url = format!("http://{authority}{path}");
    url.parse::<Uri>().map_err(|_| ClientError::Url { url: url.clone() })?;
    let port = authority.port_u16().unwrap_or(80);
    Ok((format!("{}:{port}", authority.host()), url))
}

async fn ask(authority: &str, path: &str, url: &str) -> Result<(StatusCode, Bytes), ClientError> {
    let connect = |source| ClientError::Connect { url: url.to_owned(), source };
    let failed = |source| ClientError::Http { url: url.to_owned(), source };
    let stream = TcpStream::connect(authority).await.map_err(connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(e.into()))?;
    let exchange = async {
        let request = Request::get(path).header(HOST, authority).body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes();
        Ok((status, body))
    };
    // The connection makes progress only while it is polled; it must not end before the answer does.
    tokio::select! {
        answer = exchange => answer.map_err(failed),
        Err(error) = connection => Err(failed(error.into())),
    }
}

fn message(body: &[u8]) -> String {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let error = value.as_ref().and_then(|value| value.get("error")?.as_str());
    error.map_or_else(|| String::from_utf8_lossy(body).trim().chars().take(200).collect(), str::to_owned)
}
