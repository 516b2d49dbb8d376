//! The listener that a request would come in by.

use std::sync::Arc;

use super::Question;
use crate::snapshot::listener::Listener;

/// The listener on the port of the URL, else the first one of its scheme: load balancers and published ports stand
/// between what a client types and where a listener is.
pub(super) fn of<'l>(listeners: &'l [Arc<Listener>], question: &Question) -> Option<&'l Listener> {
    let scheme = question.scheme();
    let of_scheme = || listeners.iter().filter(|listener| listener.protocol.scheme() == scheme);
    let port = question.uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    of_scheme().find(|listener| listener.address.port() == port).or_else(|| of_scheme().next()).map(Arc::as_ref)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use super::*;
    use crate::listener::{ListenerProtocol, Serves};
    use crate::origin::Origin;

    fn chosen(url: &str) -> Option<String> {
        let listener = |name: &str, port, protocol| {
            Arc::new(Listener {
                id: name.into(),
                origin: Origin::default(),
                address: SocketAddr::from(([0, 0, 0, 0], port)),
                protocol,
                tls: Arc::default(),
                certificate: None,
                serves: Serves::Common,
            })
        };
        let listeners = [
            listener("a", 8080, ListenerProtocol::Http),
            listener("b", 8081, ListenerProtocol::H2c),
            listener("c", 8443, ListenerProtocol::Https),
        ];
        let question = Question::new("GET", url, &[], IpAddr::from([127, 0, 0, 1])).unwrap();
        of(&listeners, &question).map(|listener| listener.id.to_string())
    }

    #[test]
    fn the_port_of_the_url_chooses_and_the_scheme_always_holds() {
        assert_eq!(chosen("http://shop.example:8081/").as_deref(), Some("b"));
        assert_eq!(chosen("http://shop.example/").as_deref(), Some("a"));
        assert_eq!(chosen("http://shop.example:8443/").as_deref(), Some("a"));
        assert_eq!(chosen("https://shop.example/").as_deref(), Some("c"));
    }
}
