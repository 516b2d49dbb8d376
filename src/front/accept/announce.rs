//! Whom a connection is announced for.
//!
//! Nobody announces anything today, so that the client is whoever connected. What a PROXY header says is to be read
//! here, before the first byte that is the client's own: [`Announced`] has a place for it.

use std::net::{Ipv4Addr, SocketAddr};

use pingora::protocols::GetSocketDigest;
use pingora::protocols::l4::stream::Stream as TcpStream;

use crate::connection::Announced;

/// As the socket says it.
pub(super) fn by_socket(stream: &TcpStream) -> Announced {
    let peer = stream.get_socket_digest().and_then(|digest| digest.peer_addr()?.as_inet().copied());
    canonical(peer.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))).into()
}

/// An address that a dual-stack socket shows in its IPv6 form is the IPv4 address that it stands for.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
