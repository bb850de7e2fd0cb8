//! Whose word is taken. An authority of ours must have signed it, each time the files as they are
//! then; a process whose certificate expired is heard for the grace period, a person is not.
//!
//! Chains, signatures and key usage are webpki's business; this file chooses the time they are
//! judged at, and what a server's certificate must say.

use super::files::provider;
use super::identity::{Certificate, Identity, Role};
use crate::clock;
use arbiter_core::WallMillis;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use std::sync::Arc;
use std::time::Duration;

/// Certificates of one chain that may have expired.
const CHAIN_MAX: usize = 4;

/// Whether `certificate` counts at `now`: until it expires; that of a process for `grace` more.
pub(super) fn in_force(certificate: &Certificate, now: WallMillis, grace: Duration) -> bool {
    let process = certificate.identity.as_ref().is_ok_and(|identity| identity.role.is_process());
    let grace = if process { grace } else { Duration::ZERO };
    let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    now.0 <= certificate.expires.0.saturating_add(grace)
}

/// Judge a chain at `now`; where it expired, at the moment before that. What follows from an expiry
/// is for the caller to say, from the time that stands in the certificate.
fn signed(now: UnixTime, judge: impl Fn(UnixTime) -> Result<(), Error>) -> Result<(), Error> {
    let mut at = now;
    for _ in 0..CHAIN_MAX {
        match judge(at) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) if not_after < at => at = not_after,
            judged => return judged,
        }
    }
    Err(CertificateError::Expired.into())
}

fn wall() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(clock::wall().0))
}

/// Of a server: who dials it. Strangers end in the handshake; who has a certificate that is of no
/// use here is told so by the table of permissions, with a reason.
#[derive(Debug)]
pub(super) struct Clients {
    inner: Arc<dyn ClientCertVerifier>,
}

impl Clients {
    pub(super) fn new(roots: Arc<RootCertStore>) -> Result<Self, VerifierBuilderError> {
        let inner = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
        Ok(Self { inner })
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Each has one certificate: a hint would only tell strangers names.
        &[]
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let judge = |at| self.inner.verify_client_cert(end, between, at).map(|_| ());
        signed(wall(), judge).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Of a client: an arbiter of this cluster, and where it is known which, that one.
#[derive(Debug)]
pub(super) struct Arbiters {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    cluster: String,
    name: Option<String>,
    grace: Duration,
}

impl Arbiters {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        cluster: String,
        name: Option<String>,
        grace: Duration,
    ) -> Self {
        Self { roots, provider: provider(), cluster, name, grace }
    }

    /// What a server's certificate must say. The error is in words: who dials reads them.
    fn expected(&self, certificate: &Certificate) -> Result<(), String> {
        let Identity { cluster, role, name } =
            certificate.identity.as_ref().map_err(ToString::to_string)?;
        if *cluster != self.cluster {
            return Err(format!("it is of cluster {cluster}, not {}", self.cluster));
        }
        if *role != Role::Arbiter {
            return Err(format!("it is of the {role} {name}, and no arbiter"));
        }
        match &self.name {
            Some(wanted) if wanted != name => Err(format!("it is {name}, not {wanted}")),
            _ if !in_force(certificate, clock::wall(), self.grace) => {
                Err(format!("the certificate of {name} expired, longer ago than expiry_grace"))
            }
            _ => Ok(()),
        }
    }
}

impl ServerCertVerifier for Arbiters {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        signed(wall(), |at| {
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, between, at, algorithms)
        })?;
        let chain = std::iter::once(end).chain(between);
        let certificate = Certificate::of_chain(chain).map_err(|none| none.to_string());
        let expected = certificate.and_then(|certificate| self.expected(&certificate));
        expected.map(|()| ServerCertVerified::assertion()).map_err(Error::General)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
