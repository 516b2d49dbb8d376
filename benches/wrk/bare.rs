//! The floor: a bare Pingora proxy with one upstream and nothing else, in the same build as tidegate.
//!
//! `bare LISTEN UPSTREAM [THREADS]`, for example `bare 127.0.0.1:8000 127.0.0.1:9000 1`.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::prelude::{HttpPeer, Server};
use pingora::server::configuration::ServerConf;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(all(feature = "jemalloc", not(feature = "mimalloc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Bare {
    peer: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(self.peer.clone()))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().ok_or("usage: bare LISTEN UPSTREAM [THREADS]")?;
    let upstream: std::net::SocketAddr = arguments.next().ok_or("usage: bare LISTEN UPSTREAM [THREADS]")?.parse()?;
    let threads = arguments.next().map_or(Ok(1), |number| number.parse())?;
    let conf = ServerConf { threads, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let bare = Bare { peer: HttpPeer::new(upstream, false, String::new()) };
    let mut service = http_proxy_service(&Arc::clone(&server.configuration), bare);
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever()
}
