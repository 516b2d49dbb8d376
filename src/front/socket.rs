//! Sockets that listen. They are bound here, so that a bad address is an error value at once and port 0 tells its real
//! number; accepting is Pingora's.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// Connections that may wait to be accepted; the system caps it (`net.core.somaxconn`).
const BACKLOG: i32 = 65_535;

/// Why an address cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BindFault {
    /// Somebody listens there.
    InUse,
    /// It is no address of this machine.
    NotHere,
    /// This process may not: ports below 1024 want a capability.
    NotPermitted,
    /// The system says something else.
    Other,
}

// === impl BindFault ===

impl BindFault {
    /// Every reason, in declared order.
    pub(crate) const ALL: [Self; 4] = [Self::InUse, Self::NotHere, Self::NotPermitted, Self::Other];

    /// The reason as it stands in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InUse => "in_use",
            Self::NotHere => "not_here",
            Self::NotPermitted => "not_permitted",
            Self::Other => "other",
        }
    }
}

impl From<&io::Error> for BindFault {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse,
            io::ErrorKind::AddrNotAvailable => Self::NotHere,
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::Other,
        }
    }
}

/// A listening, non-blocking socket and its real address.
pub(super) fn bind(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Connections of a previous process in TIME_WAIT must not keep the address from us.
    socket.set_reuse_address(true)?;
    if let SocketAddr::V6(v6) = address {
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // Pingora listens once more, which is harmless; only this one tells that another process listens already.
    socket.listen(BACKLOG)?;
    let real = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket, real))
}

/// Whether two sockets could not listen at once.
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let is_same = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    is_same && a.port() == b.port() && a.port() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_0_tells_its_real_number() {
        let (_socket, address) = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        assert_ne!(address.port(), 0);
    }

    #[test]
    fn an_address_that_cannot_be_had_is_an_error_with_its_reason() {
        let (_socket, address) = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let fault = |address| BindFault::from(&bind(address).unwrap_err());
        assert_eq!(fault(address), BindFault::InUse);
        assert_eq!(fault("192.0.2.1:0".parse().unwrap()), BindFault::NotHere);
    }

    #[test]
    fn all_addresses_overlap_with_each() {
        let overlap = |a: &str, b: &str| overlap(a.parse().unwrap(), b.parse().unwrap());
        assert!(overlap("0.0.0.0:80", "127.0.0.1:80") && overlap("127.0.0.1:80", "[::]:80"));
        assert!(!overlap("127.0.0.2:80", "127.0.0.1:80") && !overlap("0.0.0.0:80", "0.0.0.0:81"));
        assert!(!overlap("0.0.0.0:0", "0.0.0.0:0"), "the system chooses two");
    }
}
