//! An authority of one's own, and the certificates that it signs: for development, and for small
//! installations. Knows files and names; whoever reads its key can be anybody.

use super::files::TlsError;
use super::identity::{Identity, Role};
use super::verify::Clients;
use crate::clock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The authority's certificate, in its directory.
pub const CA_FILE: &str = "ca.pem";
/// The authority's key beside it.
pub const CA_KEY_FILE: &str = "ca.key";
/// Certificates hold from this long before they were made: clocks differ.
const BACKDATED: Duration = Duration::from_secs(3600);
/// Permissions of a private key, and of what everybody may read.
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// An authority that signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca: String,
}

/// A certificate and its key, in PEM.
pub struct Issued {
    /// For everybody.
    pub certificate: String,
    /// For its holder alone.
    pub key: String,
}

impl Authority {
    /// A new one, good for `validity`, written into `dir`.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn create(dir: &Path, validity: Duration) -> Result<Self, TlsError> {
        let ca = dir.join(CA_FILE);
        let key = KeyPair::generate().map_err(|error| failed(&ca, error))?;
        let params = of_authority(validity);
        let certificate = params.self_signed(&key).map_err(|error| failed(&ca, error))?.pem();
        write(&dir.join(CA_KEY_FILE), &key.serialize_pem(), SECRET)?;
        write(&ca, &certificate, PUBLIC)?;
        Ok(Self { issuer: Issuer::new(params, key), ca: certificate })
    }

    /// The one in `dir`.
    ///
    /// # Errors
    /// There is none, or its files are damaged.
    pub fn open(dir: &Path) -> Result<Self, TlsError> {
        let (certificate, key) = (dir.join(CA_FILE), dir.join(CA_KEY_FILE));
        let read = |file: &Path| {
            fs::read_to_string(file).map_err(|error| {
                let why = format!("{error}; run: arbiter pki init --dir {}", dir.display());
                TlsError::Wrong { file: file.to_owned(), why }
            })
        };
        let (ca, pem) = (read(&certificate)?, read(&key)?);
        let key = KeyPair::from_pem(&pem).map_err(|error| failed(&key, error))?;
        // What signs is its name and its key; how long it is good stands in its certificate.
        let authority = Self { issuer: Issuer::new(of_authority(Duration::ZERO), key), ca };
        authority.is_of(&certificate)?;
        Ok(authority)
    }

    /// Whether what it signs is good for whoever trusts the certificate in `file`.
    fn is_of(&self, file: &Path) -> Result<(), TlsError> {
        let identity = Identity { cluster: "x".into(), role: Role::Viewer, name: "x".into() };
        let issued = self.issue(&identity, None, BACKDATED)?;
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes());
        let (Ok(trusted), Ok(end)) = (der(&self.ca), der(&issued.certificate)) else {
            return Err(failed(file, "holds no certificate in PEM"));
        };
        let mut roots = RootCertStore::empty();
        roots.add(trusted).map_err(|error| failed(file, error))?;
        let now = UnixTime::since_unix_epoch(Duration::from_millis(clock::wall().0));
        let clients = Clients::new(roots.into()).map_err(|error| failed(file, error))?;
        clients
            .verify_client_cert(&end, &[], now)
            .map(|_| ())
            .map_err(|_| failed(file, "is not of the key beside it, or was made by another tool"))
    }

    /// Its certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.ca
    }

    /// A certificate for `identity`, good for `validity`. `host`: where an arbiter is reached, for
    /// clients of other makes, which look for it.
    ///
    /// # Errors
    /// Nothing can be signed with this key.
    pub fn issue(
        &self,
        identity: &Identity,
        host: Option<&str>,
        validity: Duration,
    ) -> Result<Issued, TlsError> {
        let file = PathBuf::from(format!("{}.pem", identity.name));
        let failed = |error| failed(&file, error);
        let mut params = lasting(validity);
        params.distinguished_name = named(&identity.name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if identity.role == Role::Arbiter {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let uri = identity.to_string().try_into().map_err(failed)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        match host.map(|host| (host, host.parse::<IpAddr>())) {
            Some((_, Ok(address))) => {
                params.subject_alt_names.push(SanType::IpAddress(address));
            }
            Some((host, Err(_))) => {
                let host = host.to_owned().try_into().map_err(failed)?;
                params.subject_alt_names.push(SanType::DnsName(host));
            }
            None => {}
        }
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }
}

impl Issued {
    /// Write both into `dir`, whole or not at all, in place of earlier ones.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(&self, dir: &Path, name: &str) -> Result<(), TlsError> {
        write(&dir.join(format!("{name}.key")), &self.key, SECRET)?;
        write(&dir.join(format!("{name}.pem")), &self.certificate, PUBLIC)
    }
}

fn of_authority(validity: Duration) -> CertificateParams {
    let mut params = lasting(validity);
    params.distinguished_name = named("region-arbiter authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

fn lasting(validity: Duration) -> CertificateParams {
    let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(clock::wall().0);
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATED;
    params.not_after = now + validity;
    params
}

fn failed(file: &Path, why: impl ToString) -> TlsError {
    TlsError::Wrong { file: file.to_owned(), why: why.to_string() }
}

/// Written beside, synced and renamed.
fn write(file: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    put(file, text, mode).map_err(|error| failed(file, error))
}

fn put(file: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&beside, file)?;
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}
