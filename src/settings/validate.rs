//! What types cannot say about the conf file.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{ListenerProtocol, ListenerSpec, Process};
use crate::resources::conf::Conf;

/// Something that cannot be.
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) field: String,
    pub(super) message: String,
    pub(super) hint: &'static str,
}

/// Everything that cannot be.
pub(super) fn faults(process: &Process, conf: &Conf) -> Vec<Fault> {
    let mut faults = Vec::new();
    names(process, &mut faults);
    addresses(process, &mut faults);
    process.listeners.iter().enumerate().for_each(|(index, listener)| tls(index, listener, &mut faults));
    files(process, &mut faults);
    kubernetes(process, &mut faults);
    access_log(process, &mut faults);
    authorities(conf, &mut faults);
    faults
}

fn names(process: &Process, faults: &mut Vec<Fault>) {
    let mut seen = BTreeMap::new();
    for (index, listener) in process.listeners.iter().enumerate() {
        let field = format!("listeners[{index}].name");
        if listener.name.is_empty() {
            faults.push(Fault::new(
                "InvalidConf",
                field,
                "the name is empty".to_owned(),
                "give it one, such as `http`",
            ));
        } else if let Some(first) = seen.insert(&listener.name, index) {
            let message = format!("`listeners[{first}]` has the name `{}` already", listener.name);
            faults.push(Fault::new("DuplicateName", field, message, "give each listener its own name"));
        }
    }
}

fn addresses(process: &Process, faults: &mut Vec<Fault>) {
    let listeners = process.listeners.iter().enumerate().map(|(i, it)| (format!("listeners[{i}].address"), it.address));
    let others = [("telemetry.address", &process.telemetry), ("admin.address", &process.admin)];
    let others = others.into_iter().filter_map(|(field, it)| Some((field.to_owned(), it.on()?.address)));
    let mut seen: BTreeMap<SocketAddr, String> = BTreeMap::new();
    for (field, address) in listeners.chain(others).filter(|(_, address)| address.port() != 0) {
        if let Some(first) = seen.get(&address) {
            let message = format!("`{first}` is {address} already");
            faults.push(Fault::new("DuplicateAddress", field, message, "choose another port"));
        } else {
            seen.insert(address, field);
        }
    }
}

fn tls(index: usize, listener: &ListenerSpec, faults: &mut Vec<Fault>) {
    let Some(tls) = &listener.tls else { return };
    let field = |name: &str| format!("listeners[{index}].tls{name}");
    if listener.protocol == ListenerProtocol::Http {
        let message = "`tls` is for listeners with `protocol: https`".to_owned();
        faults.push(Fault::new("InvalidConf", field(""), message, "set `protocol: https` or leave `tls` out"));
    }
    let missing = match (&tls.certificate_file, &tls.key_file) {
        (Some(_), None) => Some((".certificateFile", "`certificateFile` is given without `keyFile`")),
        (None, Some(_)) => Some((".keyFile", "`keyFile` is given without `certificateFile`")),
        _ => None,
    };
    if let Some((name, message)) = missing {
        faults.push(Fault::new(
            "InvalidConf",
            field(name),
            message.to_owned(),
            "give both, or none for a self-signed one",
        ));
    }
    if tls.alpn.as_ref().is_some_and(Vec::is_empty) {
        let message = "`alpn` is empty".to_owned();
        faults.push(Fault::new("InvalidConf", field(".alpn"), message, "name `h2`, `http/1.1` or both"));
    }
}

fn files(process: &Process, faults: &mut Vec<Fault>) {
    let paths = process.sources.files.iter().flat_map(|files| &files.paths).enumerate();
    for (index, _) in paths.filter(|(_, path)| path.is_empty()) {
        let field = format!("sources.files.paths[{index}]");
        faults.push(Fault::new("InvalidConf", field, "the path is empty".to_owned(), "name a file or a folder"));
    }
}

fn kubernetes(process: &Process, faults: &mut Vec<Fault>) {
    let Some(spec) = &process.sources.kubernetes else { return };
    for (index, _) in spec.namespaces.iter().enumerate().filter(|(_, name)| name.is_empty()) {
        let field = format!("sources.kubernetes.namespaces[{index}]");
        faults.push(Fault::new("InvalidConf", field, "the name is empty".to_owned(), "name a namespace"));
    }
    if !spec.namespaces.is_empty() && spec.namespace_selector.is_some() {
        let message = "both `namespaces` and `namespaceSelector` are given".to_owned();
        let field = "sources.kubernetes.namespaceSelector".to_owned();
        faults.push(Fault::new("InvalidConf", field, message, "keep one of them"));
    }
}

fn access_log(process: &Process, faults: &mut Vec<Fault>) {
    if process.access_log.on().is_some_and(|log| log.path.is_empty()) {
        let hint = "`stdout`, `stderr`, a file, or `accessLog: off`";
        faults.push(Fault::new("InvalidConf", "accessLog.path".to_owned(), "the path is empty".to_owned(), hint));
    }
}

/// Checked here because `caFile` is read into `ca` before anybody else sees the conf.
fn authorities(conf: &Conf, faults: &mut Vec<Fault>) {
    for (name, upstream) in &conf.upstreams {
        if upstream.tls.ca.is_some() && upstream.tls.ca_file.is_some() {
            let message = "both `ca` and `caFile` are given".to_owned();
            faults.push(Fault::new("InvalidConf", format!("upstreams.{name}.tls.caFile"), message, "keep one of them"));
        }
    }
}

impl Fault {
    fn new(code: &'static str, field: String, message: String, hint: &'static str) -> Self {
        Self { code, field, message, hint }
    }
}
