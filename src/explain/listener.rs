//! The listener that a request would come in by.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::Question;
use crate::snapshot::certificates::ServedCertificate;

/// What is known of a listener without its socket.
#[derive(Clone, Debug)]
pub(crate) struct ListenerFacts {
    /// Name.
    pub name: String,
    /// Address as configured; port 0 stands for whatever the system chose.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub is_https: bool,
    /// Its own certificate, for clients that name no known host.
    pub certificate: Arc<ArcSwapOption<ServedCertificate>>,
}

/// The listener on the port of the URL, else the first one of its scheme: load balancers and published ports stand
/// between what a client types and where a listener is.
pub(super) fn of<'l>(listeners: &'l [ListenerFacts], question: &Question) -> Option<&'l ListenerFacts> {
    let of_scheme = || listeners.iter().filter(|listener| listener.is_https == question.is_https());
    let port = question.uri.port_u16().unwrap_or(if question.is_https() { 443 } else { 80 });
    of_scheme().find(|listener| listener.address.port() == port).or_else(|| of_scheme().next())
}

impl fmt::Display for ListenerFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{} ({scheme} on {})", self.name, self.address)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn chosen(url: &str) -> Option<String> {
        let listener = |name: &str, port, is_https| ListenerFacts {
            name: name.to_owned(),
            address: SocketAddr::from(([0, 0, 0, 0], port)),
            is_https,
            certificate: Arc::default(),
        };
        let listeners = [listener("a", 8080, false), listener("b", 8081, false), listener("c", 8443, true)];
        let question = Question::new("GET", url, &[], IpAddr::from([127, 0, 0, 1])).unwrap();
        of(&listeners, &question).map(|listener| listener.name.clone())
    }

    #[test]
    fn the_port_of_the_url_chooses_and_the_scheme_always_holds() {
        assert_eq!(chosen("http://shop.example:8081/").as_deref(), Some("b"));
        assert_eq!(chosen("http://shop.example/").as_deref(), Some("a"));
        assert_eq!(chosen("http://shop.example:8443/").as_deref(), Some("a"));
        assert_eq!(chosen("https://shop.example/").as_deref(), Some("c"));
    }
}
