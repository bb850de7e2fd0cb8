//! What a client may send, and that nobody else notices.

use super::trio::{FakeAgent, Trio, asked};
use arbiter_proto::v1 as pb;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn still_answers(trio: &Trio) {
    for name in super::trio::NAMES {
        trio.active_region(name, false).await.expect("still answers");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_oversized_messages_and_silence_are_survived() {
    let trio = Trio::begun().await;
    let leader = trio.leader();
    let ports = [trio.port(&leader), trio.port(trio.followers()[0])];
    let http: u16 = trio.http(&leader, "").rsplit(':').next().unwrap().parse().unwrap();
    let mut kept = Vec::new();
    for port in [ports[0], ports[1], http] {
        for garbage in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            vec![0xff; 100_000],
            vec![0; 100_000],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        ] {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
            let _ = stream.write_all(&garbage).await;
            let mut answer = [0; 64];
            let wait = Duration::from_millis(100);
            let _ = tokio::time::timeout(wait, stream.read(&mut answer)).await;
            // Connections that say nothing more stay open.
            kept.push(stream);
        }
    }
    still_answers(&trio).await;
    let request = pb::ApplyPolicyRequest {
        asked: asked("big"),
        config_toml: "x".repeat(17 << 20),
        dry_run: true,
    };
    let refused = trio.admin(&leader).await.apply_policy(request).await.expect_err("too large");
    let codes = [tonic::Code::OutOfRange, tonic::Code::ResourceExhausted];
    assert!(codes.contains(&refused.code()), "{refused}");
    still_answers(&trio).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_never_reads_harms_nobody() {
    let (trio, _eu, mut us) = Trio::active().await;
    let mut deaf = FakeAgent::dial(&trio, "a1", "eu").await;
    for _ in 0..2_000 {
        deaf.report().await;
    }
    us.answered().await;
    still_answers(&trio).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_that_never_read_harm_nobody() {
    let (trio, mut eu, _us) = Trio::active().await;
    let leader = trio.leader();
    let mut deaf = Vec::new();
    for name in [leader.as_str(), trio.followers()[0]] {
        let mut client = trio.query(name).await;
        for _ in 0..100 {
            let request = pb::GetActiveRegionRequest::default();
            deaf.push(client.watch_active_region(request).await.expect("watched"));
        }
    }
    for turn in 0..50 {
        let arm = pb::GroupRequest { asked: asked(&format!("{turn}")), ..Default::default() };
        let mut admin = trio.admin("a1").await;
        if turn % 2 == 0 { admin.arm(arm).await } else { admin.disarm(arm).await }.expect("done");
    }
    eu.answered().await;
    still_answers(&trio).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_that_are_too_large_or_wrong_end_their_own_stream_only() {
    let (trio, _eu, mut us) = Trio::active().await;
    for arbiter in [trio.leader().as_str(), trio.followers()[0]] {
        let mut large = FakeAgent::dial(&trio, arbiter, "eu").await;
        let report = pb::Report { boot_id: "x".repeat(5 << 20), ..proto(&large) };
        large.reports.send(report).await.expect("sent");
        let ended = large.ends().await.code();
        assert_ne!(ended, tonic::Code::Internal, "{arbiter}");
        let mut wrong = FakeAgent::dial(&trio, arbiter, "eu").await;
        let mut report = proto(&wrong);
        report.groups.values_mut().for_each(|group| group.armed_counting_as = 99);
        wrong.reports.send(report).await.expect("sent");
        assert_eq!(super::trio::reason_of(&wrong.ends().await), "bad-report", "{arbiter}");
    }
    us.answered().await;
    still_answers(&trio).await;
}

fn proto(agent: &FakeAgent) -> pb::Report {
    let mut report = agent.body();
    report.sequence += 1;
    arbiter::wire::report_to_proto(&report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_message_between_arbiters_is_refused() {
    let trio = Trio::begun().await;
    let follower = trio.followers()[0];
    let mut client = pb::raft_client::RaftClient::new(trio.channel(follower).await);
    let peers = pb::Peers { cluster_id: "x".repeat(9 << 20), ..Default::default() };
    let append = pb::AppendRequest { peers: Some(peers), ..Default::default() };
    let refused = client.append(append).await.expect_err("too large");
    assert_eq!(refused.code(), tonic::Code::OutOfRange, "{refused}");
    still_answers(&trio).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operations_port_outlasts_more_silent_clients_than_it_takes() {
    use arbiter::server::{CONNECTIONS_MAX, UNANSWERED_MAX};
    let trio = Trio::begun().await;
    let port: u16 = trio.http("a1", "").rsplit(':').next().unwrap().parse().unwrap();
    let connect = || TcpStream::connect(("127.0.0.1", port));
    let mut silent = connect().await.expect("connects");
    let mut kept = Vec::new();
    for _ in 0..CONNECTIONS_MAX + 20 {
        let mut stream = connect().await.expect("connects");
        stream.write_all(b"GET /livez HT").await.expect("takes it");
        kept.push(stream);
    }
    let wait = UNANSWERED_MAX + Duration::from_secs(5);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(wait, silent.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "who says nothing loses its place");
    let mut asked = connect().await.expect("connects");
    asked.write_all(b"GET /livez HTTP/1.0\r\n\r\n").await.expect("takes it");
    let answer = tokio::time::timeout(2 * wait, asked.read_to_end(&mut rest)).await;
    answer.expect("in time").expect("answers");
    assert!(String::from_utf8_lossy(&rest).ends_with("ok\n"), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_reflection_are_served() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let trio = Trio::begun().await;
    let mut client = HealthClient::new(trio.channel("a1").await);
    for service in ["", "arbiter.v1.Query"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = client.check(request).await.expect("answers").into_inner();
        assert_eq!(answer.status, 1, "{service:?} serves");
    }
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    let mut client = ServerReflectionClient::new(trio.channel("a2").await);
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = client.server_reflection_info(tokio_stream::once(request)).await;
    let answer = answers.expect("answers").into_inner().message().await.expect("ok");
    let listed = format!("{answer:?}");
    for service in ["arbiter.v1.Query", "arbiter.v1.Admin", "arbiter.v1.Agent"] {
        assert!(listed.contains(service), "{listed}");
    }
}
