//! Certificates of a trio, and clients that show any of them.

use arbiter::tls::{self, Authority, Dialer, Files, Identity, Role, Tls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Channel;

pub const CLUSTER: &str = "trio";
pub const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

pub struct Secure {
    pub authority: Authority,
    pub dir: PathBuf,
}

impl Secure {
    pub fn create(dir: &Path, validity: Duration) -> Self {
        tls::install();
        let dir = dir.join("tls");
        std::fs::create_dir_all(&dir).expect("a directory");
        let authority = Authority::create(&dir, YEAR).expect("an authority");
        let secure = Self { authority, dir };
        secure.issue_all(validity);
        for role in [Role::Viewer, Role::Operator, Role::Admin] {
            secure.issue(CLUSTER, role, role.as_str(), validity.max(YEAR));
        }
        secure
    }

    /// Of every arbiter and agent.
    pub fn issue_all(&self, validity: Duration) {
        for name in super::trio::NAMES {
            self.issue(CLUSTER, Role::Arbiter, name, validity);
        }
        for name in ["agent-eu", "agent-us"] {
            self.issue(CLUSTER, Role::Agent, name, validity);
        }
    }

    pub fn issue(&self, cluster: &str, role: Role, name: &str, validity: Duration) {
        let (cluster, name) = (cluster.to_owned(), name.to_owned());
        let identity = Identity { cluster, role, name };
        let issued = self.authority.issue(&identity, None, validity).expect("signed");
        issued.write(&self.dir, &identity.name).expect("written");
    }

    /// The table of the cluster file.
    pub fn table(&self, more: &str) -> String {
        if more.contains("[tls]") {
            return String::new();
        }
        let dir = self.dir.display();
        format!(
            "[tls]\nca = \"{dir}/ca.pem\"\ncertificate = \"{dir}/{{name}}.pem\"\n\
             key = \"{dir}/{{name}}.key\"\n"
        )
    }

    pub fn dialer(&self, who: &str) -> Dialer {
        let files = Files::within(&self.dir, who);
        Dialer::new(Some(Tls::of_person(files, YEAR).expect("certificates")))
    }

    pub async fn channel(&self, port: u16, who: &str) -> Channel {
        let endpoint = Dialer::endpoint(&format!("127.0.0.1:{port}")).expect("an address");
        self.dialer(who).connect(&endpoint).await.expect("connects")
    }

    /// Certificate and key of `who`.
    pub fn pair(&self, who: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let read = |ending: &str| {
            std::fs::read(self.dir.join(format!("{who}.{ending}"))).expect("is there")
        };
        let pem = read("pem");
        let chain = CertificateDer::pem_slice_iter(&pem);
        let chain = chain.collect::<Result<_, _>>().expect("a certificate");
        (chain, PrivateKeyDer::from_pem_slice(&read("key")).expect("a key"))
    }
}

/// Takes whatever a server says: only what the server thinks of its client is tried.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A connection with these certificates and none of our own checks; no pair: no certificate.
pub async fn raw(
    port: u16,
    pair: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let config =
        ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match pair {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).expect("a pair"),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("anybody").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// gRPC over such a connection, made once.
pub async fn raw_channel(
    port: u16,
    pair: (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
) -> Channel {
    let stream = raw(port, Some(pair)).await.expect("a handshake");
    let mut stream = Some(hyper_util::rt::TokioIo::new(stream));
    let once = tower::service_fn(move |_| {
        std::future::ready(stream.take().ok_or_else(|| std::io::Error::other("it was lost")))
    });
    let endpoint = Dialer::endpoint(&format!("127.0.0.1:{port}")).expect("an address");
    endpoint.connect_with_connector(once).await.expect("HTTP/2")
}
