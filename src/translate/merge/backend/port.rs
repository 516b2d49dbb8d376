//! Which port of a Service a route means, and what the port says about its protocol.
//!
//! Ports are told apart by number and protocol: one of UDP never serves HTTP. Source: Service v1 `spec.ports`,
//! KEP-3726 (`appProtocol`), RFC 6335 section 5.1 (service names are compared without case).

use super::problem::Problem;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::resources::ObjectName;
use crate::resources::object::{Service, ServicePort, TargetPort, Transport};
use crate::upstream::Protocol;

/// A port of a Service, or a number that an ExternalName need not list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port<'s>(Option<(usize, &'s ServicePort)>);

/// Why there is no port to send HTTP to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Missing {
    /// The Service has none of that name or number.
    Unknown,
    /// It has one, which is not of TCP.
    NotTcp(Transport),
}

/// What `appProtocol` may say, in lower case.
const APP_PROTOCOLS: [(&str, Protocol); 11] = [
    ("", Protocol::Http),
    ("http", Protocol::Http),
    ("ws", Protocol::Http),
    ("kubernetes.io/ws", Protocol::Http),
    ("https", Protocol::Https),
    ("wss", Protocol::Https),
    ("kubernetes.io/wss", Protocol::Https),
    ("h2c", Protocol::H2c),
    ("kubernetes.io/h2c", Protocol::H2c),
    ("grpc", Protocol::H2c),
    ("grpcs", Protocol::H2),
];

/// Finds a port by number or name.
///
/// # Errors
/// There is none, or none of TCP.
pub(crate) fn find<'s>(service: &'s Service, wanted: &str) -> Result<Port<'s>, Missing> {
    let number = wanted.parse::<i32>().ok();
    let is_wanted = |port: &ServicePort| number.map_or(*port.name == *wanted, |number| port.port == number);
    let found = || service.ports.iter().enumerate().filter(|(_, port)| is_wanted(port));
    if let Some(port) = found().find(|(_, port)| port.transport == Transport::Tcp) {
        return Ok(Port(Some(port)));
    }
    match found().next() {
        Some((_, other)) => Err(Missing::NotTcp(other.transport)),
        None if service.external_name.is_some() && number.is_some() => Ok(Port(None)),
        None => Err(Missing::Unknown),
    }
}

// === impl Port ===

impl<'s> Port<'s> {
    /// Its name, which ports of endpoints have too; may be empty.
    pub(crate) fn name(self) -> &'s str {
        self.0.map_or("", |(_, port)| &*port.name)
    }

    pub(crate) fn number(self) -> Option<u16> {
        u16::try_from(self.0?.1.port).ok()
    }

    /// The port behind an ExternalName: its target, where that is a number.
    pub(crate) fn target(self) -> Option<u16> {
        match self.0?.1.target {
            Some(TargetPort::Number(number)) => Some(number),
            Some(TargetPort::Name) | None => self.number(),
        }
    }

    /// What its endpoints speak.
    pub(crate) fn protocol(self) -> Protocol {
        self.app_protocol().and_then(known).unwrap_or_default()
    }

    /// What it says that cannot be kept; `is_moot`: somebody else says what the endpoints speak.
    pub(crate) fn told(self, service: &Origin, is_moot: bool) -> Vec<Diagnostic> {
        let Some((index, port)) = self.0 else { return Vec::new() };
        let mut told = Vec::new();
        if let Some(text) = self.app_protocol().filter(|text| !is_moot && known(text).is_none()) {
            let origin = service.at(format!("spec.ports[{index}].appProtocol"));
            let message = format!("`{text}` is unknown; HTTP is used");
            let names = APP_PROTOCOLS.iter().map(|(name, _)| *name).filter(|name| !name.is_empty());
            let hint = format!("known are {}", names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "));
            told.push(Diagnostic::warning(Code::UnknownAppProtocol, &origin, message).hint(hint));
        }
        if port.target == Some(TargetPort::Name) {
            let origin = service.at(format!("spec.ports[{index}].targetPort"));
            let message = "it is a name, which only Pods could resolve; an ExternalName has none".to_owned();
            let hint = format!("write a number; requests go to port {} until then", port.port);
            told.push(Diagnostic::warning(Code::NamedTargetPort, &origin, message).hint(hint));
        }
        told
    }

    fn app_protocol(self) -> Option<&'s str> {
        self.0.and_then(|(_, port)| port.app_protocol.as_deref())
    }
}

fn known(text: &str) -> Option<Protocol> {
    APP_PROTOCOLS.iter().find(|(name, _)| text.trim().eq_ignore_ascii_case(name)).map(|(_, protocol)| *protocol)
}

// === impl Missing ===

impl Missing {
    /// As it is said where a route names the port.
    pub(crate) fn problem(self, name: &ObjectName, wanted: &str, service: &Service) -> Problem {
        match self {
            Self::Unknown => Problem {
                code: Code::PortNotFound,
                message: format!("Service `{name}` has no port `{wanted}`"),
                hint: list(service),
            },
            Self::NotTcp(transport) => Problem {
                code: Code::PortNotTcp,
                message: format!(
                    "port `{wanted}` of Service `{name}` is {}, and HTTP comes by TCP",
                    transport.as_str()
                ),
                hint: list(service),
            },
        }
    }
}

fn list(service: &Service) -> String {
    let one = |port: &ServicePort| {
        let text = match &*port.name {
            "" => port.port.to_string(),
            name => format!("`{name}` ({})", port.port),
        };
        match port.transport {
            Transport::Tcp => text,
            other => format!("{text} {}", other.as_str()),
        }
    };
    match &*service.ports {
        [] => "it has no ports".to_owned(),
        ports => format!("it has {}", ports.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}
