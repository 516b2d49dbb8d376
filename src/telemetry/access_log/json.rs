//! The JSON form of a line.
//!
//! Names are OpenTelemetry's semantic conventions for HTTP, network, TLS and user agent where they have one;
//! the others are tidegate's: `duration` and the times of attempts are seconds.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use tidegate_plugin::Target;

use super::timestamp::rfc3339;
use super::{decimal, escape};
use crate::telemetry::record::{Attempt, PluginTime, RequestRecord};

/// Writes one object, without the line's end. Fields without a value are left out.
pub(super) fn write(line: &mut Vec<u8>, record: &RequestRecord<'_>) {
    line.extend_from_slice(b"{\"time\":\"");
    rfc3339(line, record.time);
    line.push(b'"');
    request(line, record);
    answer(line, record);
    connection(line, record);
    attempts(line, record.attempts);
    plugins(line, record.plugins);
    optional(line, "error", record.error.map(str::as_bytes));
    line.push(b'}');
}

fn request(line: &mut Vec<u8>, record: &RequestRecord<'_>) {
    text(line, "request_id", record.request_id);
    text(line, "http.request.method", record.method);
    text(line, "url.scheme", record.scheme);
    text(line, "server.address", record.host);
    text(line, "url.path", record.path);
    optional(line, "url.query", record.query.map(str::as_bytes));
    number(line, "http.request.size", record.request_bytes);
    optional(line, "user_agent.original", record.user_agent);
    if let Some(referer) = record.referer {
        // OpenTelemetry has header fields as lists, because a field may be repeated.
        key(line, "http.request.header.referer");
        line.extend_from_slice(b"[\"");
        escape::json(line, referer);
        line.extend_from_slice(b"\"]");
    }
    optional(line, "user.name", record.identity.map(str::as_bytes));
}

fn answer(line: &mut Vec<u8>, record: &RequestRecord<'_>) {
    number(line, "http.response.status_code", record.status);
    number(line, "http.response.size", record.response_bytes);
    seconds(line, "duration", Some(record.duration));
    text(line, "reason", record.reason.as_str());
    if let Some((name, reason)) = record.answered_by {
        text(line, "plugin.name", name);
        optional(line, "plugin.reason", reason.map(|reason| reason.as_str().as_bytes()));
    }
    if let Some(route) = record.route {
        text(line, "namespace", &route.namespace);
        text(line, "route.kind", route.kind);
        text(line, "route.name", &route.name);
        text(line, "http.route", &route.path);
        text(line, "service", &route.service);
    }
    optional(line, "upstream", record.upstream.map(str::as_bytes));
    if let Some(sent) = record.sent {
        self::sent(line, sent);
    }
}

/// What the upstream was asked for, as far as it is something else.
fn sent(line: &mut Vec<u8>, sent: &Target) {
    optional(line, "upstream.request.method", sent.method.as_ref().map(|method| method.as_str().as_bytes()));
    optional(line, "upstream.server.address", sent.host.as_deref().map(str::as_bytes));
    optional(line, "upstream.url.path", sent.path.as_deref().map(str::as_bytes));
    optional(
        line,
        "upstream.url.query",
        sent.query.as_ref().map(|query| query.as_deref().unwrap_or_default().as_bytes()),
    );
}

fn connection(line: &mut Vec<u8>, record: &RequestRecord<'_>) {
    text(line, "listener", record.listener);
    address(line, "client.address", record.client);
    address(line, "network.peer.address", record.peer.ip());
    number(line, "network.peer.port", record.peer.port());
    let version = record.protocol.strip_prefix("HTTP/").unwrap_or(record.protocol);
    text(line, "network.protocol.version", version.strip_suffix(".0").filter(|major| *major != "1").unwrap_or(version));
    if let Some(tls) = record.tls {
        text(line, "tls.protocol.version", tls.version.strip_prefix("TLSv").unwrap_or(tls.version));
        text(line, "tls.cipher", tls.cipher);
        optional(line, "tls.client.server_name", tls.server_name.as_deref().map(str::as_bytes));
    }
}

fn attempts(line: &mut Vec<u8>, attempts: &[Attempt]) {
    if attempts.is_empty() {
        return;
    }
    key(line, "attempts");
    for (position, attempt) in attempts.iter().enumerate() {
        line.extend_from_slice(if position == 0 { b"[" } else { b"," });
        line.extend_from_slice(b"{\"address\":\"");
        decimal::socket(line, attempt.address);
        line.push(b'"');
        seconds(line, "connect", attempt.connect);
        seconds(line, "header", attempt.header);
        seconds(line, "response", attempt.response);
        key(line, "reused");
        line.extend_from_slice(if attempt.is_reused { b"true" } else { b"false" });
        text(line, "outcome", attempt.outcome.as_str());
        line.push(b'}');
    }
    line.push(b']');
}

fn plugins(line: &mut Vec<u8>, plugins: &[PluginTime<'_>]) {
    if plugins.is_empty() {
        return;
    }
    key(line, "plugins");
    for (position, plugin) in plugins.iter().enumerate() {
        line.extend_from_slice(if position == 0 { b"[" } else { b"," });
        line.extend_from_slice(b"{\"name\":\"");
        escape::json(line, plugin.name.as_bytes());
        line.extend_from_slice(b"\",\"duration\":");
        // Hooks take less than the microseconds that other times are told in.
        let _ = write!(line, "{:.9}}}", plugin.took.as_secs_f64());
    }
    line.push(b']');
}

/// Writes `,"name":`; names are ours and need no escaping.
fn key(line: &mut Vec<u8>, name: &str) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
}

fn text(line: &mut Vec<u8>, name: &str, value: &str) {
    optional(line, name, Some(value.as_bytes()));
}

fn optional(line: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        key(line, name);
        line.push(b'"');
        escape::json(line, value);
        line.push(b'"');
    }
}

fn address(line: &mut Vec<u8>, name: &str, value: IpAddr) {
    key(line, name);
    line.push(b'"');
    decimal::ip(line, value);
    line.push(b'"');
}

fn number(line: &mut Vec<u8>, name: &str, value: impl Into<u64>) {
    key(line, name);
    decimal::number(line, value);
}

fn seconds(line: &mut Vec<u8>, name: &str, value: Option<Duration>) {
    if let Some(value) = value {
        key(line, name);
        decimal::seconds_micros(line, value);
    }
}
