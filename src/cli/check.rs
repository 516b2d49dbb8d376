//! `tidegate check`: every finding about the input, with the place it is about.

use std::path::Path;
use std::process::ExitCode;

use super::{TextOrJson, exit, print, report};
use crate::app::Builder;
use crate::app::offline::Offline;
use crate::diagnostic::{Diagnostic, Severity};

pub(super) fn check(
    builder: &Builder,
    conf: Option<&Path>,
    deny_warnings: bool,
    output: TextOrJson,
) -> anyhow::Result<ExitCode> {
    let (diagnostics, summary) = match Offline::load(builder, conf) {
        Ok(offline) => (offline.diagnostics.clone(), offline.summary()),
        Err(diagnostics) => (diagnostics, "the conf file cannot be used".to_owned()),
    };
    let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match output {
        TextOrJson::Json => {
            print(&format!("{:#}\n", serde_json::json!({ "diagnostics": diagnostics, "summary": summary })))?;
        }
        TextOrJson::Text => {
            let gap = if diagnostics.is_empty() { "" } else { "\n" };
            print(&format!("{}{gap}{summary}: {}\n", text(&diagnostics), report::summary(&diagnostics)))?;
        }
    }
    Ok(exit(errors == 0 && (warnings == 0 || !deny_warnings)))
}

fn text(diagnostics: &[Diagnostic]) -> String {
    report::render(diagnostics, |file| std::fs::read_to_string(file).ok())
}
