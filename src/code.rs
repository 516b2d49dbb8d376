//! Codes of findings: every kind of fault or note that tidegate has about its input.
//!
//! A leaf module, and the one table of them: severity, cause and remedy stand here, docs/findings.md is generated from
//! it, and a [`Diagnostic`](crate::diagnostic::Diagnostic) cannot be made with anything else.

use std::fmt;

use serde::{Serialize, Serializer};

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Info,
    /// Served, but not as written or not as wise.
    Warning,
    /// A part of the input is not served.
    Error,
}

// === impl Severity ===

impl Severity {
    /// `error`, `warning` or `info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident: $($severity:ident)or+, $remedy:literal;)+) => {
        /// The code of a finding, in CamelCase as Kubernetes conditions and events use them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// Every code, by alphabet.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as it stands in reports, events, logs and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// How much findings of this code can matter.
            pub fn severities(self) -> &'static [Severity] {
                match self { $(Self::$name => &[$(Severity::$severity),+],)+ }
            }

            /// What is found.
            pub fn cause(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii_start(),)+ }
            }

            /// What to do about it.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

codes! {
    /// An endpoint address is the node's or tidegate's own, which is not allowed.
    AddressRefused: Error, "if it is intended, allow the network in `defaults.allowAddresses` of the conf";
    /// A setting of a health check is out of bounds; the nearest bound is used.
    BoundedHealthCheck: Warning, "write an interval of at least 100ms and a timeout of at most the interval and 30s";
    /// Two objects name different certificates for one host.
    CertificateConflict: Warning, "name the same Secret in both; the oldest object wins";
    /// The certificate has expired.
    CertificateExpired: Warning, "renew it";
    /// The certificate does not cover the host, or has no DNS names.
    CertificateNameMismatch: Warning, "issue one whose DNS names cover the host";
    /// The certificate is not valid yet.
    CertificateNotYetValid: Warning, "wait, or set the clock of the machine that issues it";
    /// The certificate is X.509 v1, which clients refuse.
    CertificateVersion: Warning, "issue one of version 3";
    /// A `tls` entry names a certificate, but none of its hosts is served.
    CertificateWithoutHost: Warning, "name a host in `tls.hosts` and in a rule";
    /// More client connections are configured than there are file descriptors for.
    ConnectionsNotKept: Warning, "raise the hard limit of file descriptors (`ulimit -Hn`), or lower `defaults.limits.connections`";
    /// Two objects have a default backend for the same host.
    DefaultBackendConflict: Warning, "keep one of them; the oldest object wins";
    /// The object has a deprecated API version.
    DeprecatedApiVersion: Warning, "write it in the current version; `kubectl convert` does that";
    /// The annotation's value has another effect than in ingress-nginx.
    DifferentAnnotation: Warning, "check that the difference is acceptable";
    /// Two listeners have the same address.
    DuplicateAddress: Error, "choose another port";
    /// Two listeners have the same name.
    DuplicateName: Error, "give each listener a name of its own";
    /// An object is in the files more than once.
    DuplicateObject: Error, "delete one of them";
    /// The Ingress has neither rules nor a default backend.
    EmptyIngress: Warning, "add `spec.rules` or `spec.defaultBackend`";
    /// A rule has no paths, and nothing else serves its host.
    EmptyRule: Warning, "add `http.paths`";
    /// The Service is of type ExternalName, which is switched off.
    ExternalNameDisabled: Error, "`defaults.allowExternalName` of the conf switches it on";
    /// The file is empty; its last good content is kept.
    FileEmpty: Error, "delete the file to remove its objects";
    /// A file that the conf names cannot be read.
    FileUnreadable: Error, "check that the file exists and is readable; relative paths start at the folder of the conf file";
    /// The reference to an object of another namespace is not allowed by a grant.
    ForbiddenReference: Error, "add a grant to `grants` in the conf, or use an object of the same namespace";
    /// The Ingress is of a class that another controller serves.
    ForeignClass: Info, "to serve it here, set `spec.ingressClassName` to a class of tidegate's";
    /// The Service is headless and has no address of its own to send requests to.
    HeadlessService: Warning, "remove the annotation `service-upstream`";
    /// An object of another namespace names a host that this object has.
    HostNamedByOthers: Info, "no action needed; check whether the other namespace may name the host";
    /// An annotation has no effect without others that are missing.
    IncompleteAnnotations: Warning, "add the others, or remove it";
    /// tidegate failed because of a bug; the previous state stays in force.
    Internal: Error, "report it with the lines of the process log";
    /// The route's redirect or fixed response is invalid.
    InvalidAction: Error, "correct the redirect or response";
    /// The annotation's value is invalid.
    InvalidAnnotation: Error, "write a value as in docs/annotations.md";
    /// The backend names no Service and port, or no upstream.
    InvalidBackend: Error, "name exactly one Service with a port, or one upstream";
    /// The file of certificate authorities cannot be used.
    InvalidCa: Error, "give a PEM file of certificates; the upstream is refused until then";
    /// The certificate and key cannot be used.
    InvalidCertificate: Error, "give a PEM chain and the key that belongs to it";
    /// A condition on method, header or query is invalid; the route is not served.
    InvalidCondition: Error, "correct the condition";
    /// A field of the conf is unknown or has an invalid value.
    InvalidConf: Error, "see docs/conf.md, or `tidegate schema`";
    /// An endpoint's address or weight is invalid.
    InvalidEndpoint: Error, "write `IP:port`, and a weight from 1 to 65535";
    /// The value cannot be sent in a header.
    InvalidHeaderValue: Error, "write visible ASCII";
    /// The health check is invalid; endpoints are not checked.
    InvalidHealthCheck: Error, "correct the health check";
    /// The host is neither a DNS name nor a wildcard.
    InvalidHost: Error, "write a name such as `shop.example`, or `*.shop.example`";
    /// The route's match cannot be compiled.
    InvalidMatch: Error, "correct the match";
    /// The object is invalid for its kind.
    InvalidObject: Error, "correct the field; the last good version of the object stays in force";
    /// The path is not absolute, or has no canonical form.
    InvalidPath: Error, "write an absolute path such as `/shop`";
    /// The path type is unknown.
    InvalidPathType: Error, "write `Exact`, `Prefix` or `ImplementationSpecific`";
    /// The redirect is invalid.
    InvalidRedirect: Error, "correct the redirect";
    /// The regular expression is not valid, or too large.
    InvalidRegex: Error, "write the syntax of Rust's `regex`, which has no look-around and no back-references";
    /// The fixed response is invalid.
    InvalidRespond: Error, "give a status from 200 to 599 and a media type";
    /// The route does not have exactly one action.
    InvalidRoute: Error, "keep one of `backends`, `redirect` and `respond`";
    /// The Secret lacks the data that it is used for.
    InvalidSecret: Error, "add the missing keys, and write references as `namespace/name`";
    /// The upstream's settings do not fit together.
    InvalidUpstream: Error, "keep one of `endpoints` and `dns`";
    /// A value is invalid; the default is used.
    InvalidValue: Error, "correct the value";
    /// The file is not valid YAML.
    InvalidYaml: Error, "correct the line";
    /// The address of a listener cannot be bound: it is in use, belongs to no interface, or is not permitted. The old address stays in use until then.
    ListenerNotBound: Error, "free the address, or choose another; binding is retried until then";
    /// The `targetPort` of an ExternalName Service is a name, which only Pods could resolve.
    NamedTargetPort: Warning, "write the number in `targetPort`";
    /// A change takes effect only at a restart.
    NeedsRestart: Warning, "restart tidegate";
    /// The backend has no endpoint that can be used.
    NoEndpoints: Warning, "check that Pods of the Service are ready";
    /// A change could not be applied; the old value stays in force.
    NotApplied: Error, "correct the value";
    /// Two routes ask for the same host and path.
    PathConflict: Warning, "remove one of them; the oldest object wins";
    /// The plugin's configuration is valid, but probably not what is intended.
    PluginConfigDoubtful: Warning, "see docs/plugins.md, or `tidegate schema PLUGIN`";
    /// The plugin's configuration is not valid; the routes that have it are closed.
    PluginConfigInvalid: Error, "see `tidegate schema PLUGIN`";
    /// There is no plugin of that name; the routes that want it are closed.
    PluginNotFound: Error, "name one of the built-in plugins, or an instance under `plugins` of the conf";
    /// A plugin may choose an upstream that the conf does not have; what it sends there is refused (503).
    PluginUpstreamNotFound: Error, "define it under `upstreams` of the conf, or name another one";
    /// The Service has no such port.
    PortNotFound: Error, "name a port of the Service";
    /// The port of the Service is not TCP.
    PortNotTcp: Error, "name a port with `protocol: TCP`";
    /// The backend is a `resource`.
    ResourceBackend: Error, "use a `service` backend";
    /// The Secret does not exist.
    SecretNotFound: Warning, "create the Secret; the default certificate is presented until then";
    /// The Secret has an unexpected type.
    SecretType: Info, "no action needed; `kubernetes.io/tls` is what tools expect";
    /// The Secret cannot be fetched.
    SecretUnavailable: Warning, "check that tidegate has the permissions that `tidegate rbac` prints";
    /// The Service does not exist.
    ServiceNotFound: Error, "create the Service, or correct its name";
    /// A file or folder of `sources.files` does not exist.
    SourceGone: Error, "restore it, or remove it from `sources.files.paths`";
    /// The API server is unreachable or refuses requests; its last good state stays in force.
    SourceUnavailable: Error or Warning, "check that the API server is reachable, and that tidegate has the permissions that `tidegate rbac` prints";
    /// The configuration that is served comes from the cache (`sources.kubernetes.cache`) and may be stale.
    StaleState: Warning, "check that the API server is reachable";
    /// No route of the object's namespace serves the host of a `tls` entry.
    TlsHostNotServed: Warning, "add a rule for the host, or remove it from `tls`";
    /// The host of a `tls` entry belongs to another namespace.
    TlsHostOfOthers: Warning, "remove the host from `tls`, or serve it from one namespace";
    /// The annotation is known under neither prefix.
    UnknownAnnotation: Error or Warning, "correct the name; docs/annotations.md has the list";
    /// The `appProtocol` of the port is unknown; HTTP is used.
    UnknownAppProtocol: Warning, "write one of those in docs/ingress.md, or remove it";
    /// The object has a field that its kind does not have.
    UnknownField: Warning, "correct the name, or remove it";
    /// Objects of this kind are not read.
    UnknownKind: Info, "no action needed";
    /// The annotation of ingress-nginx has no effect here.
    UnsupportedAnnotation: Info, "docs/not-supported.md has alternatives";
    /// The annotation of ingress-nginx protects something and is not supported; where it asks for protection, the routes are closed.
    UnsupportedSecurityAnnotation: Error or Warning, "remove it, or protect the route in another way; docs/annotations.md has the list";
    /// A PEM file has blocks that are not used.
    UnusedPemBlocks: Info, "no action needed";
    /// The route names an upstream that the conf does not have.
    UpstreamNotFound: Error, "add it to `upstreams`, or correct the name";
}

// === impl Code ===

impl Code {
    /// Where the docs explain it.
    pub fn docs(self) -> String {
        format!("docs/findings.md#{}", self.as_str().to_ascii_lowercase())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_as_their_names_are() {
        assert!(Code::ALL.is_sorted_by_key(|code| code.as_str()), "diagnostics are sorted by code");
    }
}
