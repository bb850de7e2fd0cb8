//! The three files of a process, read and checked. Knows paths and PEM; an error names the file and
//! the remedy, and never shows what a key holds.

use super::identity::{Certificate, Identity};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// Greatest size of one file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Permissions of everybody who is neither the file's user nor in its group, and the group's to
/// change it.
const OTHERS: u32 = 0o027;

/// Where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Certificates of the authorities.
    pub ca: PathBuf,
    /// Its own certificate, with those between it and the authority.
    pub certificate: PathBuf,
    /// The private key of it.
    pub key: PathBuf,
}

impl Files {
    /// As the table `[tls]` says for `name`.
    pub fn of(tls: &cluster_config::Tls, name: &str) -> Self {
        let [ca, certificate, key] = tls.files(name).map(PathBuf::from);
        Self { ca, certificate, key }
    }

    /// As `arbiter pki` lays them out in `dir`.
    pub fn within(dir: &Path, name: &str) -> Self {
        let file = |name: String| dir.join(name);
        Self {
            ca: file("ca.pem".to_owned()),
            certificate: file(format!("{name}.pem")),
            key: file(format!("{name}.key")),
        }
    }
}

/// Why certificates cannot be used. The text names the file and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "{}: {why}; run: arbiter pki issue --config FILE --dir DIR; or name another file in [tls]",
        .file.display()
    )]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// It holds something else.
    #[error("{}: {why}", .file.display())]
    Wrong {
        /// Which.
        file: PathBuf,
        /// What it holds, and what it should.
        why: String,
    },
    /// Somebody else may read a key.
    #[error(
        "{}: mode {mode:03o} lets others read or change the key; run: chmod 600 {0}",
        .file.display()
    )]
    Open {
        /// Which.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// What the files hold.
pub(super) struct Read {
    pub key: Arc<CertifiedKey>,
    pub roots: Arc<RootCertStore>,
    pub own: Certificate,
    pub identity: Identity,
    /// Of the authorities, in the file's order.
    pub authorities: Vec<Certificate>,
}

impl Files {
    pub(super) fn read(&self) -> Result<Read, TlsError> {
        let authorities = certificates(&self.ca)?;
        let mut roots = RootCertStore::empty();
        for der in &authorities {
            roots.add(der.clone()).map_err(|error| wrong(&self.ca, error))?;
        }
        let chain = certificates(&self.certificate)?;
        let own = seen(&self.certificate, &chain[0])?;
        let identity = own.identity.clone().map_err(|none| wrong(&self.certificate, none))?;
        let key = self.certified(chain)?;
        let authorities = authorities.iter().map(|der| seen(&self.ca, der));
        let authorities = authorities.collect::<Result<_, _>>()?;
        Ok(Read { key: Arc::new(key), roots: Arc::new(roots), own, identity, authorities })
    }

    fn certified(&self, chain: Vec<CertificateDer<'static>>) -> Result<CertifiedKey, TlsError> {
        let metadata =
            std::fs::metadata(&self.key).map_err(|error| unreadable(&self.key, error))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & OTHERS != 0 {
            return Err(TlsError::Open { file: self.key.clone(), mode });
        }
        let pem = read(&self.key)?;
        let none = |_| wrong(&self.key, "holds no private key in PEM");
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(none)?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let certificate = self.certificate.display();
                wrong(&self.key, format!("is not the key of {certificate}: write both anew"))
            }
            error => wrong(&self.key, error),
        })
    }
}

/// The one provider.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

fn unreadable(file: &Path, why: impl ToString) -> TlsError {
    TlsError::Unreadable { file: file.to_owned(), why: why.to_string() }
}

fn wrong(file: &Path, why: impl ToString) -> TlsError {
    TlsError::Wrong { file: file.to_owned(), why: why.to_string() }
}

fn seen(file: &Path, der: &CertificateDer<'_>) -> Result<Certificate, TlsError> {
    Certificate::read(der).map_err(|none| wrong(file, none))
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let size = std::fs::metadata(file).map_err(|error| unreadable(file, error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong(file, format!("has {size} bytes, more than {FILE_BYTES_MAX}")));
    }
    std::fs::read(file).map_err(|error| unreadable(file, error))
}

/// At least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(wrong(file, "holds no certificate in PEM (BEGIN CERTIFICATE)")),
    }
}

/// Every certificate in a file, as far as it matters here.
///
/// # Errors
/// The file cannot be read, or holds none.
pub fn show(file: &Path) -> Result<Vec<Certificate>, TlsError> {
    certificates(file)?.iter().map(|der| seen(file, der)).collect()
}
