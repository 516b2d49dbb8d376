//! How an endpoint is spoken to: protocol, waits, TLS.
//!
//! It must not know which endpoint it is, or why.

use std::net::SocketAddr;

use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;

use super::authorities::Authorities;
use crate::policy::Timeouts;
use crate::reason::Reason;
use crate::upstream::{UpstreamConfig, UpstreamTls};

/// An endpoint without TLS.
pub(crate) fn plain(
    address: SocketAddr,
    config: &UpstreamConfig,
    timeouts: &Timeouts,
    may_fill_socket: bool,
) -> HttpPeer {
    let mut peer = HttpPeer::new(address, false, String::new());
    set_protocol(&mut peer, config);
    set_timeouts(&mut peer, timeouts, may_fill_socket);
    peer
}

/// Has the connection made by TLS.
///
/// # Errors
/// Nothing could be verified that is to be.
pub(crate) fn set_tls(
    peer: &mut HttpPeer,
    config: &UpstreamConfig,
    host: &str,
    authorities: &Authorities,
) -> Result<(), Reason> {
    let unverified = UpstreamTls::default();
    let tls = config.tls.as_ref().unwrap_or(&unverified);
    let name = tls.server_name.as_deref().unwrap_or(host);
    peer.scheme = pingora::upstreams::peer::Scheme::HTTPS;
    peer.sni = name.trim_matches(['[', ']']).to_owned();
    peer.options.verify_cert = tls.verify;
    peer.options.verify_hostname = tls.verify;
    // Without a name the engine verifies nothing at all.
    if tls.verify && peer.sni.is_empty() {
        return Err(Reason::UpstreamTls);
    }
    if let Some(bundle) = &tls.ca {
        let parsed = authorities.of(&bundle.0);
        if parsed.authorities.is_none() && tls.verify {
            return Err(Reason::UpstreamTls);
        }
        peer.group_key |= parsed.id << 2;
        peer.options.ca = parsed.authorities;
    }
    Ok(())
}

fn set_protocol(peer: &mut HttpPeer, config: &UpstreamConfig) {
    if config.protocol.is_h2() {
        peer.options.alpn = ALPN::H2;
    }
    // The pool's key has neither protocol nor authorities; the latter are added with them.
    peer.group_key = config.protocol as u64;
}

fn set_timeouts(peer: &mut HttpPeer, timeouts: &Timeouts, may_fill_socket: bool) {
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.read_timeout = Some(timeouts.read);
    // What fits into the socket's buffer is written at once; a timer for it costs and bounds nothing.
    peer.options.write_timeout = may_fill_socket.then_some(timeouts.send);
    peer.options.idle_timeout = Some(timeouts.idle);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstream::{CaBundle, Protocol};

    fn peer_of(config: UpstreamConfig, host: &str) -> Result<HttpPeer, Reason> {
        let address = ([127, 0, 0, 1], 1).into();
        let timeouts = Timeouts::default();
        let mut peer = plain(address, &config, &timeouts, true);
        if config.protocol.is_tls() {
            set_tls(&mut peer, &config, host, &Authorities::default())?;
        }
        Ok(peer)
    }

    fn tls(verify: bool, server_name: Option<&str>) -> UpstreamConfig {
        let tls = UpstreamTls { verify, server_name: server_name.map(Into::into), ca: None };
        UpstreamConfig { protocol: Protocol::Https, tls: Some(tls), ..UpstreamConfig::default() }
    }

    #[test]
    fn tls_is_made_for_the_configured_name_or_the_host() {
        let peer = peer_of(tls(true, None), "a.example").unwrap();
        assert_eq!((peer.is_tls(), peer.sni.as_str(), peer.options.verify_cert), (true, "a.example", true));
        assert_eq!(peer_of(tls(true, Some("b.example")), "a").unwrap().sni, "b.example");
        assert_eq!(peer_of(tls(true, None), "[::1]").unwrap().sni, "::1");
        let unverified = peer_of(tls(false, None), "a").unwrap();
        assert!(!unverified.options.verify_cert && !unverified.options.verify_hostname);
    }

    #[test]
    fn verification_without_a_name_is_refused() {
        assert_eq!(peer_of(tls(true, Some("")), "a").unwrap_err(), Reason::UpstreamTls);
    }

    #[test]
    fn unreadable_authorities_fail_closed() {
        let mut config = tls(true, None);
        config.tls.as_mut().unwrap().ca = Some(CaBundle([b"junk".to_vec()].into()));
        assert_eq!(peer_of(config, "a").unwrap_err(), Reason::UpstreamTls);
    }

    #[test]
    fn protocols_do_not_share_connections() {
        let of = |protocol| peer_of(UpstreamConfig { protocol, ..UpstreamConfig::default() }, "a").unwrap();
        assert_ne!(of(Protocol::Http).group_key, of(Protocol::H2c).group_key);
        assert_eq!(of(Protocol::H2c).options.alpn, ALPN::H2);
        assert!(!of(Protocol::H2c).is_tls());
    }

    #[test]
    fn every_wait_is_bounded() {
        let mut peer = HttpPeer::new(("127.0.0.1", 1), false, String::new());
        let seconds = Duration::from_secs;
        let (connect, read, send, idle) = (seconds(1), seconds(2), seconds(3), seconds(4));
        let timeouts = Timeouts { connect, read, send, idle, ..Timeouts::default() };
        set_timeouts(&mut peer, &timeouts, true);
        let options = &peer.options;
        assert_eq!(options.connection_timeout, Some(seconds(1)));
        assert_eq!(options.total_connection_timeout, Some(seconds(1)));
        assert_eq!(options.read_timeout, Some(seconds(2)));
        assert_eq!(options.write_timeout, Some(seconds(3)));
        assert_eq!(options.idle_timeout, Some(seconds(4)));
        set_timeouts(&mut peer, &timeouts, false);
        assert_eq!(peer.options.write_timeout, None);
    }
}
