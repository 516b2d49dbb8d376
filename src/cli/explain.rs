//! `tidegate explain`: where a request would go, and why, as text.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use super::{ExplainArgs, TextOrJson, exit, print};
use crate::app::Builder;
use crate::app::offline::Offline;
use crate::explain::{Candidate, Explanation, Question, RouteView, UpstreamView};

pub(super) fn explain(builder: &Builder, conf: Option<&Path>, args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let question = Question::new(&args.method, &args.url, &args.headers, args.from_ip)?;
    let explanation = match &args.admin {
        Some(url) => {
            let value = super::run::block_on(crate::admin::client::get(url, &question.to_path()))??;
            serde_json::from_value(value).context("the proxy's response is not an explanation")?
        }
        None => Offline::load(builder, conf).map_err(|found| super::run::unusable(&found))?.explain(&question),
    };
    match args.output {
        TextOrJson::Json => print(&format!("{:#}\n", serde_json::to_value(&explanation)?))?,
        TextOrJson::Text => print(&text(&explanation))?,
    }
    Ok(exit(explanation.is_served))
}

fn text(it: &Explanation) -> String {
    let mut out = Lines::default();
    out.add("request", &it.request);
    out.add("listener", it.listener.as_deref().unwrap_or("none has this protocol"));
    if let Some(certificate) = &it.certificate {
        out.add("certificate", certificate);
    }
    out.add("client", &it.client);
    out.add("canonical", it.canonical.as_deref().unwrap_or("refused before routing"));
    if it.canonical.is_some() {
        out.add("host", &host_text(it));
        it.owner.iter().for_each(|owner| out.add("owner", owner));
    }
    let candidates: Vec<String> = it.candidates.iter().map(candidate_text).collect();
    out.list("candidates", &candidates);
    if let Some(route) = &it.route {
        route_text(&mut out, route);
    }
    if !it.chosen_by.is_empty() {
        out.add("chosen by", &format!("{}, which may choose any of these; else by weight", it.chosen_by.join(", ")));
    }
    it.upstreams.iter().for_each(|upstream| upstream_text(&mut out, upstream));
    it.sent.iter().for_each(|sent| out.add("sent", &format!("{sent}, by plugins")));
    out.add("response", &it.response);
    out.add("reason", &it.reason);
    out.0
}

/// Labelled lines; an empty label continues the one above.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, label: &str, value: &str) {
        // Writing to a String cannot fail; values may quote what clients and files say.
        let _ = writeln!(self.0, "{label:<12} {}", super::report::line(value));
    }

    fn list(&mut self, label: &str, values: &[String]) {
        for (index, value) in values.iter().enumerate() {
            self.add(if index == 0 { label } else { "" }, value);
        }
    }
}

fn host_text(it: &Explanation) -> String {
    match &it.host {
        Some(host) => host.clone(),
        None if it.hosts_tried.is_empty() => "none".to_owned(),
        None => format!("none of {}", it.hosts_tried.join(", ")),
    }
}

fn route_text(out: &mut Lines, route: &RouteView) {
    out.add("route", &format!("{} ({})", route.route, route.origin));
    let settings: Vec<String> =
        route.settings.iter().map(|it| format!("{} = {} from {}", it.name, it.value, it.origin)).collect();
    out.list("settings", &settings);
    for (index, plugin) in route.plugins.iter().enumerate() {
        let mode = if plugin.mode == "enforce" { String::new() } else { format!(", mode {}", plugin.mode) };
        let label = if index == 0 { "plugins" } else { "" };
        let (name, kind, stage) = (&plugin.name, &plugin.kind, &plugin.stage);
        out.add(label, &format!("{name} ({kind}, stage {stage}{mode}) from {}", plugin.origin));
        let mut values = Vec::new();
        flatten("", &plugin.config, &mut values);
        values.iter().for_each(|value| out.add("", &format!("  {value}")));
    }
}

/// Every value of a configuration with its path, one a line.
fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{key}"), value, lines);
            }
        }
        // A configuration without any field is all defaults.
        Value::Object(_) | Value::Null if path.is_empty() => {}
        Value::String(text) => lines.push(format!("{path} = {text}")),
        other => lines.push(format!("{path} = {other}")),
    }
}

fn upstream_text(out: &mut Lines, upstream: &UpstreamView) {
    let (id, weight) = (&upstream.id, upstream.weight);
    out.add("backend", &format!("{id} (weight {weight}, {}, {})", upstream.protocol, upstream.balance));
    if upstream.endpoints.is_empty() {
        out.add("", "no endpoints");
    }
    for endpoint in &upstream.endpoints {
        out.add("", endpoint);
    }
    for refused in &upstream.refused {
        out.add("", &format!("refused: {refused}"));
    }
    if let Some(pick) = &upstream.next {
        out.add("", &format!("next: {pick}"));
    }
}

fn candidate_text(candidate: &Candidate) -> String {
    let mark = if candidate.won { "✔" } else { "✘" };
    let Candidate { kind, path, conditions, verdict, origin, .. } = candidate;
    let conditions = if conditions.is_empty() { String::new() } else { format!(" [{conditions}]") };
    format!("{mark} {kind} {path}{conditions}: {verdict} ({origin})")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_configuration_is_told_value_by_value() {
        let mut lines = Vec::new();
        super::flatten("", &json!({ "a": { "b": "x", "c": [1] }, "d": true }), &mut lines);
        assert_eq!(lines, ["a.b = x", "a.c = [1]", "d = true"]);
    }
}
