//! `tidegate routes`: the routing table, from files or from a running proxy.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::{TableForm, print, table};
use crate::app::Builder;
use crate::app::offline::Offline;
use crate::explain::RouteRow;

pub(super) fn routes(
    builder: &Builder,
    conf: Option<&Path>,
    output: TableForm,
    admin: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let rows = match admin {
        Some(url) => {
            let value = super::run::block_on(crate::admin::client::get(url, "/api/v1/routes"))??;
            serde_json::from_value(value).context("the proxy's response is not a routing table")?
        }
        None => Offline::load(builder, conf).map_err(|found| super::run::unusable(&found))?.routes(),
    };
    match output {
        TableForm::Table if rows.is_empty() => print("no routes: every request is answered 404\n")?,
        TableForm::Table => print(&text(&rows))?,
        TableForm::Json => print(&format!("{:#}\n", serde_json::to_value(&rows)?))?,
        TableForm::Yaml => print(&crate::yaml::to_string(&serde_json::to_value(&rows)?)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(rows: &[RouteRow]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let path =
                if row.conditions.is_empty() { row.path.clone() } else { format!("{} [{}]", row.path, row.conditions) };
            vec![
                row.host.clone(),
                path,
                row.kind.clone(),
                row.target.clone(),
                row.ready.map_or_else(|| "-".to_owned(), |(ready, all)| format!("{ready}/{all}")),
                row.plugins.join(","),
                row.origin.clone(),
            ]
        })
        .collect();
    table::render(&["HOST", "PATH", "TYPE", "BACKEND", "READY", "PLUGINS", "ORIGIN"], &cells)
}
