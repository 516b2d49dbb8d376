//! `tidegate certs`, `backends` and `diagnostics`: what a running proxy says of itself.

use std::process::ExitCode;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{TableForm, print, table};
use crate::explain::{CertificateRow, UpstreamRow};

/// Subject of a request to the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Certificates,
    Backends,
    Diagnostics,
}

pub(super) fn inspect(topic: Topic, admin: &str, output: TableForm) -> anyhow::Result<ExitCode> {
    let path = match topic {
        Topic::Certificates => "/api/v1/certificates",
        Topic::Backends => "/api/v1/upstreams",
        Topic::Diagnostics => "/api/v1/diagnostics",
    };
    let value = super::run::block_on(crate::admin::client::get(admin, path))??;
    match output {
        TableForm::Json => print(&format!("{value:#}\n"))?,
        TableForm::Yaml => print(&crate::yaml::to_string(&value)?)?,
        TableForm::Table => print(&match topic {
            Topic::Certificates => certificates(&rows(value)?),
            Topic::Backends => backends(&rows(value)?),
            Topic::Diagnostics => diagnostics(&rows(value)?),
        })?,
    }
    Ok(ExitCode::SUCCESS)
}

fn rows<T: DeserializeOwned>(value: Value) -> anyhow::Result<Vec<T>> {
    serde_json::from_value(value).context("the proxy's response cannot be read")
}

fn certificates(rows: &[CertificateRow]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let (host, name, until) = (row.host.clone(), row.name.clone(), day(row.not_after));
            vec![host, name, until, row.dns_names.join(","), row.origin.clone(), row.owner.clone()]
        })
        .collect();
    table::render(&["HOST", "CERTIFICATE", "VALID UNTIL", "NAMES", "ORIGIN", "NAMED BY"], &cells)
}

fn backends(rows: &[UpstreamRow]) -> String {
    let mut cells = Vec::new();
    for row in rows {
        let first = [row.id.clone(), row.protocol.clone(), row.balance.clone()];
        if row.endpoints.is_empty() {
            cells.push(first.iter().cloned().chain(["none".to_owned()]).collect());
        }
        let refused = |text: &String| ["", "", "", text, "refused"].map(str::to_owned).to_vec();
        for (index, endpoint) in row.endpoints.iter().enumerate() {
            let state = match (&endpoint.error, endpoint.healthy) {
                (Some(error), false) => format!("unhealthy: {error}"),
                (None, false) => "unhealthy".to_owned(),
                (_, true) if row.is_checked => "healthy".to_owned(),
                (_, true) => "ready".to_owned(),
            };
            let head = if index == 0 { first.clone() } else { <[String; 3]>::default() };
            cells.push(
                head.into_iter().chain([endpoint.address.clone(), state, endpoint.in_flight.to_string()]).collect(),
            );
        }
        cells.extend(row.refused.iter().map(refused));
    }
    table::render(&["BACKEND", "PROTOCOL", "BALANCE", "ENDPOINT", "STATE", "IN FLIGHT"], &cells)
}

fn diagnostics(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "no findings\n".to_owned();
    }
    let text = |row: &Value, pointer: &str| row.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let object = ["/origin/kind", "/origin/namespace", "/origin/name"].map(|pointer| text(row, pointer));
            let object = object.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
            vec![text(row, "/severity"), text(row, "/code"), object, text(row, "/origin/field"), text(row, "/message")]
        })
        .collect();
    table::render(&["SEVERITY", "CODE", "OBJECT", "FIELD", "FINDING"], &cells)
}

/// The day of a time in seconds since 1970, as `2026-11-21`.
fn day(seconds: i64) -> String {
    x509_parser::time::ASN1Time::from_timestamp(seconds).map_or_else(
        |_| seconds.to_string(),
        |time| {
            let date = time.to_datetime().date();
            format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
        },
    )
}
