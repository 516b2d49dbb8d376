//! What tests of decisions, and of who carries them out, begin with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::edge::{self, Limits};
use crate::endpoint::{Address, Table, Upstream};
use crate::policy::{Policy, Timeouts};
use crate::quantity;
use crate::snapshot::certificates::{Certificates, ServedCertificate};
use crate::snapshot::edge::Edge;
use crate::snapshot::route::{Action, Forward, Route, Share};
use crate::snapshot::{Served, Snapshot};

/// Longer than any test takes on the busiest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A route to that upstream.
pub(crate) fn route(upstream: Arc<Upstream>) -> Route {
    let long = PATIENCE;
    Route {
        facts: Arc::default(),
        origin: crate::origin::Origin::default(),
        action: Action::Forward(Forward::new([Share { upstream, weight: 1, named: None }])),
        https_redirect: crate::snapshot::route::HttpsRedirect::Never,
        pipeline: Arc::default(),
        choices: None,
        policy: Arc::new(Policy {
            timeouts: Timeouts {
                connect: long,
                read: long,
                response_header: long,
                send: long,
                idle: long,
                endpoints: Duration::ZERO,
                ..Timeouts::default()
            },
            ..Policy::default()
        }),
        metrics: Arc::default(),
    }
}

/// An upstream with these endpoints.
pub(crate) fn target(endpoints: &[SocketAddr]) -> Arc<Upstream> {
    let upstream = Table::default().upstream_of("upstream/test", None);
    let addresses: Vec<_> = endpoints.iter().map(|address| Address { address: *address, weight: 1 }).collect();
    upstream.set_endpoints(&addresses);
    upstream
}

/// A snapshot with at most one route, which is everybody's.
pub(crate) fn snapshot(generation: u64, default: Option<Arc<Route>>, edge: Edge) -> Snapshot {
    let common = Arc::new(Served { router: Default::default(), default, certificates: certificates() });
    Snapshot { generation, listeners: Default::default(), common, edge: Arc::new(edge) }
}

/// Edge settings that are in nobody's way.
pub(crate) fn edge() -> Edge {
    let long = quantity::Duration(PATIENCE);
    let limits = Limits {
        header_timeout: long,
        body_timeout: long,
        keep_alive_timeout: long,
        send_timeout: long,
        connections: 1000,
        connections_per_source: 0,
        requests: 1000,
        ..Limits::default()
    };
    Edge {
        settings: edge::Edge { limits, ..edge::Edge::default() },
        server_header: Some(HeaderValue::from_static("tidegate")),
        claims: crate::snapshot::edge::claims::Claims::known(),
        loop_id: HeaderValue::from_static("tidegate"),
    }
}

fn certificates() -> Certificates {
    let made = rcgen::generate_simple_self_signed(["test".to_owned()]).unwrap();
    let key = rustls::crypto::ring::sign::any_ecdsa_type(
        &rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
    );
    let default = ServedCertificate {
        name: "self-signed".into(),
        origin: crate::origin::Origin::default(),
        key: Arc::new(rustls::sign::CertifiedKey::new(vec![made.cert.der().clone()], key.unwrap())),
        dns_names: Default::default(),
        not_after: 0,
    };
    Certificates { hosts: Default::default(), default: Arc::new(default) }
}
