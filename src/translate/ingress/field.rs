//! Paths of fields that every Ingress has: made once, shared by all.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::annotations::{ANNOTATIONS, PREFIX};

/// The prefix of foreign annotations, unless the conf says otherwise.
const FOREIGN_PREFIX: &str = "nginx.ingress.kubernetes.io";

/// Rules of an Ingress whose fields are made beforehand.
const RULES: usize = 8;
/// Paths of a rule, likewise.
const PATHS: usize = 16;

/// Fields of a path of a rule.
#[derive(Clone, Debug)]
pub(crate) struct PathField {
    /// `spec.rules[…].http.paths[…].path`
    pub path: Arc<str>,
    /// `spec.rules[…].http.paths[…].backend.service`
    pub service: Arc<str>,
}

/// The fields of one path of one rule.
pub(crate) fn of_path(rule: usize, path: usize) -> PathField {
    static KNOWN: LazyLock<Vec<PathField>> =
        LazyLock::new(|| (0..RULES * PATHS).map(|at| make(at / PATHS, at % PATHS)).collect());
    let known = (rule < RULES && path < PATHS).then(|| KNOWN.get(rule * PATHS + path)).flatten();
    known.cloned().unwrap_or_else(|| make(rule, path))
}

/// The field of an annotation.
pub(crate) fn of_annotation(key: &str) -> Arc<str> {
    static KNOWN: LazyLock<HashMap<String, Arc<str>>> = LazyLock::new(|| {
        let names = ANNOTATIONS.iter().flat_map(|each| std::iter::once(&each.name).chain(each.aliases));
        let keys = names.flat_map(|name| [PREFIX, FOREIGN_PREFIX].map(|prefix| format!("{prefix}/{name}")));
        keys.map(|key| (key.clone(), annotation(&key))).collect()
    });
    KNOWN.get(key).cloned().unwrap_or_else(|| annotation(key))
}

fn annotation(key: &str) -> Arc<str> {
    format!("metadata.annotations[{key}]").into()
}

/// The field that a field is part of.
pub(crate) fn parent(field: &str) -> &str {
    field.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn make(rule: usize, path: usize) -> PathField {
    let field = format!("spec.rules[{rule}].http.paths[{path}]");
    PathField { path: format!("{field}.path").into(), service: format!("{field}.backend.service").into() }
}
