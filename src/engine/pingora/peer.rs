//! How an endpoint is spoken to: protocol, waits, TLS.
//!
//! It must not know why that endpoint.

use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;

use super::authorities::Authorities;
use crate::policy::Timeouts;
use crate::proxy::upstream::{Aim, Tls};
use crate::reason::Reason;
use crate::upstream::UpstreamConfig;

/// An endpoint without TLS.
pub(super) fn plain(aim: &Aim, may_fill_socket: bool) -> HttpPeer {
    let mut peer = HttpPeer::new(aim.address, false, String::new());
    set_protocol(&mut peer, &aim.config);
    set_timeouts(&mut peer, &aim.policy.timeouts, may_fill_socket);
    peer
}

/// Has the connection made by TLS.
///
/// # Errors
/// The authorities that it is to be verified by cannot be read.
pub(super) fn set_tls(peer: &mut HttpPeer, tls: &Tls<'_>, authorities: &Authorities) -> Result<(), Reason> {
    peer.scheme = pingora::upstreams::peer::Scheme::HTTPS;
    // Without a name the engine verifies nothing at all.
    tls.name.clone_into(&mut peer.sni);
    peer.options.verify_cert = tls.is_verified;
    peer.options.verify_hostname = tls.is_verified;
    if let Some(bundle) = tls.authorities {
        let parsed = authorities.of(&bundle.0);
        if parsed.authorities.is_none() && tls.is_verified {
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
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::upstream::{CaBundle, Protocol};

    fn of(protocol: Protocol) -> HttpPeer {
        let config = UpstreamConfig { protocol, ..UpstreamConfig::default() };
        plain(&Aim { address: ([127, 0, 0, 1], 1).into(), config: Arc::new(config), policy: Arc::default() }, true)
    }

    #[test]
    fn tls_is_made_and_verified_as_it_was_decided() {
        for is_verified in [true, false] {
            let mut peer = of(Protocol::Https);
            let tls = Tls { name: "a.example", is_verified, authorities: None };
            set_tls(&mut peer, &tls, &Authorities::default()).unwrap();
            assert_eq!((peer.is_tls(), peer.sni.as_str()), (true, "a.example"));
            assert_eq!((peer.options.verify_cert, peer.options.verify_hostname), (is_verified, is_verified));
        }
    }

    #[test]
    fn unreadable_authorities_fail_closed() {
        let junk = CaBundle([b"junk".to_vec()].into());
        let tls = |is_verified| Tls { name: "a", is_verified, authorities: Some(&junk) };
        let set = |is_verified| set_tls(&mut of(Protocol::Https), &tls(is_verified), &Authorities::default());
        assert_eq!((set(true), set(false)), (Err(Reason::UpstreamTls), Ok(())));
    }

    #[test]
    fn protocols_do_not_share_connections() {
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
