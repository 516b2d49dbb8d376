//! The process's conf file: what the process itself needs, and what it says about traffic.
//!
//! Takes text, gives [`Settings`] or every fault with field and position. Unknown fields are errors.
//! It must not know what routes mean, open sockets, or read the files that the conf names.

mod elsewhere;
mod process;
mod schema;
#[cfg(test)]
mod tests;
mod validate;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::code::Code;
use crate::diagnostic::{Diagnostic, Position};
use crate::origin::{Origin, Place};
use crate::resources::conf::Conf;
use crate::suggest;
use crate::yaml::{self, Entry, FieldError, Node};

pub(crate) use process::needs_restart;
pub(crate) use process::{
    AccessLogSpec, AdmissionSpec, KubernetesSpec, LogFormat, LogStyle, Process, ShutdownSpec, TelemetrySpec,
};
pub use schema::schema;

/// Settings: the whole content of a conf file.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Threads, sources, logs: the process.
    pub process: Process,
    /// Listeners, routes, upstreams, plugins, defaults: traffic.
    pub conf: Conf,
    /// The file, as it was given.
    pub file: PathBuf,
    /// Its folder: where relative file names in it start.
    pub folder: PathBuf,
}

// === impl Settings ===

impl Settings {
    /// Reads a conf file.
    ///
    /// # Errors
    /// Every fault: the file cannot be read, is not YAML, or says what cannot be.
    pub fn load(path: &Path) -> Result<Self, Vec<Diagnostic>> {
        let bytes = std::fs::read(path).map_err(|error| {
            let diagnostic = Diagnostic::error(Code::FileUnreadable, &origin(path), format!("cannot be read: {error}"));
            vec![diagnostic.hint("name a conf file with `--conf FILE`")]
        })?;
        Self::parse_bytes(&bytes, path)
    }

    /// Reads conf text; `file` is its name in diagnostics and gives the folder.
    ///
    /// # Errors
    /// Every fault.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Vec<Diagnostic>> {
        Self::parse_bytes(text.as_bytes(), file)
    }

    /// A file name of the conf, from the conf's folder when it is relative.
    pub fn resolve(&self, file: impl AsRef<Path>) -> PathBuf {
        self.folder.join(file)
    }

    fn parse_bytes(bytes: &[u8], file: &Path) -> Result<Self, Vec<Diagnostic>> {
        let origin = origin(file);
        let root = root(bytes, &origin)?;
        let (process, conf) = split(&root, &origin)?;
        let process: Result<Process, _> = section(&process, &origin);
        let conf: Result<Conf, _> = section(&conf, &origin);
        let (process, conf) = match (process, conf) {
            (Ok(process), Ok(conf)) => (process, conf),
            (process, conf) => return Err([process.err(), conf.err()].into_iter().flatten().flatten().collect()),
        };
        let found: Vec<Diagnostic> = validate::faults(&process, &conf)
            .into_iter()
            .map(|fault| {
                let position = yaml::locate_in(&root, &fault.field);
                Diagnostic::error(fault.code, &origin.at(fault.field), fault.message).hint(fault.hint).at(position)
            })
            .collect();
        if !found.is_empty() {
            return Err(found);
        }
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { process, conf, file: file.to_owned(), folder: folder.to_owned() })
    }
}

/// The origin of a whole conf file.
pub(crate) fn origin(file: &Path) -> Origin {
    let name: Arc<str> = file.to_string_lossy().into();
    let place = Place { file: name.clone(), line: 1, document: 0, item: None };
    Origin::new("Conf", "", &name, Some(place))
}

/// The one document of the file; an empty file is an empty mapping.
fn root(bytes: &[u8], origin: &Origin) -> Result<Node, Vec<Diagnostic>> {
    let one = |code, message: String, position| vec![Diagnostic::error(code, origin, message).at(position)];
    let documents = yaml::documents(bytes).map_err(|error| {
        let diagnostic = Diagnostic::error(Code::InvalidYaml, origin, error.message).at(error.position);
        vec![Diagnostic { hint: error.hint, ..diagnostic }]
    })?;
    let mut documents = documents.into_iter();
    let empty = Node { position: Position::START, content: yaml::Content::Mapping(Vec::new()) };
    let root = documents.next().filter(|root| !root.is_null()).unwrap_or(empty);
    if let Some(second) = documents.find(|document| !document.is_null()) {
        return Err(one(
            Code::InvalidConf,
            "a conf file has one document, this is a second one".to_owned(),
            second.position,
        ));
    }
    if !matches!(root.content, yaml::Content::Mapping(_)) {
        return Err(one(Code::InvalidConf, "a conf file is a mapping of sections".to_owned(), root.position));
    }
    Ok(root)
}

/// Splits the top level between [`Process`] and [`Conf`]; serde's `flatten` would let unknown fields through.
fn split(root: &Node, origin: &Origin) -> Result<(Node, Node), Vec<Diagnostic>> {
    let (process_keys, conf_keys) = (schema::process_keys(), schema::conf_keys());
    let unknown = |entry: &&Entry| !process_keys.contains(&entry.key) && !conf_keys.contains(&entry.key);
    let faults: Vec<Diagnostic> = root
        .entries()
        .iter()
        .filter(unknown)
        .map(|entry| {
            let names = process_keys.iter().chain(conf_keys).map(String::as_str);
            let hint = suggest::did_you_mean(&entry.key, names.clone())
                .or_else(|| elsewhere::hint(&entry.key))
                .unwrap_or_else(|| format!("sections are {}", names.collect::<Vec<_>>().join(", ")));
            let message = format!("unknown field `{}`", entry.key);
            Diagnostic::error(Code::InvalidConf, &origin.at(entry.key.as_str()), message).hint(hint).at(entry.position)
        })
        .collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let (conf, process) = root.entries().iter().cloned().partition(|entry| conf_keys.contains(&entry.key));
    let part = |entries| Node { position: root.position, content: yaml::Content::Mapping(entries) };
    Ok((part(process), part(conf)))
}

/// Reads one half; when it fails, every section is tried alone, so that each can tell its fault.
fn section<T: serde::de::DeserializeOwned>(half: &Node, origin: &Origin) -> Result<T, Vec<Diagnostic>> {
    yaml::typed(half, half.to_json()).map_err(|whole| {
        let alone = half.entries().iter().filter_map(|entry| {
            let value = Value::Object(Map::from_iter([(entry.key.clone(), entry.value.to_json())]));
            yaml::typed::<T>(half, value).err()
        });
        let mut faults: Vec<FieldError> = alone.collect();
        if faults.is_empty() {
            faults.push(whole);
        }
        faults.into_iter().map(|fault| invalid(fault, origin)).collect()
    })
}

fn invalid(fault: FieldError, origin: &Origin) -> Diagnostic {
    let elsewhere = fault.stray.and_then(|name| elsewhere::hint(&name));
    let diagnostic = Diagnostic::error(Code::InvalidConf, &origin.at(fault.field), fault.message).at(fault.position);
    Diagnostic { hint: elsewhere.or(fault.hint), ..diagnostic }
}
