//! Handshakes between our two ends, files that are not usable, and the time that a certificate
//! counts.

use super::files::TlsError;
use super::verify::in_force;
use super::*;
use arbiter_core::WallMillis;
use rustls::pki_types::ServerName;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Pki {
    dir: tempfile::TempDir,
    authority: Authority,
}

fn pki() -> Pki {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path(), DAY).unwrap();
    Pki { dir, authority }
}

impl Pki {
    fn issue(&self, uri: &str, validity: Duration) -> Files {
        let identity: Identity = uri.parse().unwrap();
        let issued = self.authority.issue(&identity, Some("127.0.0.1"), validity).unwrap();
        issued.write(self.dir.path(), &identity.name).unwrap();
        Files::within(self.dir.path(), &identity.name)
    }

    fn tls(&self, uri: &str) -> Arc<Tls> {
        Tls::of_person(self.issue(uri, DAY), DAY).unwrap()
    }
}

/// Whether `client`, which dials `arbiter`, and `server` agree; a word each way.
async fn meet(client: &Tls, arbiter: Option<&str>, server: &Tls) -> io::Result<()> {
    let (near, far) = tokio::io::duplex(16 << 10);
    let acceptor = TlsAcceptor::from(server.server());
    let connector = TlsConnector::from(client.client(arbiter.map(str::to_owned)));
    let name = ServerName::try_from("arbiter").unwrap();
    let serve = async {
        let mut stream = acceptor.accept(far).await?;
        stream.write_all(b"x").await?;
        stream.flush().await
    };
    let dial = async {
        let mut stream = connector.connect(name, near).await?;
        stream.read_u8().await.map(|_| ())
    };
    let (served, dialled) = tokio::join!(serve, dial);
    dialled.and(served)
}

#[tokio::test]
async fn nobody_is_taken_for_an_arbiter_but_that_arbiter() {
    let pki = pki();
    let client = pki.tls("arbiter://shop/agent/agent-eu");
    let server = pki.tls("arbiter://shop/arbiter/arbiter-eu");
    meet(&client, None, &server).await.unwrap();
    meet(&client, Some("arbiter-eu"), &server).await.unwrap();
    for (uri, wanted, why) in [
        ("arbiter://shop/arbiter/arbiter-eu", Some("arbiter-us"), "it is arbiter-eu, not"),
        ("arbiter://other/arbiter/arbiter-eu", None, "it is of cluster other, not shop"),
    ] {
        let error = meet(&client, wanted, &pki.tls(uri)).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    // By its key usage already: only arbiters serve.
    meet(&client, None, &pki.tls("arbiter://shop/agent/agent-us")).await.unwrap_err();
    let foreign = self::pki();
    let stranger = foreign.tls("arbiter://shop/arbiter/arbiter-eu");
    meet(&client, None, &stranger).await.unwrap_err();
    meet(&foreign.tls("arbiter://shop/admin/mallory"), None, &server).await.unwrap_err();
}

/// While one authority replaces another both are trusted, also where they bear one name.
#[tokio::test]
async fn two_authorities_may_sign_while_one_replaces_the_other() {
    let (old, new) = (pki(), pki());
    let files = old.issue("arbiter://shop/arbiter/a", DAY);
    let both = format!("{}{}", old.authority.certificate(), new.authority.certificate());
    std::fs::write(old.dir.path().join(CA_FILE), both).unwrap();
    let server = Tls::of_person(files, DAY).unwrap();
    assert_eq!(server.expiries().len(), 3, "its own, and two authorities'");
    let client = old.issue("arbiter://shop/agent/old", DAY);
    meet(&Tls::of_person(client, DAY).unwrap(), None, &server).await.unwrap();
    new.issue("arbiter://shop/agent/new", DAY);
    for ending in ["pem", "key"] {
        let name = format!("new.{ending}");
        std::fs::copy(new.dir.path().join(&name), old.dir.path().join(&name)).unwrap();
    }
    let client = Tls::of_person(Files::within(old.dir.path(), "new"), DAY).unwrap();
    meet(&client, None, &server).await.unwrap();
}

#[test]
fn a_process_is_heard_for_the_grace_period_and_a_person_to_the_last_moment() {
    let of = |uri: &str| Certificate { identity: uri.parse(), expires: WallMillis(10_000) };
    let grace = Duration::from_secs(5);
    for (uri, last) in [
        ("arbiter://shop/arbiter/a", 15_000),
        ("arbiter://shop/agent/a", 15_000),
        ("arbiter://shop/viewer/a", 10_000),
        ("arbiter://shop/operator/a", 10_000),
        ("arbiter://shop/admin/a", 10_000),
        ("nobody", 10_000),
    ] {
        assert!(in_force(&of(uri), WallMillis(last), grace), "{uri}");
        assert!(!in_force(&of(uri), WallMillis(last + 1), grace), "{uri}");
    }
}

#[test]
fn a_certificate_says_who_and_until_when() {
    let pki = pki();
    let uri = "arbiter://shop/operator/grace@example.com";
    pki.issue(uri, Duration::from_secs(100));
    let now = crate::clock::wall().0;
    let found = show(&pki.dir.path().join("grace@example.com.pem")).unwrap();
    assert_eq!(found[0].identity.as_ref().unwrap().to_string(), uri);
    let left = found[0].expires.0.abs_diff(now + 100_000);
    assert!(left < 10_000, "{left}");
    let authority = show(&pki.dir.path().join(CA_FILE)).unwrap();
    assert_eq!(authority[0].identity, Err(NoIdentity::None));
}

fn wrong(files: &Files) -> String {
    Tls::open(files.clone(), "shop", Role::Agent, "a", DAY).unwrap_err().to_string()
}

#[test]
fn files_that_are_not_usable_are_named_with_the_remedy() {
    let pki = pki();
    let good = pki.issue("arbiter://shop/agent/a", DAY);
    Tls::open(good.clone(), "shop", Role::Agent, "a", DAY).unwrap();
    let mode = |mode| std::fs::set_permissions(&good.key, PermissionsExt::from_mode(mode)).unwrap();
    for open in [0o644, 0o604, 0o620] {
        mode(open);
        let error = wrong(&good);
        assert!(error.contains("a.key: mode ") && error.contains("chmod 600"), "{error}");
    }
    for private in [0o600, 0o400, 0o640] {
        mode(private);
        Tls::open(good.clone(), "shop", Role::Agent, "a", DAY).unwrap();
    }
    let other = pki.issue("arbiter://shop/agent/b", DAY);
    let mixed = Files { key: other.key.clone(), ..good.clone() };
    assert!(wrong(&mixed).contains("b.key: is not the key of"), "{}", wrong(&mixed));
    let anothers = wrong(&other);
    assert!(anothers.contains("b.pem: is for arbiter://shop/agent/b, and this is"), "{anothers}");
    let gone = Files { ca: "/nowhere/ca.pem".into(), ..good.clone() };
    assert!(wrong(&gone).starts_with("/nowhere/ca.pem: "), "{}", wrong(&gone));
    assert!(wrong(&gone).contains("arbiter pki"), "{}", wrong(&gone));
    let junk = |name: &str| {
        let path = pki.dir.path().join(name);
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nhunter2\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    };
    for files in [
        Files { certificate: junk("junk.pem"), ..good.clone() },
        Files { ca: junk("junk.pem"), ..good.clone() },
        Files { key: junk("junk.key"), ..good.clone() },
    ] {
        let error = wrong(&files);
        assert!(error.contains("junk") && !error.contains("hunter2"), "{error}");
    }
    // What an authority signs for nobody is nobody's.
    let authority = Files { certificate: good.ca.clone(), ..good.clone() };
    assert!(wrong(&authority).contains("it names no role"), "{}", wrong(&authority));
}

#[test]
fn an_authority_is_opened_again_and_no_other_for_it() {
    let (one, two) = (pki(), pki());
    Authority::open(one.dir.path()).unwrap();
    std::fs::copy(two.dir.path().join(CA_KEY_FILE), one.dir.path().join(CA_KEY_FILE)).unwrap();
    let error = |dir: &Path| match Authority::open(dir) {
        Ok(_) => panic!("it is taken"),
        Err(error) => error,
    };
    assert!(error(one.dir.path()).to_string().contains("is not of the key beside it"));
    let nothing = error(Path::new("/nowhere"));
    assert!(matches!(nothing, TlsError::Wrong { .. }));
    assert!(nothing.to_string().contains("arbiter pki init"), "{nothing}");
}
