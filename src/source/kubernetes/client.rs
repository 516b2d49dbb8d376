//! The connection to the API server.

mod contact;

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use kube::client::ClientBuilder;
use kube::config::{Config, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};

pub use contact::Contact;
use contact::ContactLayer;

/// Which API server, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
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
/// How long an answer may say nothing: longer than a watch is held open.
const READ_TIMEOUT: Duration = Duration::from_secs(310);

// === impl Access ===

impl Access {
    /// Makes a client; nothing is asked of the server yet.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn client(&self) -> Result<(Client, Contact), AccessError> {
        connect(self.config().await?)
    }

    /// Makes a client for writers, who have a pace of their own and try again by that.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn writer(&self) -> Result<Client, AccessError> {
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
pub fn connect(mut config: Config) -> Result<(Client, Contact), AccessError> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    let contact = Contact::default();
    let builder = ClientBuilder::try_from(config)?;
    Ok((builder.with_layer(&ContactLayer(contact.clone())).build(), contact))
}
