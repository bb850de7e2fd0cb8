//! Who we are to one API server: the kubeconfig, or the pod's own credentials, read at use.
//!
//! Knows files and what a client is made of. Never shows what is in them: errors of the libraries
//! below may quote a token, so each is said in words of our own.

use super::api::Fault;
use super::settings::Access;
use crate::clock;
use arbiter_core::Instant;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use std::path::Path;
use std::time::Duration;
use tokio::sync::Mutex;

/// Longest time that an attempt to connect goes on after the question that began it was given up.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A client is made anew after this: certificates that a kubeconfig names by path change too.
const CLIENT_AGE_MAX: Duration = Duration::from_secs(600);
/// Largest kubeconfig, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Makes clients, and keeps one while what it was made from stays the same.
pub struct Login {
    access: Access,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    /// The kubeconfig that it was made from.
    file: Option<Vec<u8>>,
    at: Instant,
    session: Session,
}

/// A client, and what it talks to.
#[derive(Clone)]
pub struct Session {
    /// The client.
    pub client: Client,
    /// URL of the API server, for people.
    pub server: String,
    /// The namespace in force.
    pub namespace: String,
}

impl Login {
    /// A login by `access`. Nothing is read yet.
    pub fn new(access: Access) -> Self {
        Self { access, kept: Mutex::new(None) }
    }

    /// The client of now.
    pub async fn session(&self) -> Result<Session, Fault> {
        let file = self.access.kubeconfig.as_deref().map(read).transpose()?;
        let mut kept = self.kept.lock().await;
        if let Some(same) = kept.as_ref().filter(|kept| kept.file == file && kept.is_fresh()) {
            return Ok(same.session.clone());
        }
        let session = self.open().await?;
        *kept = Some(Kept { file, at: clock::now(), session: session.clone() });
        Ok(session)
    }

    /// It was refused: the next client reads everything anew.
    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn open(&self) -> Result<Session, Fault> {
        crate::tls::install();
        let mut config = match &self.access.kubeconfig {
            Some(path) => self.configured(path).await?,
            None => Config::incluster().map_err(|_| {
                Fault::Refused(
                    "no kubeconfig_file is set, and this agent runs in no pod with a service \
                     account: set kubeconfig_file"
                        .to_owned(),
                )
            })?,
        };
        config.connect_timeout = Some(CONNECT_LIMIT);
        // Waits and repetitions are ours: they must fit into a call.
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        let namespace = self.access.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| refused(&error))?;
        Ok(Session { client, server, namespace })
    }

    async fn configured(&self, path: &Path) -> Result<Config, Fault> {
        let bad = |what: &str| Fault::Refused(format!("kubeconfig {}: {what}", path.display()));
        let kubeconfig = Kubeconfig::read_from(path).map_err(|error| match error {
            KubeconfigError::ReadConfig(..) => bad("cannot be read"),
            _ => bad("is no kubeconfig"),
        })?;
        let options =
            KubeConfigOptions { context: self.access.context.clone(), cluster: None, user: None };
        let proxied = kubeconfig
            .clusters
            .iter()
            .any(|named| named.cluster.as_ref().is_some_and(|cluster| cluster.proxy_url.is_some()));
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.map_err(|error| {
            bad(&match error {
                KubeconfigError::CurrentContextNotSet => {
                    "has no current context: set context".to_owned()
                }
                KubeconfigError::LoadContext(name) => {
                    format!("has no context {name:?}: set context")
                }
                KubeconfigError::LoadClusterOfContext(name) => {
                    format!("has no cluster {name:?}")
                }
                KubeconfigError::MissingClusterUrl | KubeconfigError::ParseClusterUrl(_) => {
                    "names no usable server".to_owned()
                }
                _ => "names a certificate that cannot be read".to_owned(),
            })
        })?;
        // A proxy of the environment is for others: an API server is reached as the file says.
        if !proxied {
            config.proxy_url = None;
        }
        Ok(config)
    }
}

impl Kept {
    fn is_fresh(&self) -> bool {
        clock::now().since(self.at) < CLIENT_AGE_MAX
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let refuse = |what: String| Fault::Refused(format!("kubeconfig {}: {what}", path.display()));
    let size = std::fs::metadata(path)
        .map_err(|error| refuse(format!("cannot be read: {error}: set kubeconfig_file")))?
        .len();
    if size > FILE_BYTES_MAX {
        return Err(refuse(format!("has {size} bytes, which is no kubeconfig")));
    }
    std::fs::read(path)
        .map_err(|error| refuse(format!("cannot be read: {error}: make it readable to the agent")))
}

/// Why there is no client, without what the library quotes: an exec plugin's output is a token.
pub fn refused(error: &kube::Error) -> Fault {
    use kube::client::AuthError;
    let why = match error {
        kube::Error::Auth(AuthError::AuthExecStart(error)) => {
            format!("the exec plugin of the kubeconfig cannot be started: {}", error.kind())
        }
        kube::Error::Auth(AuthError::AuthExecRun { out, .. }) => {
            format!("the exec plugin of the kubeconfig failed ({})", out.status)
        }
        kube::Error::Auth(AuthError::ReadTokenFile(error, path)) => {
            format!("the token file {} cannot be read: {}", path.display(), error.kind())
        }
        kube::Error::Auth(AuthError::InvalidBearerToken(_)) => {
            "its token, or its token file, holds what no token has, such as a line break".to_owned()
        }
        kube::Error::Auth(_) => "the credentials of the kubeconfig are unusable".to_owned(),
        kube::Error::ProxyProtocolUnsupported { .. }
        | kube::Error::ProxyProtocolDisabled { .. } => {
            "the kubeconfig names a proxy-url, and proxies are not supported".to_owned()
        }
        _ => "its certificates or keys are unusable".to_owned(),
    };
    Fault::Refused(format!("no client for the Kubernetes API: {why}"))
}
