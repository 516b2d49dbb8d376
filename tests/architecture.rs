//! Fails on an import that goes against the flow: sources → translate → compile → serve → tell.
//!
//! Reads the sources as text: `use` lines, inline paths `crate::…`, and names of foreign crates. Only code that runs
//! counts: files of tests are passed over.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on fails"
)]

#[path = "architecture/files.rs"]
mod files;

use std::fs;
use std::path::{Path, PathBuf};

/// What the files of one module may not name.
struct Rule {
    /// Files or folders under `src` (or `plugins`).
    module: &'static [&'static str],
    /// Modules of tidegate that it may import; leaf modules are always allowed.
    may_import: &'static [&'static str],
    /// Foreign crates that it never sees.
    never_sees: &'static [&'static str],
}

/// Modules that everybody may import: words, not machinery.
const LEAVES: &[&str] = &[
    "address",
    "capacity",
    "code",
    "dense",
    "diagnostic",
    "edge",
    "host",
    "listener",
    "origin",
    "pace",
    "path",
    "pem_text",
    "policy",
    "pressure",
    "quantity",
    "reason",
    "suggest",
    "turns",
    "upstream",
    "x509",
];

const RULES: &[Rule] = &[
    Rule { module: &["model"], may_import: &["model"], never_sees: &["kube", "k8s_openapi", "pingora", "tokio"] },
    Rule { module: &["resources"], may_import: &["resources"], never_sees: &["pingora", "tokio", "notify"] },
    Rule { module: &["yaml"], may_import: &["yaml"], never_sees: &["pingora", "tokio", "k8s_openapi"] },
    Rule {
        module: &["settings"],
        may_import: &["settings", "yaml", "resources"],
        never_sees: &["pingora", "tokio", "kube", "k8s_openapi", "notify"],
    },
    Rule {
        module: &["source"],
        may_import: &["source", "resources", "settings", "yaml", "telemetry"],
        never_sees: &["pingora"],
    },
    Rule {
        module: &["translate"],
        may_import: &["translate", "resources", "model"],
        never_sees: &["pingora", "tokio", "kube", "notify", "std::fs", "std::net::Tcp", "SystemTime", "Instant::now"],
    },
    Rule {
        module: &["compile"],
        may_import: &["compile", "model", "snapshot", "endpoint", "telemetry"],
        never_sees: &["kube", "k8s_openapi", "pingora_proxy"],
    },
    Rule {
        module: &["snapshot"],
        may_import: &["snapshot", "endpoint", "telemetry"],
        never_sees: &["kube", "k8s_openapi", "pingora", "pingora_proxy", "tokio::net"],
    },
    Rule {
        module: &["endpoint"],
        may_import: &["endpoint", "telemetry"],
        never_sees: &["kube", "k8s_openapi", "pingora_proxy"],
    },
    // Health checks are Pingora's; nothing else here knows the engine.
    Rule {
        module: &[
            "endpoint/balance",
            "endpoint/health",
            "endpoint/pick",
            "endpoint/resolver",
            "endpoint/state",
            "endpoint/table",
            "endpoint/upstream",
        ],
        may_import: &["endpoint", "telemetry"],
        never_sees: &["pingora", "pingora_load_balancing"],
    },
    Rule {
        module: &["connection"],
        may_import: &["connection", "snapshot", "endpoint", "telemetry"],
        never_sees: &["kube", "k8s_openapi", "pingora_proxy"],
    },
    // What happens to a request is decided over plain types, whoever carries it out.
    Rule {
        module: &["proxy"],
        may_import: &["proxy", "connection", "snapshot", "endpoint", "telemetry"],
        never_sees: &[
            "kube",
            "k8s_openapi",
            "pingora",
            "pingora_core",
            "pingora_http",
            "pingora_proxy",
            "h2",
            "tokio::io",
            "tokio::net",
        ],
    },
    Rule {
        module: &["front"],
        may_import: &["front", "proxy", "connection", "snapshot", "endpoint", "telemetry"],
        never_sees: &["kube", "k8s_openapi", "pingora_proxy"],
    },
    Rule {
        module: &["engine"],
        may_import: &["engine", "proxy", "connection", "snapshot", "endpoint", "telemetry"],
        never_sees: &["kube", "k8s_openapi"],
    },
    Rule {
        module: &["admission"],
        may_import: &["admission", "resources", "translate", "model", "snapshot", "telemetry"],
        never_sees: &["kube", "k8s_openapi", "pingora", "notify"],
    },
    Rule { module: &["telemetry"], may_import: &["telemetry"], never_sees: &["kube", "k8s_openapi", "pingora"] },
    Rule { module: &["admin"], may_import: &["admin", "telemetry"], never_sees: &["kube", "k8s_openapi", "pingora"] },
    Rule {
        module: &["explain"],
        may_import: &["explain", "snapshot", "endpoint", "proxy"],
        never_sees: &["kube", "k8s_openapi", "pingora"],
    },
];

#[test]
fn no_module_imports_against_the_flow() {
    let faults: Vec<String> = RULES.iter().flat_map(faults_of).collect();
    assert!(faults.is_empty(), "forbidden imports:\n{}", faults.join("\n"));
}

#[test]
fn builtin_plugins_see_only_the_plugin_api() {
    let faults: Vec<String> = rust_files(&root().join("plugins/builtin/src"))
        .into_iter()
        .flat_map(|file| lines_naming(&file, &["tidegate::", "pingora", "kube", "k8s_openapi"]))
        .collect();
    assert!(faults.is_empty(), "built-in plugins name what third parties cannot:\n{}", faults.join("\n"));
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<String> = rust_files(&root().join("src"))
        .into_iter()
        .chain(rust_files(&root().join("plugins")))
        .filter(|file| !is_test(file))
        .filter(|file| !read(file).starts_with("//!"))
        .map(|file| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "files without a module comment:\n{}", silent.join("\n"));
}

/// Who reads the wall clock, and what for. Every wait and every age goes by the monotonic one, so that a clock that
/// is set forward or back times nothing out and keeps nothing alive.
const WALL_CLOCK: &[(&str, &str)] = &[
    ("src/telemetry/metrics.rs", "told: when a snapshot was published"),
    ("src/telemetry/record.rs", "told: when a request began"),
    ("src/telemetry/access_log/timestamp.rs", "told: the same"),
    ("src/proxy/finish.rs", "told: the same"),
    ("src/app/shared.rs", "told: when a snapshot was published"),
    ("src/app.rs", "told: when the process began"),
    ("src/front/early.rs", "told: when a request began"),
    ("src/source/stamp.rs", "compared with times of files"),
    ("src/source/conf.rs", "compared with times of files"),
    ("src/source/files/scan.rs", "compared with times of files"),
    ("src/source/kubernetes/read/cache.rs", "told: the age of a kept state"),
    ("src/source/kubernetes/write/events.rs", "told: when something was found"),
    ("src/source/kubernetes/write/leader.rs", "told: the times in the Lease, which nobody's lead is judged by"),
    ("src/source/kubernetes/client/contact.rs", "told: when the server was heard last"),
    ("src/source/kubernetes/write/webhook.rs", "compared with the end of a certificate"),
    ("src/app/webhook.rs", "compared with the end of a certificate"),
    ("src/admission/certificate.rs", "compared with the end of a certificate"),
    ("plugins/api/src/clock.rs", "for plugins, beside the monotonic one"),
    ("plugins/api/src/testing/clock.rs", "for tests of plugins"),
];

#[test]
fn the_wall_clock_is_read_only_where_it_is_meant() {
    let files = rust_files(&root().join("src")).into_iter().chain(rust_files(&root().join("plugins")));
    let is_known = |file: &Path| WALL_CLOCK.iter().any(|(known, _)| file.ends_with(known));
    let faults: Vec<String> = files
        .filter(|file| !is_test(file) && !is_known(file))
        .flat_map(|file| lines_naming(&file, &["SystemTime", "Timestamp::now", "Utc::now", "OffsetDateTime::now"]))
        .collect();
    assert!(faults.is_empty(), "the wall clock is read; waits go by `Instant`:\n{}", faults.join("\n"));
}

fn faults_of(rule: &Rule) -> Vec<String> {
    let allowed: Vec<String> = rule.may_import.iter().chain(LEAVES).map(|module| format!("crate::{module}")).collect();
    let mut faults = Vec::new();
    for file in rule.module.iter().flat_map(|module| files_of(module)).filter(|file| !is_test(file)) {
        faults.extend(lines_naming(&file, rule.never_sees));
        for (number, line) in code_lines(&file) {
            for path in crate_paths(&line) {
                if !allowed.contains(&path) {
                    faults.push(format!("{}:{number}: {path}", file.display()));
                }
            }
        }
    }
    faults
}

fn is_test(file: &Path) -> bool {
    file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests")
}

/// The module's own file and the files of its folder.
fn files_of(module: &str) -> Vec<PathBuf> {
    let src = root().join("src");
    let mut files = rust_files(&src.join(module));
    let own = src.join(format!("{module}.rs"));
    if own.exists() {
        files.push(own);
    }
    files
}

/// Lines of a file, numbered, without comments.
fn code_lines(file: &Path) -> Vec<(usize, String)> {
    read(file)
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default().to_owned()))
        .collect()
}

/// Every `crate::module` in a line, cut after the first segment.
fn crate_paths(line: &str) -> Vec<String> {
    line.match_indices("crate::")
        .filter(|(at, _)| !line[..*at].ends_with('$'))
        .filter_map(|(at, _)| {
            let rest = &line[at + "crate::".len()..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            (end > 0).then(|| format!("crate::{}", &rest[..end]))
        })
        .collect()
}

fn lines_naming(file: &Path, words: &[&str]) -> Vec<String> {
    code_lines(file)
        .into_iter()
        .filter(|(_, line)| words.iter().any(|word| names(line, word)))
        .map(|(number, line)| format!("{}:{number}: {}", file.display(), line.trim()))
        .collect()
}

/// Whether a line names a crate or path as a whole word.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let is_path =
            word.contains("::") || line[at + word.len()..].starts_with("::") || line.trim_start().starts_with("use ");
        !joins(before) && (word.contains("::") || !joins(after)) && is_path
    })
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .flat_map(|entry| {
            let path = entry.path();
            match (path.is_dir(), path.extension().is_some_and(|e| e == "rs")) {
                (true, _) => rust_files(&path),
                (false, true) => vec![path],
                (false, false) => Vec::new(),
            }
        })
        .collect();
    files.sort();
    files
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
