//! Makes the engine's proxy with a connector of ours.
//!
//! It can be made in the engine's service only, which shares it with nobody but handlers of protocols of one's own. So
//! such a service is started on a socket of its own, one connection is made to it, and what its handler is given is kept.
//! To go when `HttpProxy` can be made with a connector (its `new_custom` is private in 0.9.1).

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::IntoRawFd;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use pingora::apps::HttpServerOptions;
use pingora::connectors::ConnectorOptions;
use pingora::server::configuration::ServerConf;
use pingora::server::{Fds, ListenFds};
use pingora::services::Service as _;
use pingora_proxy::{HttpProxy, ProxyServiceBuilder};
use tokio::sync::watch;

use super::PingoraHooks;
use super::connector::UpstreamConnector;
use super::flow_control::FlowControlCounts;

/// The engine's proxy around ours.
pub(super) type Http = HttpProxy<PingoraHooks, UpstreamConnector>;

/// For one connection on loopback.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Makes it.
///
/// # Errors
/// There is no loopback address to listen on, or the engine does not take a connection.
pub(super) fn make(
    hooks: PingoraHooks,
    conf: &Arc<ServerConf>,
    counts: Arc<FlowControlCounts>,
) -> io::Result<Arc<Http>> {
    let (send, made) = channel();
    let send = Mutex::new(send);
    let mut options = HttpServerOptions::default();
    options.force_custom = true;
    // The guard refuses CONNECT, with our fields and a record.
    options.allow_connect_method_proxying = true;
    let mut service = ProxyServiceBuilder::new(conf, hooks)
        .server_options(options)
        .custom(
            UpstreamConnector::new(ConnectorOptions::from_server_conf(conf), counts),
            Arc::new(move |http: Arc<Http>, _stream, _shutdown: &_| {
                let _taken = send.lock().unwrap_or_else(PoisonError::into_inner).send(http);
                std::future::ready(None).boxed()
            }),
        )
        .build();
    let (address, table) = socket()?;
    service.add_tcp(&address.to_string());
    // A thread and a runtime of its own: this one may be the only thread of the caller's.
    let thread = std::thread::Builder::new().name("engine".into()).spawn(move || -> io::Result<Arc<Http>> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let stop = watch::Sender::new(false);
        let stopped = stop.subscribe();
        runtime.spawn(async move { service.start_service(Some(table), stopped, 1).await });
        let until = Instant::now() + PATIENCE;
        loop {
            let _stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            match made.recv_timeout(PAUSE * 10) {
                Ok(http) => {
                    // The service is not told to stop, for it would tell the proxy: it is dropped as it stands.
                    runtime.shutdown_background();
                    return Ok(http);
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < until => {}
                Err(_) => return Err(io::Error::other("the engine took no connection")),
            }
        }
    })?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the engine could not be started")))
}

/// A socket of our own, under whose address the service finds its descriptor.
fn socket() -> io::Result<(SocketAddr, ListenFds)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let mut table = Fds::new();
    table.add(address.to_string(), listener.into_raw_fd());
    Ok((address, Arc::new(table.into())))
}
