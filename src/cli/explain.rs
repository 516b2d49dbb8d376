//! `tidegate explain`: where a request would go, and why, as text.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::{ExplainArgs, TextOrJson, exit, print};
use crate::app::Builder;
use crate::app::offline::Offline;
use crate::explain::{Candidate, Explanation, Question};

pub(super) fn explain(builder: &Builder, conf: Option<&Path>, args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let question = Question::new(&args.method, &args.url, &args.headers, args.from_ip)?;
    let explanation = match &args.admin {
        Some(url) => {
            let value = super::run::block_on(crate::admin::client::get(url, &question.to_path()))??;
            serde_json::from_value(value).context("the proxy's answer is not an explanation")?
        }
        None => Offline::load(builder, conf).map_err(|found| super::run::unusable(&found))?.explain(&question),
    };
    match args.output {
        TextOrJson::Json => print(&format!("{:#}\n", serde_json::to_value(&explanation)?)),
        TextOrJson::Text => print(&text(&explanation)),
    }
    Ok(exit(explanation.is_served))
}

fn text(it: &Explanation) -> String {
    let mut out = String::new();
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(out, "{label:<12} {value}");
    };
    line("request", &it.request);
    line("canonical", it.canonical.as_deref().unwrap_or("refused"));
    if let Some(certificate) = &it.certificate {
        line("certificate", certificate);
    }
    line("client", &it.client);
    line("host", it.host.as_deref().unwrap_or("no virtual host; the default backend, else 404"));
    for candidate in &it.candidates {
        line("", &candidate_text(candidate));
    }
    if let Some(route) = &it.route {
        line("route", &format!("{} ({})", route.name, route.origin));
        for setting in &route.settings {
            line("", &format!("{} = {} from {}", setting.name, setting.value, setting.origin));
        }
        for (index, plugin) in route.plugins.iter().enumerate() {
            line(if index == 0 { "plugins" } else { "" }, plugin);
        }
    }
    for upstream in &it.upstreams {
        line("backend", &format!("{} weight {} {}", upstream.id, upstream.weight, upstream.protocol));
        for endpoint in &upstream.endpoints {
            line("", endpoint);
        }
        if let Some(pick) = &upstream.next {
            line("", &format!("next: {pick}"));
        }
    }
    line("answer", &it.answer);
    out
}

fn candidate_text(candidate: &Candidate) -> String {
    let mark = if candidate.won { "✔" } else { "✘" };
    format!(
        "{mark} {} {} {}: {} ({})",
        candidate.kind, candidate.path, candidate.conditions, candidate.verdict, candidate.origin
    )
    .replace("  ", " ")
    .replace(" : ", ": ")
}
