//! Certificates that expire, and are replaced, while everything runs.

use super::secure::{CLUSTER, Secure};
use super::trio::{FakeAgent, Trio, reason_of, until};
use arbiter::clock;
use arbiter::tls::Role;
use arbiter_proto::v1 as pb;
use std::time::Duration;

/// Long enough to bring a cluster up, short enough to wait for.
const SHORT: Duration = Duration::from_secs(6);

fn secure(trio: &Trio) -> &Secure {
    trio.secure.as_ref().expect("certificates")
}

async fn metric(trio: &Trio, name: &str, line: &str) -> Option<i64> {
    let text = reqwest::get(trio.http(name, "/metrics")).await.unwrap().text().await.unwrap();
    let found = text.lines().find_map(|known| known.strip_prefix(line)).map(str::trim);
    found.map(|found| found.parse().expect("a number"))
}

/// Seconds left of a certificate that this arbiter uses.
async fn left(trio: &Trio, name: &str) -> i64 {
    metric(trio, name, &own(name)).await.expect("a line")
}

/// When a certificate ends, in seconds since 1970.
async fn ends(trio: &Trio, name: &str, line: &str) -> Option<i64> {
    let now = i64::try_from(clock::wall().0 / 1_000).unwrap();
    metric(trio, name, line).await.map(|left| now + left)
}

/// As another arbiter showed it.
fn seen(name: &str) -> String {
    format!("arbiter_certificate_expires_seconds{{kind=\"arbiter\",name=\"{name}\"}}")
}

async fn readiness(trio: &Trio, name: &str) -> Vec<String> {
    let request = pb::GetStatusRequest::default();
    let status = trio.query(name).await.get_status(request).await.expect("answers").into_inner();
    status.groups.into_iter().flat_map(|group| group.readiness).collect()
}

fn own(name: &str) -> String {
    format!("arbiter_certificate_expires_seconds{{kind=\"own\",name=\"{name}\"}}")
}

/// Every arbiter and agent: new connections are made with expired certificates on both ends, a
/// voter comes back with one, Reports are answered all the time; a person is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expiry_alone_stops_no_renewal_and_every_person() {
    let mut trio = Trio::secured(SHORT, "");
    let expired = clock::wall().0 + u64::try_from(SHORT.as_millis()).unwrap() + 1_000;
    secure(&trio).issue(CLUSTER, Role::Operator, "bob", SHORT);
    trio.start_all().await;
    trio.begin().await;
    let (trio, mut eu, mut us) = trio.activate().await;
    let bob = trio.channel_as("a1", "bob").await;
    let mut bob = pb::query_client::QueryClient::new(bob);
    bob.get_status(pb::GetStatusRequest::default()).await.expect("a viewer's question");
    // Under load: agents report until everything is expired, and none waits for an answer.
    let mut answers = 0;
    while clock::wall().0 < expired {
        eu.answered().await;
        us.answered().await;
        answers += 1;
    }
    assert!(answers > 0, "the load began too late");
    let refused = bob.get_status(pb::GetStatusRequest::default()).await;
    let refused = refused.expect_err("the connection is older than the end of its certificate");
    assert_eq!(reason_of(&refused), "certificate-expired");
    // The same streams go on, and new ones are made.
    eu.answered().await;
    let follower = trio.followers()[0];
    for arbiter in [trio.leader().as_str(), follower] {
        FakeAgent::dial(&trio, arbiter, "eu").await.answered().await;
    }
    // Arbiters too: what they read anew has expired again before it is dialled with.
    let later = expired + 3_000;
    until("a while passed", async || clock::wall().0 > later).await;
    for name in super::trio::NAMES {
        secure(&trio).issue(CLUSTER, Role::Arbiter, name, Duration::ZERO);
    }
    until("others were dialled anew, with what had expired", async || {
        trio.led().await;
        eu.answered().await;
        let mut newest = None;
        for name in super::trio::NAMES {
            newest = newest.max(ends(&trio, name, &seen(follower)).await);
        }
        newest > Some(i64::try_from(expired / 1_000).unwrap())
    })
    .await;
    assert!(left(&trio, follower).await < 0);
    let leader = trio.leader();
    until("the leader says whose expired", async || {
        let told = readiness(&trio, &leader).await.join("; ");
        told.contains("certificate of agent agent-eu expired at") && told.contains("is heard until")
    })
    .await;
}

/// Files are replaced one after the other, as a tool does it that knows nothing of us.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_without_a_restart_and_without_a_missed_answer() {
    let day = Duration::from_secs(24 * 3600);
    let mut trio = Trio::secured(day, "");
    trio.start_all().await;
    trio.begin().await;
    let (trio, mut eu, _us) = trio.activate().await;
    assert!(readiness(&trio, "a1").await.iter().any(|why| why.contains("a1 expires at")));
    for name in super::trio::NAMES {
        assert!(left(&trio, name).await <= 24 * 3600);
    }
    let dir = secure(&trio).dir.clone();
    let before = std::fs::read(dir.join("a1.pem")).unwrap();
    secure(&trio).issue_all(30 * day);
    // Half of a pair is no pair: what was in use stays so, and it is said.
    let after = std::fs::read(dir.join("a1.pem")).unwrap();
    std::fs::write(dir.join("a1.pem"), &before).unwrap();
    for name in ["a2", "a3"] {
        until("it is read anew", async || {
            eu.answered().await;
            left(&trio, name).await > 29 * 24 * 3600
        })
        .await;
    }
    until("half a pair is said", async || {
        readiness(&trio, "a1").await.iter().any(|why| why.contains("is not the key of"))
    })
    .await;
    assert!(left(&trio, "a1").await <= 24 * 3600);
    std::fs::write(dir.join("a1.pem"), after).unwrap();
    until("the pair is whole", async || {
        eu.answered().await;
        left(&trio, "a1").await > 29 * 24 * 3600
    })
    .await;
    // The connections among arbiters are made anew too.
    trio.led().await;
    eu.answered().await;
}
