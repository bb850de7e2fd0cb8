//! A container of Azure Blob: what its fence stops, and what is said of the rest.

use super::azure::Azure;
use super::{ask, has_fault, open, reach, refused, shows, stale, with};
use arbiter_core::{Condition, EvidenceKind, Goal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_named_policy_loses_its_right_to_write_and_gets_it_back() {
    let azure = Azure::start();
    azure.run("eu", &["policies", "orders", "app=racwdl", "jobs=rw", "readers=rl"]);
    azure.run("eu", &["metadata", "orders", "owner=ann"]);
    assert!(azure.writes("eu", "app") && azure.writes("eu", "jobs"));
    let driver = open("object-store", "eu", azure.settings("eu"));
    let done = reach(&*driver, Goal::Fenced, (2, 9)).await;
    assert_eq!(done.evidence, Some(EvidenceKind::ProviderAsserted));
    assert_eq!((done.facts.writable, done.facts.condition), (false, Condition::Stopped));
    assert_eq!(azure.run("eu", &["rights", "orders"]), "app=rl\njobs=rw\nreaders=rl");
    assert!(!azure.writes("eu", "app"));
    assert!(azure.writes("eu", "jobs"), "a policy that is not named is left alone");
    assert_eq!(azure.run("eu", &["as", "orders", "app", "GET", "late"]), "200");
    let metadata = azure.run("eu", &["metadata", "orders"]);
    assert!(metadata.contains("owner=ann"), "{metadata}");
    assert!(metadata.contains("arbiter_fence=2.9 app=racwdl"), "{metadata}");
    reach(&*driver, Goal::Fenced, (2, 9)).await;
    stale(ask(&*driver, Goal::Active, (2, 8)).await, 2, 9);
    // A later fence still knows what there was.
    reach(&*driver, Goal::Standby, (2, 10)).await;
    let done = reach(&*driver, Goal::Active, (3, 1)).await;
    assert!(done.facts.writable);
    assert_eq!(azure.run("eu", &["rights", "orders"]), "app=racwdl\njobs=rw\nreaders=rl");
    assert_eq!(azure.run("eu", &["metadata", "orders"]), "owner=ann");
    assert!(azure.writes("eu", "app"));
    driver.verify(arbiter_core::Token::new(3, 1)).await.expect("writes");
}

#[tokio::test]
async fn a_container_that_cannot_be_fenced_is_never_told_to_be() {
    let azure = Azure::start();
    let driver =
        open("object-store", "eu", with(&azure.settings("eu"), &[("access_policies", "")]));
    let text = refused(ask(&*driver, Goal::Fenced, (2, 9)).await, "access_policies");
    assert!(text.contains("orderseu/orders"), "{text}");
    let done = reach(&*driver, Goal::Standby, (2, 10)).await;
    assert_eq!((done.evidence, done.facts.writable), (None, true));
    assert!(has_fault(&done.facts, "cannot be fenced"), "{:?}", done.facts.faults);
    // Named, and not there; or without rights of its own.
    let driver = open("object-store", "eu", azure.settings("eu"));
    refused(ask(&*driver, Goal::Fenced, (2, 11)).await, "no access policy app");
    azure.run("eu", &["policies", "orders", "app=cw"]);
    refused(ask(&*driver, Goal::Fenced, (2, 11)).await, "could only write");
    assert!(azure.writes("eu", "app"), "nothing was half done");
}

#[tokio::test]
async fn lag_is_measured_between_containers_too() {
    let azure = Azure::start();
    for region in ["eu", "us"] {
        azure.run(region, &["policies", "orders", "app=racwdl"]);
    }
    let eu = open("object-store", "eu", azure.settings("eu"));
    let us = open("object-store", "us", azure.settings("us"));
    let fact = reach(&*eu, Goal::Active, (1, 3)).await.facts;
    assert!(fact.detail["replication"].contains("turned by its users"), "{:?}", fact.detail);
    reach(&*us, Goal::Standby, (1, 3)).await;
    azure.replicate("eu", "us");
    let streams = |fact: &arbiter_core::Fact| fact.upstream.is_some_and(|u| u.streaming);
    shows(&*us, "an arrived canary", streams).await;
    assert!(reach(&*eu, Goal::Drained, (1, 9)).await.clean);
    azure.replicate("eu", "us");
    reach(&*us, Goal::Drained, (1, 10)).await;
}

#[tokio::test]
async fn a_wrong_key_and_a_missing_container_are_named() {
    let azure = Azure::start();
    let other = azure.dir.path().join("other");
    std::fs::write(&other, "aHVudGVyMw==").expect("writable");
    let broken = azure.dir.path().join("broken");
    std::fs::write(&broken, "hunter2!").expect("writable");
    let base = azure.settings("eu");
    for (key, value, said) in [
        ("access_key_file", other.to_str().expect("text"), "credentials are wrong"),
        ("access_key_file", broken.to_str().expect("text"), "container orderseu/orders"),
        ("access_key_file", "/nowhere/key", "access_key_file /nowhere/key cannot be read"),
        ("container", "absent", "create it"),
    ] {
        let driver = open("object-store", "eu", with(&base, &[(key, value)]));
        let result = ask(&*driver, Goal::Fenced, (2, 9)).await;
        let text = result.map(|_| ()).expect_err("refused").to_string();
        assert!(text.contains(said), "{text}");
        for secret in ["hunter2", "aHVudGVyMw"] {
            assert!(!text.contains(secret), "{text}");
        }
        let fact = driver.observe().await.expect("a Fact");
        assert!(has_fault(&fact, said), "{:?}", fact.faults);
    }
}

/// Service principals: who gives tokens is asked first, and what it says is not shown.
#[tokio::test]
async fn a_service_principal_asks_with_its_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("secret");
    std::fs::write(&file, "open-sesame\n").expect("writable");
    let file = file.to_str().expect("text");
    let url = principals().await;
    let base: super::Settings = [
        ("provider", "azure"),
        ("account", "orderseu"),
        ("container", "orders"),
        ("endpoint_url", &url),
        ("authority_host", &url),
        ("access_policies", "app"),
        ("tenant_id", "tenant"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    for (client, key, said) in [
        ("good", "client_secret_file", "create it"),
        ("good", "federated_token_file", "create it"),
        ("bad", "client_secret_file", "400 TokenRefused: the credentials are wrong"),
    ] {
        let settings = with(&base, &[("client_id", client), (key, file)]);
        let driver = open("object-store", "eu", settings);
        let text = refused(ask(&*driver, Goal::Fenced, (2, 9)).await, said);
        for secret in ["hunter2", "open-sesame"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

/// Gives a token to the client `good`, and knows no container for whoever shows it.
async fn principals() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let text = request(&mut stream).await;
                let (status, body) = match text.as_str() {
                    ask if ask.contains("/oauth2/") && ask.contains("client_id=good") => {
                        ("200 OK", r#"{"access_token":"hunter2","expires_in":3600}"#)
                    }
                    ask if ask.contains("/oauth2/") => {
                        ("400 Bad Request", r#"{"error":"invalid_client","said":"hunter2"}"#)
                    }
                    ask if ask.contains("Bearer hunter2") => {
                        ("404 Not Found", "<Error><Code>ContainerNotFound</Code></Error>")
                    }
                    _ => ("401 Unauthorized", ""),
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    url
}

/// One whole request, its body included.
pub async fn request(stream: &mut TcpStream) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut buffer).await.unwrap_or_default();
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if length == 0 {
                return text;
            }
            continue;
        };
        let wanted = head.to_lowercase();
        let wanted = wanted.split("content-length: ").nth(1).and_then(|n| n.lines().next());
        let wanted = wanted.and_then(|n| n.parse::<usize>().ok()).unwrap_or_default();
        if body.len() >= wanted || length == 0 {
            return text;
        }
    }
}
