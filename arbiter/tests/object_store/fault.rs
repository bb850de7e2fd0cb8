//! Bad input: each fault is named with its remedy, bounded in time, and shows no secret.

use super::s3::S3;
use super::{Settings, ask, has_fault, open, reach, refused, retry, try_open, with};
use arbiter_core::{Condition, Goal};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// One request has 5 s; nothing that is asked goes on after the first that had no answer.
const BOUND: Duration = Duration::from_secs(7);

#[tokio::test]
async fn wrong_credentials_and_a_missing_bucket_are_named() {
    let s3 = S3::start();
    let key_id = s3.credential("agent", "aws_access_key_id").expect("an id");
    let wrong = format!(
        "[forged]\naws_access_key_id = {key_id}\naws_secret_access_key = hunter2\n[unknown]\n\
         aws_access_key_id = AKIDHUNTER\naws_secret_access_key = hunter2\n"
    );
    let file = s3.dir.path().join("wrong");
    std::fs::write(&file, wrong).expect("writable");
    let file = file.to_str().expect("text");
    let base = s3.settings("eu", "agent");
    for (more, said) in [
        (vec![("credentials_file", file), ("profile", "forged")], "credentials are wrong"),
        (vec![("credentials_file", file), ("profile", "unknown")], "credentials are wrong"),
        (
            vec![("credentials_file", "/nowhere/aws")],
            "credentials_file /nowhere/aws cannot be read",
        ),
        (vec![("credentials_file", file), ("profile", "none")], "no AWS credentials"),
        (vec![("bucket", "orders-xx")], "create it"),
        (vec![("profile", "nobody")], "the credentials need s3:GetBucketPolicy"),
    ] {
        let driver = open("object-store", "eu", with(&base, &more));
        for goal in [Goal::Fenced, Goal::Active] {
            let text = refused(
                ask(&*driver, goal, (2, 9)).await,
                if goal == Goal::Fenced { said } else { "" },
            );
            assert!(!text.contains("hunter2") && text.contains("bucket orders-"), "{text}");
        }
        let fact = driver.observe().await.expect("a Fact");
        assert_eq!(fact.condition, Condition::Unknown, "{said}");
        assert!(has_fault(&fact, said), "{:?}", fact.faults);
        assert!(!format!("{fact:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn credentials_that_were_corrected_are_taken() {
    let s3 = S3::start();
    let good = std::fs::read_to_string(s3.dir.path().join("credentials")).expect("readable");
    let file = s3.dir.path().join("corrected");
    let secret = s3.credential("agent", "aws_secret_access_key").expect("a secret");
    std::fs::write(&file, good.replace(&secret, "hunter2")).expect("writable");
    let file_name = file.to_str().expect("text");
    let settings = with(&s3.settings("eu", "agent"), &[("credentials_file", file_name)]);
    let driver = open("object-store", "eu", settings);
    refused(ask(&*driver, Goal::Fenced, (2, 9)).await, "credentials");
    std::fs::write(&file, good).expect("writable");
    reach(&*driver, Goal::Fenced, (2, 9)).await;
}

#[tokio::test]
async fn an_answer_that_helps_nobody_is_tried_again() {
    let busy = "<Error><Code>SlowDown</Code><Message>hunter2</Message></Error>";
    for (status, body, said) in [
        ("429 Too Many Requests", busy, "429 SlowDown"),
        ("503 Slow Down", busy, "503 SlowDown"),
        ("500 Internal Server Error", "hunter2", "500"),
        ("200 OK", "hunter2", "no JSON"),
    ] {
        let url = answering(status, body).await;
        let driver = open("object-store", "eu", settings(&url));
        for goal in [Goal::Fenced, Goal::Active, Goal::Standby, Goal::Drained] {
            let text = retry(ask(&*driver, goal, (2, 9)).await, "bucket orders-eu");
            assert!(!text.contains("hunter2"), "{text}");
        }
        retry(ask(&*driver, Goal::Fenced, (2, 9)).await, said);
        let fact = driver.observe().await.expect("a Fact");
        assert!(fact.condition == Condition::Unknown && !fact.faults.is_empty());
        assert!(!format!("{fact:?}").contains("hunter2"), "{fact:?}");
    }
}

#[tokio::test]
async fn a_region_that_is_gone_holds_nobody_longer_than_a_request() {
    let hole = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = format!("http://{}", hole.local_addr().expect("an address"));
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let gone = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    for url in [&silent, &gone] {
        let driver = open("object-store", "eu", settings(url));
        for goal in [Goal::Fenced, Goal::Active, Goal::Drained] {
            let asked = timeout(BOUND, ask(&*driver, goal, (2, 9))).await;
            retry(asked.expect("bounded"), "bucket orders-eu");
        }
        // The agent gives a look 5 s: this one answers before.
        let looked = timeout(Duration::from_secs(4), driver.observe()).await.expect("bounded");
        assert!(looked.is_err() || looked.is_ok_and(|fact| fact.condition == Condition::Unknown));
    }
    drop(hole);
}

#[tokio::test]
async fn a_body_without_an_end_is_not_read_to_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 16_384]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
            });
        }
    });
    let driver = open("object-store", "eu", settings(&url));
    let asked = timeout(BOUND, ask(&*driver, Goal::Fenced, (2, 9))).await.expect("bounded");
    retry(asked, "has no end");
}

#[test]
fn a_setting_that_is_wrong_or_of_another_provider_is_named() {
    let base = settings("http://127.0.0.1:1");
    for (more, said) in [
        (("provider", "gcs"), "give s3 or azure"),
        (("canary_every", "10"), "such as \"30s\""),
        (("lag_max", "1s"), "lag_max"),
        (("canary_prefix", "../x"), "canary_prefix"),
        (("admin_role", "admin"), "ARN of an IAM role"),
        (("replication", "both"), "provider or none"),
        (("zzz", "1"), "is unknown"),
    ] {
        refused(try_open("object-store", "eu", with(&base, &[more])), said);
    }
}

fn settings(url: &str) -> Settings {
    let dir = std::env::temp_dir();
    let file = dir.join(format!("arbiter-object-store-{}", std::process::id()));
    let text = "[default]\naws_access_key_id = AKIDTEST\naws_secret_access_key = hunter2\n";
    std::fs::write(&file, text).expect("writable");
    let file = file.to_str().expect("text").to_owned();
    [
        ("provider", "s3".to_owned()),
        ("bucket", "orders-eu".to_owned()),
        ("endpoint_url", url.to_owned()),
        ("credentials_file", file),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// A server that answers each request alike.
async fn answering(status: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\
         ETag: \"1\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: close\r\n\r\n\
         {body}"
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 16_384];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    url
}
