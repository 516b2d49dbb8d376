//! The read-only admin API and its web page.
//!
//! Takes questions over HTTP on a loopback address and puts them to an [`Inspect`]; it knows nothing of what answers.
//! There is no way to change anything. A request whose Host is a name other than `localhost` is refused, because a
//! web page could otherwise make a browser ask (DNS rebinding), and so is one that came through a proxy.

pub(crate) mod client;
mod direct;
mod host;
mod query;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_FRAME_OPTIONS};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::telemetry::http::{Page, Pages, Rendering};

/// The admin API's view of the running process.
pub(crate) trait Inspect: Send + Sync {
    /// Version, uptime, generation, listeners, sources, readiness.
    fn status(&self) -> Value;
    /// The routing table.
    fn routes(&self) -> Value;
    /// What would happen to a request.
    ///
    /// # Errors
    /// When the question makes no sense; the text is shown to who asks.
    fn explain(&self, query: &ExplainQuery) -> Result<Value, String>;
    /// Upstreams, endpoints and their health.
    fn upstreams(&self) -> Value;
    /// Certificates, without keys.
    fn certificates(&self) -> Value;
    /// Findings about the configuration.
    fn diagnostics(&self) -> Value;
    /// The whole snapshot, without secrets.
    fn snapshot(&self) -> Value;
}

/// A request to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExplainQuery {
    /// Method.
    pub method: Method,
    /// URL, with scheme and host.
    pub url: String,
    /// Client's address.
    pub from: Option<IpAddr>,
    /// Header fields, in order.
    pub headers: Vec<(String, String)>,
}

/// Makes the admin pages.
pub(crate) struct AdminPages {
    inspect: Arc<dyn Inspect>,
    bound: IpAddr,
}

/// What the page may load: its own script, style and API only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// === impl AdminPages ===

impl AdminPages {
    /// Puts questions to `inspect`; `bound` is the address of the server.
    pub(crate) fn new(inspect: Arc<dyn Inspect>, bound: SocketAddr) -> Self {
        Self { inspect, bound: bound.ip() }
    }

    fn api(&self, question: &str, query: &str) -> Page {
        let answer = match question {
            "status" => self.inspect.status(),
            "routes" => self.inspect.routes(),
            "upstreams" => self.inspect.upstreams(),
            "certificates" => self.inspect.certificates(),
            "diagnostics" => self.inspect.diagnostics(),
            "snapshot" => self.inspect.snapshot(),
            "explain" => return self.explain(query),
            _ => return problem(StatusCode::NOT_FOUND, "no such question"),
        };
        json_page(StatusCode::OK, &answer)
    }

    fn explain(&self, query: &str) -> Page {
        let answer = query::parse(query).and_then(|query| self.inspect.explain(&query));
        match answer {
            Ok(answer) => json_page(StatusCode::OK, &answer),
            Err(error) => problem(StatusCode::BAD_REQUEST, &error),
        }
    }
}

impl Pages for AdminPages {
    fn way(&self, _: &Request<()>) -> Rendering {
        Rendering::Alone
    }

    fn page(&self, request: &Request<()>) -> Page {
        if !host::is_allowed(request, self.bound) {
            return problem(StatusCode::FORBIDDEN, "the Host must be localhost or the bound address");
        }
        if !direct::is_direct(request) {
            return problem(StatusCode::FORBIDDEN, "requests that came through a proxy are refused");
        }
        let path = request.uri().path();
        match path {
            "/" => asset("text/html; charset=utf-8", include_str!("admin/page.html")),
            "/page.css" => asset("text/css; charset=utf-8", include_str!("admin/page.css")),
            "/page.js" => asset("text/javascript; charset=utf-8", include_str!("admin/page.js")),
            _ => match path.strip_prefix("/api/v1/") {
                Some(question) => self.api(question, request.uri().query().unwrap_or_default()),
                None => problem(StatusCode::NOT_FOUND, "no such page"),
            },
        }
    }
}

impl fmt::Debug for AdminPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminPages").field("bound", &self.bound).finish_non_exhaustive()
    }
}

fn asset(content_type: &'static str, body: &'static str) -> Page {
    guarded(Page::new(StatusCode::OK, content_type, body))
}

fn json_page(status: StatusCode, value: &Value) -> Page {
    guarded(Page::new(status, "application/json", format!("{value}\n")))
}

fn problem(status: StatusCode, error: &str) -> Page {
    json_page(status, &json!({ "error": error }))
}

fn guarded(page: Page) -> Page {
    const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    page.header(CONTENT_SECURITY_POLICY, POLICY)
        .header(X_FRAME_OPTIONS, "DENY")
        .header(REFERRER_POLICY, "no-referrer")
        .header(RESOURCE_POLICY, "same-origin")
}

#[cfg(test)]
mod tests;
