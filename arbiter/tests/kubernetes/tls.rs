//! TLS in front of the API server, as every real one has it: credentials go over nothing else.
//! Knows one certificate of its own, and bytes.

use super::cluster::Cluster;
use super::{one, reach, seen, services};
use arbiter_core::{Condition, Goal};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for bytes from one side before the other is looked at.
const TURN: Duration = Duration::from_millis(2);

/// A certificate of 127.0.0.1 and its key, which nobody signed.
pub fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (cert, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (cert, key)
}

impl Cluster {
    /// A kubeconfig that leads there over TLS. kubectl sends credentials over nothing else.
    pub fn kubeconfig_over_tls(&self) -> PathBuf {
        let (cert, key) = certificate(&self.path(""), "server");
        let plain = self.url.strip_prefix("http://").expect("plain");
        let url = front(plain, &cert, &key);
        let text = std::fs::read_to_string(self.kubeconfig()).expect("readable");
        let known = format!("{{server: \"{url}\", certificate-authority: server.crt}}");
        let text = text.replace(&format!("{{server: \"{}\"}}", self.url), &known);
        let path = self.path("kubeconfig-tls");
        std::fs::write(&path, text).expect("writable");
        path
    }
}

/// Serve what stands at `plain` (`host:port`) over TLS too; the URL. It ends with the process.
pub fn front(plain: &str, cert: &Path, key: &Path) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_file_iter(cert).expect("readable");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("fit together");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    let plain = plain.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, plain) = (config.clone(), plain.clone());
            std::thread::spawn(move || pump(config, stream, &plain));
        }
    });
    url
}

/// Carry bytes both ways until one side ends.
fn pump(config: Arc<ServerConfig>, stream: TcpStream, plain: &str) -> Option<()> {
    let mut behind = TcpStream::connect(plain).ok()?;
    behind.set_read_timeout(Some(TURN)).ok()?;
    stream.set_read_timeout(Some(TURN)).ok()?;
    let mut front = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
    loop {
        carry(&mut front, &mut behind)?;
        carry(&mut behind, &mut front)?;
    }
}

fn carry(from: &mut impl Read, to: &mut impl Write) -> Option<()> {
    let mut bytes = [0; 16 * 1024];
    match from.read(&mut bytes) {
        Ok(0) => None,
        Ok(length) => to.write_all(&bytes[..length]).and_then(|()| to.flush()).ok(),
        Err(error) => {
            let later = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            later.then_some(())
        }
    }
}

#[tokio::test]
async fn a_server_is_believed_by_its_certificate_only() {
    let cluster = Cluster::with_web(1).await;
    let path = cluster.kubeconfig_over_tls();
    let named = [("deployments", "web"), ("replicas.web", "2"), ("capacity", "ignored")];
    let settings = [&named[..], &[("kubeconfig_file", path.to_str().expect("text"))]].concat();
    reach(&*services(&cluster, &settings), Goal::Active, 2, 9).await.expect("serves");
    assert_eq!(cluster.replicas("web"), 2);
    // The same file with somebody else's certificate.
    let dir = path.parent().expect("a directory");
    certificate(dir, "other");
    let text = std::fs::read_to_string(&path).expect("readable");
    std::fs::write(&path, text.replace("server.crt", "other.crt")).expect("writable");
    let fact = seen(&*services(&cluster, &settings)).await;
    assert_eq!(fact.condition, Condition::Unknown);
    assert!(one(&fact.faults, "cannot be reached").contains("certificate"), "{:?}", fact.faults);
}
