//! A fence of a bucket or container is rehearsed where it is open, and nothing of it changes.

use super::azure::Azure;
use super::azure_fence::request;
use super::s3::S3;
use super::{Settings, open, reach, refused, with};
use arbiter_core::Goal;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

const USERS: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Mine","Effect":"Allow",
    "Principal":{"AWS":"arn:aws:iam::123456789012:user/app"},"Action":"s3:GetObject",
    "Resource":"arn:aws:s3:::orders-eu/*"}]}"#;

#[tokio::test]
async fn a_bucket_whose_policy_could_be_written_is_proven_and_left_as_it_is() {
    let s3 = S3::start();
    let driver = open("object-store", "eu", s3.settings("eu", "agent"));
    let written = s3.command("seen", "").await;
    assert_eq!(driver.rehearse_fence().await, Ok(true));
    assert_eq!(s3.command("policy/orders-eu", "").await, "");
    s3.command("policy/orders-eu", USERS).await;
    assert_eq!(driver.rehearse_fence().await, Ok(true));
    assert_eq!(s3.command("policy/orders-eu", "").await, USERS);
    assert_eq!(s3.command("seen", "").await, written);
    // Where it is active likewise; where it is fenced that is proven already, and is not touched.
    reach(&*driver, Goal::Active, (1, 3)).await;
    assert_eq!(driver.rehearse_fence().await, Ok(true));
    reach(&*driver, Goal::Fenced, (2, 9)).await;
    let fenced = s3.command("policy/orders-eu", "").await;
    assert_eq!(driver.rehearse_fence().await, Ok(false));
    let anew = open("object-store", "eu", s3.settings("eu", "agent"));
    assert_eq!(anew.rehearse_fence().await, Ok(false), "of another process it is known too");
    assert_eq!(s3.command("policy/orders-eu", "").await, fenced);
}

#[tokio::test]
async fn a_right_that_a_fence_lacks_is_named() {
    let s3 = S3::start();
    s3.command("policy/orders-eu", USERS).await;
    for (profile, said) in [("unfencing", "s3:PutBucketPolicy"), ("nobody", "s3:GetBucketPolicy")] {
        let driver = open("object-store", "eu", s3.settings("eu", profile));
        let text = refused(driver.rehearse_fence().await, said);
        assert!(text.contains("403") && text.contains("bucket orders-eu"), "{text}");
    }
    let missing = with(&s3.settings("eu", "agent"), &[("bucket", "absent")]);
    refused(open("object-store", "eu", missing).rehearse_fence().await, "create it");
    // One statement more would not fit.
    let key = "x".repeat(20_200);
    let long = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": format!("arn:aws:s3:::orders-eu/{key}"),
    }]});
    s3.command("policy/orders-eu", &long.to_string()).await;
    let driver = open("object-store", "eu", s3.settings("eu", "agent"));
    refused(driver.rehearse_fence().await, "make it shorter");
}

#[tokio::test]
async fn a_server_that_checks_no_sums_still_has_the_policy_that_it_had() {
    let s3 = S3::start();
    s3.command("sums/0", "").await;
    let driver = || open("object-store", "eu", s3.settings("eu", "agent"));
    let (first, second) = (driver(), driver());
    assert_eq!(first.rehearse_fence().await, Ok(true));
    assert_eq!(s3.command("policy/orders-eu", "").await, "");
    s3.command("policy/orders-eu", USERS).await;
    assert_eq!(second.rehearse_fence().await, Ok(true));
    // It stores what it is sent, so it is sent nothing more.
    assert_eq!(first.rehearse_fence().await, Ok(false));
    let policy = s3.command("policy/orders-eu", "").await;
    assert!(policy.contains("Mine") && !policy.contains("Arbiter"), "{policy}");
}

#[tokio::test]
async fn a_container_whose_acl_could_be_written_is_proven_and_left_as_it_is() {
    let azure = Azure::start();
    azure.run("eu", &["policies", "orders", "app=racwdl", "jobs=rw"]);
    azure.run("eu", &["metadata", "orders", "owner=ann"]);
    let driver = open("object-store", "eu", azure.settings("eu"));
    assert_eq!(driver.rehearse_fence().await, Ok(true));
    assert_eq!(azure.run("eu", &["rights", "orders"]), "app=racwdl\njobs=rw");
    assert_eq!(azure.run("eu", &["metadata", "orders"]), "owner=ann");
    assert!(azure.writes("eu", "app"));
    let named = |names| with(&azure.settings("eu"), &[("access_policies", names)]);
    let absent = open("object-store", "eu", named("app, absent"));
    refused(absent.rehearse_fence().await, "no access policy absent");
    assert_eq!(open("object-store", "eu", named("")).rehearse_fence().await, Ok(false));
    reach(&*driver, Goal::Fenced, (2, 9)).await;
    assert_eq!(driver.rehearse_fence().await, Ok(false));
    assert_eq!(azure.run("eu", &["rights", "orders"]), "app=rl\njobs=rw");
}

#[tokio::test]
async fn a_right_that_a_containers_fence_lacks_is_named() {
    let azure = Azure::start();
    azure.run("eu", &["policies", "orders", "app=racwdl"]);
    for part in ["comp=acl", "comp=metadata"] {
        let settings = behind(azure.settings("eu"), part).await;
        let driver = open("object-store", "eu", settings);
        let text = refused(driver.rehearse_fence().await, "Storage Blob Data Owner");
        assert!(text.contains("403 AuthorizationPermissionMismatch"), "{text}");
    }
    assert_eq!(azure.run("eu", &["rights", "orders"]), "app=racwdl");
}

/// The same place, whose writes of this part are answered as Azure answers who may not.
async fn behind(settings: Settings, part: &'static str) -> Settings {
    let url = settings["endpoint_url"].clone();
    let (host, path) = url.trim_start_matches("http://").split_once('/').expect("an account");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let front = format!("http://{}/{path}", listener.local_addr().expect("an address"));
    let host = host.to_owned();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let host = host.clone();
            tokio::spawn(async move {
                let text = request(&mut stream).await;
                let first = text.lines().next().unwrap_or_default();
                if first.starts_with("PUT") && first.contains(part) {
                    let body = "<Error><Code>AuthorizationPermissionMismatch</Code></Error>";
                    let answer = format!(
                        "HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\nConnection: close\r\n\r\n\
                         {body}",
                        body.len()
                    );
                    return stream.write_all(answer.as_bytes()).await.expect("answered");
                }
                let mut there = TcpStream::connect(&host).await.expect("Azurite listens");
                let asked = text.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
                there.write_all(asked.as_bytes()).await.expect("asked");
                tokio::io::copy(&mut there, &mut stream).await.expect("answered");
            });
        }
    });
    with(&settings, &[("endpoint_url", &front)])
}
