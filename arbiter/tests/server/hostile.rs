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
        config_toml: "x".repeat(5 << 20),
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
