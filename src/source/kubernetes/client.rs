//! The connection to the API server.

mod contact;
mod error;

use std::path::PathBuf;
use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Client;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{Config, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use tower::retry::RetryLayer;
use tower::util::option_layer;
use tower::{BoxError, Layer, ServiceExt};

pub(crate) use contact::Contact;
use contact::ContactLayer;
pub(super) use error::chain;

/// Access to an API server: address and credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// A kubeconfig file. Without: the Pod's ServiceAccount in a cluster, else `$KUBECONFIG`, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it. Without: its current one.
    pub context: Option<String>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The kubeconfig cannot be read or used.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither a ServiceAccount nor a kubeconfig is there.
    #[error("no access to a cluster: {0}")]
    Nowhere(#[from] InferConfigError),
    /// The client cannot be made.
    #[error("client: {0}")]
    Client(#[from] kube::Error),
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may say nothing. Servers send a bookmark to each watch about once a minute; where they do not,
/// the watch goes on from where it was.
const READ_TIMEOUT: Duration = Duration::from_secs(150);

/// A connection whose other end is gone without a word (a node that died, a load balancer that forgot it) looks like
/// one on which nothing happens. So it is asked after so long,
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
/// again and again,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// and is given up after so many questions without an answer,
const KEEPALIVE_QUESTIONS: u32 = 3;
/// or when what was sent is not acknowledged for so long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(25);

// === impl Access ===

impl Access {
    /// Makes a client; nothing is asked of the server yet.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub(crate) async fn client(&self) -> Result<(Client, Contact), AccessError> {
        connect(self.config().await?)
    }

    /// Makes a client for writers, who have a pace of their own and try again by that.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub(crate) async fn writer(&self) -> Result<Client, AccessError> {
        let mut config = self.config().await?;
        config.default_retry = false;
        Ok(connect(config)?.0)
    }

    async fn config(&self) -> Result<Config, AccessError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        match &self.kubeconfig {
            Some(file) => Ok(Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?),
            None if self.context.is_some() => Ok(Config::from_kubeconfig(&options).await?),
            None => Ok(Config::infer().await?),
        }
    }
}

/// Makes a client, and what tells of its contact with the server.
///
/// # Errors
/// See [`AccessError`].
pub fn connect(config: Config) -> Result<(Client, Contact), AccessError> {
    if config.proxy_url.is_some() {
        // Proxies are not supported, which is kube's to say.
        drop(ClientBuilder::try_from(config.clone())?);
    }
    let contact = Contact::default();
    // Outermost first: contact, address, tries, credentials.
    let service = hyper_util::client::legacy::Builder::new(TokioExecutor::new())
        .build::<_, Body>(timed(config.rustls_https_connector_with_connector(tcp())?))
        .map_err(BoxError::from);
    let service = config.extra_headers_layer()?.layer(service);
    let service = option_layer(config.auth_layer()?).layer(service);
    let retries = config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = option_layer(retries).layer(service);
    let service = ContactLayer(contact.clone()).layer(config.base_uri_layer().layer(service));
    Ok((ClientBuilder::new(service, config.default_namespace).build(), contact))
}

fn timed<C>(connector: C) -> TimeoutConnector<C>
where
    TimeoutConnector<C>: Sized,
    C: tower::Service<http::Uri> + Send,
    C::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    let mut connector = TimeoutConnector::new(connector);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_read_timeout(Some(READ_TIMEOUT));
    connector
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE_AFTER));
    connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(KEEPALIVE_QUESTIONS));
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    connector
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tower::Service;

    use super::*;

    #[tokio::test]
    async fn connections_notice_that_the_other_end_is_gone() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let stream = tcp().call(uri).await.unwrap().into_inner();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_AFTER);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_QUESTIONS);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED));
    }
}
