//! The connection to the API server.

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use kube::config::{Config, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};

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

// === impl Access ===

impl Access {
    /// Makes a client; nothing is asked of the server yet.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn client(&self) -> Result<Client, AccessError> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        Ok(Client::try_from(config)?)
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
