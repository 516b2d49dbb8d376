//! What types cannot say about the conf file.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::HeaderName;

use super::Process;
use crate::code::Code;
use crate::host::HostPattern;
use crate::listener::ListenerProtocol;
use crate::resources::conf::{Conf, ListenerSpec};

/// A hold of two thirds of it, and a write of 4 s that was begun at its end, are over before others may write.
const SHORTEST_LEASE: Duration = Duration::from_secs(12);

/// Something that cannot be.
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) field: String,
    pub(super) message: String,
    pub(super) hint: &'static str,
}

/// Everything that cannot be.
pub(super) fn faults(process: &Process, conf: &Conf) -> Vec<Fault> {
    let mut faults = Vec::new();
    names(conf, &mut faults);
    addresses(process, conf, &mut faults);
    conf.listeners.iter().enumerate().for_each(|(index, listener)| tls(index, listener, &mut faults));
    files(process, &mut faults);
    admission(process, &mut faults);
    telemetry(process, &mut faults);
    kubernetes(process, &mut faults);
    status(conf, &mut faults);
    access_log(process, &mut faults);
    authorities(conf, &mut faults);
    identity_headers(conf, &mut faults);
    faults
}

fn names(conf: &Conf, faults: &mut Vec<Fault>) {
    let mut seen = BTreeMap::new();
    for (index, listener) in conf.listeners.iter().enumerate() {
        let field = format!("listeners[{index}].name");
        if listener.name.is_empty() {
            faults.push(Fault::new(
                Code::InvalidConf,
                field,
                "the name is empty".to_owned(),
                "give it one, such as `http`",
            ));
        } else if let Some(first) = seen.insert(&listener.name, index) {
            let message = format!("`listeners[{first}]` has the name `{}` already", listener.name);
            faults.push(Fault::new(Code::DuplicateName, field, message, "give each listener its own name"));
        }
    }
}

fn addresses(process: &Process, conf: &Conf, faults: &mut Vec<Fault>) {
    let listeners = conf.listeners.iter().enumerate().map(|(i, it)| (format!("listeners[{i}].address"), it.address));
    let others = [
        ("telemetry.address", process.telemetry.on().map(|it| it.address)),
        ("admin.address", process.admin.on().map(|it| it.address)),
    ];
    let others = others.into_iter().filter_map(|(field, address)| Some((field.to_owned(), address?)));
    let mut seen: BTreeMap<SocketAddr, String> = BTreeMap::new();
    for (field, address) in listeners.chain(others).filter(|(_, address)| address.port() != 0) {
        if let Some(first) = seen.get(&address) {
            let message = format!("`{first}` is {address} already");
            faults.push(Fault::new(Code::DuplicateAddress, field, message, "choose another port"));
        } else {
            seen.insert(address, field);
        }
    }
}

fn tls(index: usize, listener: &ListenerSpec, faults: &mut Vec<Fault>) {
    let Some(tls) = &listener.tls else { return };
    let field = |name: &str| format!("listeners[{index}].tls{name}");
    if listener.protocol != ListenerProtocol::Https {
        let message = "`tls` is for listeners with `protocol: https`".to_owned();
        faults.push(Fault::new(Code::InvalidConf, field(""), message, "set `protocol: https` or leave `tls` out"));
    }
    let missing = match (&tls.certificate_file, &tls.key_file) {
        (Some(_), None) => Some((".certificateFile", "`certificateFile` is given without `keyFile`")),
        (None, Some(_)) => Some((".keyFile", "`keyFile` is given without `certificateFile`")),
        _ => None,
    };
    if let Some((name, message)) = missing {
        faults.push(Fault::new(
            Code::InvalidConf,
            field(name),
            message.to_owned(),
            "give both, or none for a self-signed one",
        ));
    }
    if tls.alpn.as_ref().is_some_and(Vec::is_empty) {
        let message = "`alpn` is empty".to_owned();
        faults.push(Fault::new(Code::InvalidConf, field(".alpn"), message, "name `h2`, `http/1.1` or both"));
    }
}

fn admission(process: &Process, faults: &mut Vec<Fault>) {
    let Some(spec) = &process.admission else { return };
    let mut fault = |field: &str, message: &str, hint| {
        faults.push(Fault::new(Code::InvalidConf, format!("admission{field}"), message.to_owned(), hint));
    };
    match (&spec.certificate_file, &spec.key_file, &spec.service) {
        (Some(_), Some(_), None) | (None, None, Some(_)) => {}
        (None, None, None) => {
            fault("", "there is nothing to serve with", "give `certificateFile` and `keyFile`, or `service`")
        }
        (Some(_), None, _) | (None, Some(_), _) => {
            fault(".certificateFile", "one of `certificateFile` and `keyFile` is missing", "give both");
        }
        (Some(_), Some(_), Some(_)) => fault(".service", "both files and `service` are given", "keep one of them"),
    }
    if spec.service.as_ref().is_some_and(|service| !is_name(service, 2)) {
        fault(".service", "it is not a Service", "write `namespace/name`");
    }
    if spec.service.is_some() && process.sources.kubernetes.is_none() {
        fault(".service", "there is no cluster to keep the certificate in", "add `sources.kubernetes`, or give files");
    }
}

fn telemetry(process: &Process, faults: &mut Vec<Fault>) {
    if process.telemetry.on().is_some_and(|it| it.stuck_after.0.is_zero()) {
        let message = "every task would count as stuck".to_owned();
        faults.push(Fault::new(
            Code::InvalidConf,
            "telemetry.stuckAfter".to_owned(),
            message,
            "write `60s`, for instance",
        ));
    }
    if process.log.path.is_empty() {
        let message = "the path is empty".to_owned();
        faults.push(Fault::new(
            Code::InvalidConf,
            "log.path".to_owned(),
            message,
            "write `stderr`, `stdout` or a file",
        ));
    }
}

fn files(process: &Process, faults: &mut Vec<Fault>) {
    let paths = process.sources.files.iter().flat_map(|files| &files.paths).enumerate();
    for (index, _) in paths.filter(|(_, path)| path.is_empty()) {
        let field = format!("sources.files.paths[{index}]");
        faults.push(Fault::new(Code::InvalidConf, field, "the path is empty".to_owned(), "name a file or a folder"));
    }
}

fn kubernetes(process: &Process, faults: &mut Vec<Fault>) {
    let Some(spec) = &process.sources.kubernetes else { return };
    for (field, names) in [("namespaces", &spec.namespaces), ("secretNamespaces", &spec.secret_namespaces)] {
        for (index, _) in names.iter().enumerate().filter(|(_, name)| name.is_empty()) {
            let field = format!("sources.kubernetes.{field}[{index}]");
            faults.push(Fault::new(Code::InvalidConf, field, "the name is empty".to_owned(), "name a namespace"));
        }
    }
    if spec.cache.as_ref().is_some_and(|cache| cache.path.is_empty()) {
        let field = "sources.kubernetes.cache.path".to_owned();
        faults.push(Fault::new(Code::InvalidConf, field, "the path is empty".to_owned(), "name a file"));
    }
    if !spec.namespaces.is_empty() && spec.namespace_selector.is_some() {
        let message = "both `namespaces` and `namespaceSelector` are given".to_owned();
        let field = "sources.kubernetes.namespaceSelector".to_owned();
        faults.push(Fault::new(Code::InvalidConf, field, message, "keep one of them"));
    }
    let Some(election) = spec.leader_election.on() else { return };
    let field = |name: &str| format!("sources.kubernetes.leaderElection.{name}");
    if !is_name(&election.lease, 1) && !is_name(&election.lease, 2) {
        let message = format!("`{}` is not a Lease", election.lease);
        faults.push(Fault::new(Code::InvalidConf, field("lease"), message, "write `name` or `namespace/name`"));
    }
    if election.duration.0 < SHORTEST_LEASE {
        let message = format!("{} is too short: a slow write might outlive it", election.duration);
        faults.push(Fault::new(Code::InvalidConf, field("duration"), message, "give it 12s or more"));
    }
}

fn status(conf: &Conf, faults: &mut Vec<Fault>) {
    let Some(spec) = &conf.ingress.status else { return };
    let given = [spec.publish_service.is_some(), !spec.addresses.is_empty(), spec.node_addresses.is_some()];
    if given.into_iter().filter(|is_given| *is_given).count() != 1 {
        let message = "one of `publishService`, `addresses` and `nodeAddresses` is needed".to_owned();
        faults.push(Fault::new(Code::InvalidConf, "ingress.status".to_owned(), message, "give exactly one of them"));
    }
    if let Some(service) = spec.publish_service.as_ref().filter(|service| !is_name(service, 2)) {
        let message = format!("`{service}` is not a Service");
        let field = "ingress.status.publishService".to_owned();
        faults.push(Fault::new(Code::InvalidConf, field, message, "write `namespace/name`"));
    }
    for (index, address) in spec.addresses.iter().enumerate().filter(|(_, text)| !is_address(text)) {
        let message = format!("`{address}` is neither an IP address nor a host name");
        let field = format!("ingress.status.addresses[{index}]");
        faults.push(Fault::new(Code::InvalidConf, field, message, "write one, without a port"));
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || matches!(HostPattern::parse(text), Ok(HostPattern::Exact(_)))
}

/// Whether it is so many names with slashes between them.
fn is_name(text: &str, parts: usize) -> bool {
    text.split('/').count() == parts && text.split('/').all(|part| !part.is_empty())
}

fn access_log(process: &Process, faults: &mut Vec<Fault>) {
    if process.access_log.on().is_some_and(|log| log.path.is_empty()) {
        let hint = "`stdout`, `stderr`, a file, or `accessLog: off`";
        faults.push(Fault::new(Code::InvalidConf, "accessLog.path".to_owned(), "the path is empty".to_owned(), hint));
    }
}

/// Checked here because `caFile` is read into `ca` before anybody else sees the conf.
fn authorities(conf: &Conf, faults: &mut Vec<Fault>) {
    for (name, upstream) in &conf.upstreams {
        if upstream.tls.ca.is_some() && upstream.tls.ca_file.is_some() {
            let message = "both `ca` and `caFile` are given".to_owned();
            faults.push(Fault::new(
                Code::InvalidConf,
                format!("upstreams.{name}.tls.caFile"),
                message,
                "keep one of them",
            ));
        }
    }
}

/// Fields that say where a request ends, whom it is for and who has seen it.
const FORM: [&str; 9] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "te", "trailer", "cdn-loop"];

/// Whether a name, or the beginning of names, stands for this one.
fn covers(text: &str, name: &str) -> bool {
    match text.strip_suffix('*') {
        Some(start) => name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start)),
        None => name.eq_ignore_ascii_case(text),
    }
}

/// Who misspells such a name would be open without a word, so that the conf is refused.
fn identity_headers(conf: &Conf, faults: &mut Vec<Fault>) {
    let names = &conf.defaults.identity_headers;
    for (list, texts) in [("add", &names.add), ("pass", &names.pass)] {
        for (index, text) in texts.iter().enumerate() {
            let found = match text.strip_suffix('*').unwrap_or(text) {
                name if name.len() > 64 || name.contains('*') || HeaderName::from_bytes(name.as_bytes()).is_err() => {
                    Some((
                        format!("`{}` is not the name of a field", text.escape_default()),
                        "write `X-User` or `X-Corp-*`",
                    ))
                }
                name if text.ends_with('*') && name.len() < 3 => {
                    Some((format!("`{text}` stands for too many names"), "write three characters or more before `*`"))
                }
                _ if list == "add" && FORM.iter().any(|form| covers(text, form)) => {
                    Some((format!("`{text}` stands for fields without which no request can be read"), "name others"))
                }
                name if list == "pass" && name.contains('_') => {
                    Some((format!("`{text}` has a `_`, and such names never pass"), "write it with `-`"))
                }
                _ => None,
            };
            faults.extend(found.map(|(message, hint)| {
                Fault::new(Code::InvalidConf, format!("defaults.identityHeaders.{list}[{index}]"), message, hint)
            }));
        }
    }
}

impl Fault {
    fn new(code: Code, field: String, message: String, hint: &'static str) -> Self {
        Self { code, field, message, hint }
    }
}
