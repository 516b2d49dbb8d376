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
    /// An address leads to the node or to tidegate itself, where no endpoint may be.
    AddressRefused: Error, "let the network in by `defaults.allowAddresses` of the conf, if it is meant";
    /// A health check is outside of the bounds and is kept within them.
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
    /// A `tls` entry names a certificate, and no host of it is served.
    CertificateWithoutHost: Warning, "name a host in `tls.hosts` and in a rule";
    /// More client connections are configured than there are descriptors for.
    ConnectionsNotKept: Warning, "raise the hard limit of descriptors (`ulimit -Hn`), or lower `defaults.limits.connections`";
    /// Two objects have a default backend for the same host.
    DefaultBackendConflict: Warning, "keep one of them; the oldest object wins";
    /// The object has an old API version.
    DeprecatedApiVersion: Warning, "write it in the current version; `kubectl convert` does that";
    /// The annotation's value is read as something that differs from what ingress-nginx does.
    DifferentAnnotation: Warning, "see that the difference suits";
    /// Two listeners have one address.
    DuplicateAddress: Error, "choose another port";
    /// Two listeners have one name.
    DuplicateName: Error, "give each listener a name of its own";
    /// An object is in the files twice.
    DuplicateObject: Error, "delete one of them";
    /// The Ingress has neither rules nor a default backend.
    EmptyIngress: Warning, "add `spec.rules` or `spec.defaultBackend`";
    /// A rule has no paths, and nothing else serves its host.
    EmptyRule: Warning, "add `http.paths`";
    /// The Service is of type ExternalName, which is switched off.
    ExternalNameDisabled: Error, "`defaults.allowExternalName` of the conf switches it on";
    /// The file is empty; its last good content is kept.
    FileEmpty: Error, "delete the file if its objects shall go";
    /// A file that the conf names cannot be read.
    FileUnreadable: Error, "see that the file is there and readable; relative names start in the folder of the conf file";
    /// The reference leads into another namespace without a grant.
    ForbiddenReference: Error, "add a grant to `grants` in the conf, or use an object of the same namespace";
    /// The Ingress is of a class that another controller serves.
    ForeignClass: Info, "set `spec.ingressClassName` to a class of tidegate's, if it is meant to be served here";
    /// The Service is headless and has no address of its own to send to.
    HeadlessService: Warning, "leave the annotation `service-upstream` out";
    /// An object of another namespace names a host that this object has.
    HostNamedByOthers: Info, "nothing needs to be done; see whether the other namespace may name the host";
    /// Annotations were given that mean something only with others beside them.
    IncompleteAnnotations: Warning, "add the others, or remove these";
    /// tidegate failed at it by a fault of its own; what was in force before stays.
    Internal: Error, "the process log says where; report it";
    /// The route's redirect or fixed response cannot be made.
    InvalidAction: Error, "correct the redirect or response";
    /// The annotation's value cannot be read.
    InvalidAnnotation: Error, "write a value of the grammar in docs/annotations.md";
    /// The backend names no Service and port, or no upstream.
    InvalidBackend: Error, "name exactly one Service with a port, or one upstream";
    /// The file of certificate authorities cannot be used.
    InvalidCa: Error, "give a PEM file of certificates; the upstream is refused until then";
    /// The certificate and key cannot be used.
    InvalidCertificate: Error, "give a PEM chain and the key that belongs to it";
    /// A condition on method, header or query cannot be read; the route is not served.
    InvalidCondition: Error, "correct the condition";
    /// A field of the conf is unknown or has a value that it cannot have.
    InvalidConf: Error, "see docs/conf.md, or `tidegate schema`";
    /// An endpoint's address or weight cannot be read.
    InvalidEndpoint: Error, "write `IP:port`, and a weight from 1 to 65535";
    /// The value cannot be sent in a header.
    InvalidHeaderValue: Error, "write visible ASCII";
    /// The health check cannot be read; none is made until then.
    InvalidHealthCheck: Error, "correct the health check";
    /// The host is no DNS name, nor a wildcard of one.
    InvalidHost: Error, "write a name such as `shop.example`, or `*.shop.example`";
    /// The route's match cannot be compiled.
    InvalidMatch: Error, "correct the match";
    /// The object cannot be read, or is not what its kind says.
    InvalidObject: Error, "correct the field that is named; its last good content stays in force";
    /// The path is not absolute, or has no canonical form.
    InvalidPath: Error, "write an absolute path such as `/shop`";
    /// The path type is unknown.
    InvalidPathType: Error, "write `Exact`, `Prefix` or `ImplementationSpecific`";
    /// The redirect cannot be read.
    InvalidRedirect: Error, "correct the redirect";
    /// The regular expression is not valid, or too large.
    InvalidRegex: Error, "write the syntax of Rust's `regex`, which has no look-around and no back-references";
    /// The fixed response cannot be read.
    InvalidRespond: Error, "give a status from 200 to 599 and a media type";
    /// The route does not have exactly one action.
    InvalidRoute: Error, "keep one of `backends`, `redirect` and `respond`";
    /// The Secret does not have what it is used for.
    InvalidSecret: Error, "give it the keys that are named, and write references as `namespace/name`";
    /// The upstream's settings do not fit together.
    InvalidUpstream: Error, "keep one of `endpoints` and `dns`";
    /// A value cannot be used; the default stays in force.
    InvalidValue: Error, "correct the value";
    /// The file is not YAML.
    InvalidYaml: Error, "correct the line that is named";
    /// The port of the Service is named by a name that its Pods resolve, where only a number helps.
    NamedTargetPort: Warning, "write the number in `targetPort`";
    /// A change takes effect only at a restart.
    NeedsRestart: Warning, "restart tidegate when it suits";
    /// The backend has no endpoint that can be used.
    NoEndpoints: Warning, "see that Pods of the Service are ready";
    /// A change could not be applied; the old value stays in force.
    NotApplied: Error, "correct it as the message says";
    /// Two routes ask for the same host and path.
    PathConflict: Warning, "remove one of them; the oldest object wins";
    /// The plugin's configuration is valid, but probably not what is meant.
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
    SecretNotFound: Warning, "make the Secret; the default certificate is presented until then";
    /// The Secret has another type than is expected.
    SecretType: Info, "nothing needs to be done; `kubernetes.io/tls` is what tools expect";
    /// The Secret cannot be fetched.
    SecretUnavailable: Warning, "see that tidegate has the rights that `tidegate rbac` prints";
    /// The Service does not exist.
    ServiceNotFound: Error, "make the Service, or correct its name";
    /// A file or folder of `sources.files` is not there.
    SourceGone: Error, "bring it back, or take it out of `sources.files.paths`";
    /// The API server does not answer, or refuses to; its last good state stays in force.
    SourceUnavailable: Error or Warning, "see that the API server can be reached, and that tidegate has the rights that `tidegate rbac` prints";
    /// What is served comes from the file of `sources.kubernetes.cache`.
    StaleState: Warning, "see that the API server can be reached";
    /// No route of the object's namespace serves the host of a `tls` entry.
    TlsHostNotServed: Warning, "add a rule for the host, or take it out of `tls`";
    /// The host of a `tls` entry is another namespace's.
    TlsHostOfOthers: Warning, "take the host out of `tls`, or serve it from one namespace";
    /// The annotation is known under neither prefix.
    UnknownAnnotation: Error or Warning, "correct the name; docs/annotations.md has the list";
    /// The `appProtocol` of the port is unknown; HTTP is spoken.
    UnknownAppProtocol: Warning, "write one of those in docs/ingress.md, or leave it out";
    /// The object has a field that its kind does not have.
    UnknownField: Warning, "correct the name, or remove it";
    /// Objects of this kind are not read.
    UnknownKind: Info, "nothing needs to be done";
    /// The annotation of ingress-nginx has no effect here.
    UnsupportedAnnotation: Info, "docs/not-supported.md has what there is in its place";
    /// The annotation of ingress-nginx protects something and is not supported; where it asks for protection, the routes are closed.
    UnsupportedSecurityAnnotation: Error or Warning, "remove it, or protect the route in another way; docs/annotations.md has the list";
    /// A PEM file has blocks that are not used.
    UnusedPemBlocks: Info, "nothing needs to be done";
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
