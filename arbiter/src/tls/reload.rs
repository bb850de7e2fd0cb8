//! Certificates that change without a restart: the files are looked at every few seconds, and taken
//! once all three are good together. Until then the ones before stay in use, and it is said.

use super::files::{Files, Read, TlsError, provider};
use super::identity::{Certificate, Identity, Role};
use super::verify::{Arbiters, Clients, in_force};
use crate::clock;
use arbiter_core::WallMillis;
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// How often files are looked at.
pub const RELOAD_EVERY: Duration = Duration::from_secs(2);
/// What HTTP/2 is called in a handshake.
const HTTP2: &[u8] = b"h2";

/// Certificates of one process, always the newest good ones.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    cluster: String,
    grace: Duration,
    current: RwLock<Arc<Loaded>>,
    fault: RwLock<Option<String>>,
    replaced: watch::Sender<u64>,
}

/// What was read once.
struct Loaded {
    read: Read,
    server: Arc<ServerConfig>,
    stamps: Stamps,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No key in any log.
        f.debug_struct("Loaded").field("identity", &self.read.identity).finish_non_exhaustive()
    }
}

/// What tells a changed file: inode, size, time of change.
type Stamps = [Option<(u64, u64, i64, i64)>; 3];

/// When a certificate that this process uses ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// `certificate`, or `ca`.
    pub kind: &'static str,
    /// Its file.
    pub file: PathBuf,
    /// Good up to here.
    pub expires: WallMillis,
}

impl Tls {
    /// Certificates of the `role` called `name` in `cluster`.
    ///
    /// # Errors
    /// A file is not usable, or for somebody else.
    pub fn open(
        files: Files,
        cluster: &str,
        role: Role,
        name: &str,
        grace: Duration,
    ) -> Result<Arc<Self>, TlsError> {
        let wanted = Identity { cluster: cluster.to_owned(), role, name: name.to_owned() };
        let loaded = load(&files, Some(&wanted))?;
        Ok(Arc::new(Self::with(files, loaded, grace)))
    }

    /// Certificates of a person: of whom, and in which cluster, they say themselves.
    ///
    /// # Errors
    /// A file is not usable.
    pub fn of_person(files: Files, grace: Duration) -> Result<Arc<Self>, TlsError> {
        let loaded = load(&files, None)?;
        Ok(Arc::new(Self::with(files, loaded, grace)))
    }

    fn with(files: Files, loaded: Loaded, grace: Duration) -> Self {
        let cluster = loaded.read.identity.cluster.clone();
        let current = RwLock::new(Arc::new(loaded));
        let (fault, replaced) = (RwLock::default(), watch::Sender::new(0));
        Self { files, cluster, grace, current, fault, replaced }
    }

    fn current(&self) -> Arc<Loaded> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who this process is.
    pub fn identity(&self) -> Identity {
        self.current().read.identity.clone()
    }

    /// How long the certificate of a process counts after it expired.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Whether a certificate counts now: that of a process some time longer than it says.
    pub fn in_force(&self, certificate: &Certificate) -> bool {
        in_force(certificate, clock::wall(), self.grace)
    }

    /// Every certificate that this process uses.
    pub fn expiries(&self) -> Vec<Expiry> {
        let loaded = self.current();
        let own = Expiry {
            kind: "certificate",
            file: self.files.certificate.clone(),
            expires: loaded.read.own.expires,
        };
        let file = &self.files.ca;
        let authorities = loaded.read.authorities.iter().map(|authority| Expiry {
            kind: "ca",
            file: file.clone(),
            expires: authority.expires,
        });
        std::iter::once(own).chain(authorities).collect()
    }

    /// Why the files as they are now are not in use, if so.
    pub fn fault(&self) -> Option<String> {
        self.fault.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends once the certificates of now are replaced.
    pub(super) fn replaced(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut replaced = self.replaced.subscribe();
        async move {
            // Without a sender nothing is replaced any more.
            if replaced.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// To answer a handshake with.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.current().server.clone()
    }

    /// To dial an arbiter with; where its name is known, no other is taken for it.
    pub(super) fn client(&self, arbiter: Option<String>) -> Arc<ClientConfig> {
        let loaded = self.current();
        let roots = loaded.read.roots.clone();
        let verifier = Arbiters::new(roots, self.cluster.clone(), arbiter, self.grace);
        let own = Arc::new(SingleCertAndKey::from(loaded.read.key.clone()));
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("ring has TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(own);
        config.alpn_protocols = vec![HTTP2.to_vec()];
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    /// Look at the files now; true when they were taken anew.
    pub fn look(&self) -> bool {
        let current = self.current();
        if stamps(&self.files) == current.stamps && self.fault().is_none() {
            return false;
        }
        match load(&self.files, Some(&current.read.identity)) {
            Ok(loaded) => {
                let expires = loaded.read.own.expires.0 / 1_000;
                let changed = loaded.stamps != current.stamps;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
                self.set_fault(None);
                if changed {
                    self.replaced.send_modify(|times| *times += 1);
                    tracing::info!(expires, "the certificate was read anew");
                }
                changed
            }
            Err(error) => {
                self.set_fault(Some(error.to_string()));
                false
            }
        }
    }

    fn set_fault(&self, fault: Option<String>) {
        let mut known = self.fault.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = fault.as_ref().filter(|_| *known != fault) {
            tracing::warn!("the new certificate is not in use, the one before is: {why}");
        }
        *known = fault;
    }

    /// Look at the files every [`RELOAD_EVERY`], for ever.
    pub async fn watch(self: Arc<Self>) {
        loop {
            sleep(RELOAD_EVERY).await;
            let looked = self.clone();
            // A file on a file system that hangs keeps nobody waiting but this task.
            let _ = tokio::task::spawn_blocking(move || looked.look()).await;
        }
    }
}

fn stamps(files: &Files) -> Stamps {
    [&files.ca, &files.certificate, &files.key].map(|file| stamp(file))
}

fn stamp(file: &Path) -> Option<(u64, u64, i64, i64)> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

/// Read them, for nobody but `wanted`.
fn load(files: &Files, wanted: Option<&Identity>) -> Result<Loaded, TlsError> {
    // Before the reading: what changes in between is read again.
    let stamps = stamps(files);
    let read = files.read()?;
    if let Some(wanted) = wanted.filter(|wanted| **wanted != read.identity) {
        let why = format!("is for {}, and this is {wanted}", read.identity);
        return Err(TlsError::Wrong { file: files.certificate.clone(), why });
    }
    let failed = |why: String| TlsError::Wrong { file: files.ca.clone(), why };
    let clients = Clients::new(read.roots.clone()).map_err(|error| failed(error.to_string()))?;
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| failed(error.to_string()))?
        .with_client_cert_verifier(Arc::new(clients))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(read.key.clone())));
    server.alpn_protocols = vec![HTTP2.to_vec()];
    // A resumed session would be one whose certificate nobody looks at again.
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Loaded { read, server: Arc::new(server), stamps })
}
