//! nginx's `log_format`: text with `$variables`, compiled once.
//!
//! Source: nginx `ngx_http_log_module`, `ngx_http_upstream_module`, and ingress-nginx `log-format-upstream`.
//! A variable without a value is `-`, as in nginx; several attempts are separated by `, `.

use super::decimal::{ip, number, padded, seconds_millis, socket};
use super::escape;
use super::timestamp::{common_log, iso8601, unix_millis};
use crate::reason::Reason;
use crate::telemetry::record::{Attempt, RequestRecord};

/// Why a `log_format` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No such variable, or one that tidegate does not have.
    #[error("log format: unknown variable `${name}` (known: {known})", known = known())]
    UnknownVariable {
        /// Name, without `$`.
        name: String,
    },
    /// `${` without `}`.
    #[error("log format: `${{` without `}}`")]
    Unclosed,
    /// Neither the name of a format nor a `log_format`.
    #[error("log format: `{name}` is not one (try `json`, `combined`, or text with `$variables`)")]
    UnknownFormat {
        /// What was given.
        name: String,
    },
    /// `$` without a name.
    #[error("log format: `$` without a name")]
    Unnamed,
}

/// A compiled format.
#[derive(Clone, Debug)]
pub(super) struct Template {
    tokens: Vec<Token>,
}

#[derive(Clone, Debug)]
enum Token {
    Literal(Box<[u8]>),
    Variable(Write),
}

type Write = fn(&mut Vec<u8>, &RequestRecord<'_>);

const COMBINED: &str = concat!(
    "$remote_addr - $remote_user [$time_local] \"$request\" ",
    "$status $body_bytes_sent \"$http_referer\" \"$http_user_agent\""
);

/// Every variable and how it is written. `reason`, `route_kind` and `route_name` are tidegate's own.
const VARIABLES: &[(&str, Write)] = &[
    ("args", |line, r| field(line, r.query.map(str::as_bytes))),
    ("body_bytes_sent", |line, r| number(line, r.response_bytes)),
    ("bytes_sent", |line, r| number(line, r.response_bytes)),
    ("host", |line, r| text(line, r.host)),
    ("http_host", |line, r| text(line, r.host)),
    ("http_referer", |line, r| field(line, r.referer)),
    ("http_user_agent", |line, r| field(line, r.user_agent)),
    ("ingress_name", |line, r| text(line, r.route.map_or("", |route| &route.name))),
    ("location_path", |line, r| text(line, r.route.map_or("", |route| &route.path))),
    ("msec", |line, r| unix_millis(line, r.time + r.duration)),
    ("namespace", |line, r| text(line, r.route.map_or("", |route| &route.namespace))),
    // ingress-nginx sets it for canaries only, and to the empty text else.
    ("proxy_alternative_upstream_name", |_, _| ()),
    ("proxy_upstream_name", |line, r| text(line, r.upstream.unwrap_or_default())),
    ("query_string", |line, r| field(line, r.query.map(str::as_bytes))),
    ("realip_remote_addr", |line, r| ip(line, r.peer.ip())),
    ("realip_remote_port", |line, r| number(line, r.peer.port())),
    ("reason", |line, r| text(line, r.reason.as_str())),
    ("remote_addr", |line, r| ip(line, r.client)),
    ("remote_user", |line, r| field(line, r.identity.map(str::as_bytes))),
    ("req_id", |line, r| text(line, r.request_id)),
    ("request", request),
    ("request_id", |line, r| text(line, r.request_id)),
    ("request_length", |line, r| number(line, r.request_bytes)),
    ("request_method", |line, r| text(line, r.method)),
    ("request_time", |line, r| seconds_millis(line, r.duration)),
    ("request_uri", uri),
    ("route_kind", |line, r| text(line, r.route.map_or("", |route| route.kind))),
    ("route_name", |line, r| text(line, r.route.map_or("", |route| &route.name))),
    ("scheme", |line, r| text(line, r.scheme)),
    ("server_name", |line, r| text(line, r.host)),
    ("server_protocol", |line, r| text(line, r.protocol)),
    ("service_name", |line, r| text(line, r.route.map_or("", |route| &route.service))),
    ("ssl_cipher", |line, r| text(line, r.tls.map_or("", |tls| tls.cipher))),
    ("ssl_protocol", |line, r| text(line, r.tls.map_or("", |tls| tls.version))),
    ("ssl_server_name", |line, r| text(line, r.tls.and_then(|tls| tls.server_name.as_deref()).unwrap_or_default())),
    ("status", |line, r| padded(line, u64::from(r.status), 3)),
    ("the_real_ip", |line, r| ip(line, r.client)),
    ("time_iso8601", |line, r| iso8601(line, r.time + r.duration)),
    ("time_local", |line, r| common_log(line, r.time + r.duration)),
    ("upstream_addr", |line, r| each_attempt(line, r, |line, t| socket(line, t.address))),
    ("upstream_connect_time", |line, r| each_attempt(line, r, connect_time)),
    ("upstream_header_time", |line, r| each_attempt(line, r, |line, t| time(line, t.header))),
    ("upstream_response_length", |line, r| {
        each_attempt(line, r, |line, t| number(line, if answered(t) { r.response_bytes } else { 0 }));
    }),
    ("upstream_response_time", |line, r| each_attempt(line, r, |line, t| time(line, t.response))),
    ("upstream_status", |line, r| {
        let status = |t: &Attempt| if answered(t) { r.status } else { t.outcome.status() };
        each_attempt(line, r, |line, t| padded(line, u64::from(status(t)), 3));
    }),
    ("uri", |line, r| text(line, r.path)),
];

// === impl Template ===

impl Template {
    /// The format `combined`.
    pub(super) fn combined() -> Self {
        // The constant names known variables only, as a test shows.
        Self::parse(COMBINED).unwrap_or(Self { tokens: Vec::new() })
    }

    /// Compiles a format. A line's end at the end is left out, since each line gets one.
    pub(super) fn parse(text: &str) -> Result<Self, FormatError> {
        let mut tokens = Vec::new();
        let mut rest = text.trim_end_matches(['\r', '\n']);
        while let Some((literal, after)) = rest.split_once('$') {
            push_literal(&mut tokens, literal);
            let (name, tail) = split_name(after)?;
            tokens.push(Token::Variable(find(name)?));
            rest = tail;
        }
        push_literal(&mut tokens, rest);
        Ok(Self { tokens })
    }

    /// Writes one line, without its end.
    pub(super) fn write(&self, line: &mut Vec<u8>, record: &RequestRecord<'_>) {
        for token in &self.tokens {
            match token {
                Token::Literal(literal) => line.extend_from_slice(literal),
                Token::Variable(write) => write(line, record),
            }
        }
    }
}

fn push_literal(tokens: &mut Vec<Token>, literal: &str) {
    if !literal.is_empty() {
        tokens.push(Token::Literal(literal.as_bytes().into()));
    }
}

/// `name…` or `{name}…`, behind the `$`.
fn split_name(text: &str) -> Result<(&str, &str), FormatError> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}').ok_or(FormatError::Unclosed);
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    if end == 0 { Err(FormatError::Unnamed) } else { Ok(text.split_at(end)) }
}

fn find(name: &str) -> Result<Write, FormatError> {
    let found = VARIABLES.iter().find(|(known, _)| *known == name);
    found.map(|(_, write)| *write).ok_or_else(|| FormatError::UnknownVariable { name: name.to_owned() })
}

/// Names of the variables.
pub(super) fn variables() -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().map(|(name, _)| *name)
}

fn known() -> String {
    variables().collect::<Vec<_>>().join(", ")
}

fn text(line: &mut Vec<u8>, value: &str) {
    field(line, Some(value.as_bytes()));
}

fn field(line: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None | Some([]) => line.push(b'-'),
        Some(value) => escape::nginx(line, value),
    }
}

fn request(line: &mut Vec<u8>, record: &RequestRecord<'_>) {
    text(line, record.method);
    line.push(b' ');
    uri(line, record);
    line.push(b' ');
    text(line, record.protocol);
}

fn uri(line: &mut Vec<u8>, record: &RequestRecord<'_>) {
    text(line, record.path);
    if let Some(query) = record.query {
        line.push(b'?');
        escape::nginx(line, query.as_bytes());
    }
}

fn each_attempt(line: &mut Vec<u8>, record: &RequestRecord<'_>, write: impl Fn(&mut Vec<u8>, &Attempt)) {
    if record.attempts.is_empty() {
        line.push(b'-');
    }
    for (position, attempt) in record.attempts.iter().enumerate() {
        if position > 0 {
            line.extend_from_slice(b", ");
        }
        write(line, attempt);
    }
}

/// A reused connection took no time to connect; nginx writes 0.000 then.
fn connect_time(line: &mut Vec<u8>, attempt: &Attempt) {
    time(line, attempt.connect.or(attempt.is_reused.then_some(std::time::Duration::ZERO)));
}

fn time(line: &mut Vec<u8>, value: Option<std::time::Duration>) {
    match value {
        Some(value) => seconds_millis(line, value),
        None => line.push(b'-'),
    }
}

fn answered(attempt: &Attempt) -> bool {
    attempt.outcome == Reason::Upstream
}
