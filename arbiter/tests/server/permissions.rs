//! The whole table of permissions, on a real port over real TLS: every call, as everybody.

use super::secure::{CLUSTER, Secure, YEAR, raw, raw_channel};
use super::trio::{Trio, reason_of};
use arbiter::server::TABLE;
use arbiter::tls::{Authority, Role};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// A call that is let in and answers later, or never, is let in.
const ANSWERED: Duration = Duration::from_millis(300);
/// What the table refuses with.
const REFUSALS: [&str; 6] = [
    "no-certificate",
    "no-role",
    "wrong-cluster",
    "certificate-expired",
    "role-not-allowed",
    "forged-caller",
];

/// How the call at `path` ends with an empty message; none where it was let in, and only then
/// answered with something else.
async fn refused(
    channel: &Channel,
    path: &'static str,
    more: &[(&'static str, &str)],
) -> Option<Status> {
    let mut request = Request::new(());
    for (name, value) in more {
        request.metadata_mut().insert(*name, value.parse().expect("a header"));
    }
    let mut client = Grpc::new(channel.clone());
    client.ready().await.expect("connected");
    let codec: ProstCodec<(), ()> = ProstCodec::default();
    let call = client.unary(request, PathAndQuery::from_static(path), codec);
    let status = tokio::time::timeout(ANSWERED, call).await.ok()?.err()?;
    REFUSALS.contains(&reason_of(&status).as_str()).then_some(status)
}

async fn one_node() -> (Trio, u16) {
    let mut trio = Trio::secured(YEAR, "");
    trio.start_node("a1").await;
    let port = trio.port("a1");
    (trio, port)
}

fn secure(trio: &Trio) -> &Secure {
    trio.secure.as_ref().expect("certificates")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_let_in_for_the_roles_of_its_row_and_nobody_else() {
    let (trio, port) = one_node().await;
    let who = [
        (Role::Viewer, "viewer"),
        (Role::Operator, "operator"),
        (Role::Admin, "admin"),
        (Role::Agent, "agent-eu"),
        (Role::Arbiter, "a2"),
    ];
    let mut counts = (0, 0);
    for (role, name) in who {
        let channel = secure(&trio).channel(port, name).await;
        for (call, roles) in TABLE {
            let status = refused(&channel, call, &[]).await;
            assert_eq!(status.is_none(), roles.contains(&role), "{role} {call}: {status:?}");
            let Some(status) = status else {
                counts.0 += 1;
                continue;
            };
            counts.1 += 1;
            assert_eq!(status.code(), Code::PermissionDenied, "{role} {call}");
            assert_eq!(reason_of(&status), "role-not-allowed", "{role} {call}");
            assert!(status.message().starts_with(&format!("the {role} {name} may not call")));
            assert!(status.metadata().contains_key("arbiter-next"), "{role} {call}");
        }
    }
    assert!(counts.0 > 0 && counts.1 > 0 && counts.0 + counts.1 == 5 * TABLE.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_counts_for_nothing_here_is_refused_every_call_with_its_reason() {
    let (trio, port) = one_node().await;
    let secure = secure(&trio);
    let second = Duration::from_secs(1);
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        secure.issue(CLUSTER, role, &format!("late-{role}"), second);
    }
    for role in Role::ALL {
        // The same authority signs for another cluster too.
        secure.issue("other", role, &format!("other-{role}"), YEAR);
    }
    let expires = arbiter::clock::wall().0 + 1_000;
    super::trio::until("they expire", async || arbiter::clock::wall().0 > expires + 1_000).await;
    let mut all = Vec::new();
    for role in ["viewer", "operator", "admin"] {
        all.push((format!("late-{role}"), Code::Unauthenticated, "certificate-expired"));
    }
    for role in Role::ALL {
        all.push((format!("other-{role}"), Code::PermissionDenied, "wrong-cluster"));
    }
    for (name, code, reason) in all {
        let channel = raw_channel(port, secure.pair(&name)).await;
        for (call, _) in TABLE {
            let status = refused(&channel, call, &[]).await;
            let status = status.unwrap_or_else(|| panic!("{name} is let in: {call}"));
            assert_eq!((status.code(), &*reason_of(&status)), (code, reason), "{name} {call}");
            assert!(status.metadata().contains_key("arbiter-next"), "{name} {call}");
        }
    }
}

/// Nothing that a stranger sends reaches HTTP, whatever it would call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_end_in_the_handshake() {
    let (trio, port) = one_node().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = Secure {
        authority: Authority::create(elsewhere.path(), YEAR).unwrap(),
        dir: elsewhere.path().to_owned(),
    };
    foreign.issue(CLUSTER, Role::Admin, "mallory", YEAR);
    // The foreign authority has the name of ours, and only its signature gives it away.
    let pairs = [(None, "CertificateRequired"), (Some(foreign.pair("mallory")), "DecryptError")];
    for (pair, alert) in pairs {
        // In TLS 1.3 a client learns what the server thinks of it with the first bytes it reads.
        let ended = match raw(port, pair).await {
            Ok(mut stream) => stream.read_u8().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let error = ended.expect_err("a stranger is let in").to_string();
        assert!(error.contains(alert), "{error}");
    }
    let plain = format!("http://127.0.0.1:{port}");
    let plain = Channel::from_shared(plain).unwrap().connect().await;
    if let Ok(channel) = plain {
        let mut client = arbiter_proto::v1::query_client::QueryClient::new(channel);
        let request = arbiter_proto::v1::GetStatusRequest::default();
        assert!(client.get_status(request).await.is_err(), "plaintext is answered");
    }
    drop(trio);
}

/// Only an arbiter speaks for another, and only for whom the row names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_speaks_for_somebody_else_but_an_arbiter() {
    let (trio, port) = one_node().await;
    let call = "/arbiter.v1.Admin/Switchover";
    let speaks = |role: &str| vec![("arbiter-caller", format!("{role} 0 alice"))];
    for (name, said, reason) in [
        ("viewer", speaks("operator"), Some("forged-caller")),
        ("admin", speaks("operator"), Some("forged-caller")),
        ("agent-eu", speaks("operator"), Some("forged-caller")),
        ("operator", vec![("arbiter-forwarded", "1".to_owned())], Some("forged-caller")),
        ("a2", vec![("arbiter-forwarded", "1".to_owned())], Some("role-not-allowed")),
        ("a2", speaks("viewer"), Some("role-not-allowed")),
        ("a2", speaks("arbiter"), Some("forged-caller")),
        ("a2", vec![("arbiter-caller", "operator".to_owned())], Some("forged-caller")),
        ("a2", speaks("operator"), None),
    ] {
        let channel = secure(&trio).channel(port, name).await;
        let said: Vec<(&str, &str)> = said.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let status = refused(&channel, call, &said).await;
        let found = status.as_ref().map(reason_of);
        assert_eq!(found.as_deref(), reason, "{name} says {said:?}");
    }
}
