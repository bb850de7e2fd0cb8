//! Terraform state in each sort of backend: recorded states, and a real terraform where there is
//! one.

use super::azure::Azure;
use super::s3::S3;
use super::{Settings, has_fault, open, refused, shows, try_open, with};
use arbiter::drivers::Driver;
use arbiter_core::{Condition, Fact, Goal, Terms, Token};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// Written by Terraform 1.11.4: one lineage, at serials 2 and 6, and the lock of an apply.
const OLD: &str = include_str!("states/serial-2.tfstate");
const NEW: &str = include_str!("states/serial-6.tfstate");
const LOCK: &str = include_str!("states/lock.info");
const LINEAGE: &str = "bc645349-3417-2588-7f2d-695c080b9043";
const KEY: &str = "shop/terraform.tfstate";

fn watch(settings: Settings) -> Box<dyn Driver> {
    open("terraform-state", "eu", with(&settings, &[("look_every", "1s")]))
}

/// Settings of one backend, those of another below `peer.`.
fn compared(own: &Settings, peer: &Settings) -> Settings {
    let peer = peer.iter().map(|(key, value)| (format!("peer.{key}"), value.clone()));
    own.clone().into_iter().chain(peer).collect()
}

fn file(path: &Path) -> Settings {
    let path = path.to_str().expect("text").to_owned();
    [("backend".to_owned(), "file".to_owned()), ("path".to_owned(), path)].into()
}

fn bucket(s3: &S3, region: &str) -> Settings {
    let mut settings = s3.settings(region, "agent");
    settings.remove("provider");
    settings.remove("canary_every");
    with(&settings, &[("backend", "s3"), ("key", KEY)])
}

#[tokio::test]
async fn a_file_that_lags_is_locked_or_is_another_is_a_fault() {
    let dir = tempfile::tempdir().expect("a directory");
    let (eu, us) = (dir.path().join("eu.tfstate"), dir.path().join("us.tfstate"));
    std::fs::write(&eu, NEW).expect("writable");
    std::fs::write(&us, OLD).expect("writable");
    let ahead = watch(compared(&file(&eu), &file(&us)));
    let behind = watch(compared(&file(&us), &file(&eu)));
    let fact = ahead.observe().await.expect("looks");
    assert!(fact.faults.is_empty(), "{:?}", fact.faults);
    assert_eq!(fact.condition, Condition::Healthy);
    assert_eq!((fact.detail["serial"].as_str(), fact.detail["lineage"].as_str()), ("6", LINEAGE));
    assert_eq!(fact.detail["lock"], "none");
    let fact = behind.observe().await.expect("looks");
    assert!(has_fault(&fact, "at serial 2, and the other region's at 6"), "{:?}", fact.faults);
    let lock = dir.path().join(".eu.tfstate.lock.info");
    std::fs::write(&lock, LOCK).expect("writable");
    let fact = shows(&*ahead, "a lock", |fact| has_fault(fact, "is locked by ops@laptop")).await;
    assert!(has_fault(&fact, "terraform force-unlock 9464d9e3"), "{:?}", fact.faults);
    std::fs::remove_file(&lock).expect("there");
    shows(&*ahead, "no lock", |fact| fact.faults.is_empty()).await;
    std::fs::write(&us, NEW.replace(LINEAGE, "another")).expect("writable");
    shows(&*behind, "another lineage", |fact| has_fault(fact, "two states")).await;
    std::fs::write(&us, NEW.replace("three", "four!")).expect("writable");
    shows(&*behind, "a fork", |fact| has_fault(fact, "two runs")).await;
    std::fs::write(&us, NEW).expect("writable");
    shows(&*behind, "the same", |fact| fact.faults.is_empty()).await;
}

#[tokio::test]
async fn states_in_two_buckets_are_compared() {
    let s3 = S3::start();
    s3.put("eu", KEY, NEW.into()).await;
    s3.put("us", KEY, OLD.into()).await;
    let us = watch(compared(&bucket(&s3, "us"), &bucket(&s3, "eu")));
    shows(&*us, "lag", |fact| has_fault(fact, "at serial 2, and the other region's at 6")).await;
    s3.put("us", KEY, NEW.into()).await;
    let fact = shows(&*us, "no lag", |fact| fact.faults.is_empty()).await;
    assert!(fact.detail["peer"].contains("serial 6"), "{:?}", fact.detail);
    s3.put("us", &format!("{KEY}.tflock"), LOCK.into()).await;
    shows(&*us, "a lock", |fact| has_fault(fact, "locked by ops@laptop")).await;
    s3.delete("us", &format!("{KEY}.tflock")).await;
    shows(&*us, "no lock", |fact| fact.faults.is_empty()).await;
    s3.delete("eu", KEY).await;
    shows(&*us, "a missing state", |fact| has_fault(fact, "there is no state")).await;
}

#[tokio::test]
async fn a_lease_on_a_blob_is_a_lock() {
    let azure = Azure::start();
    azure.run("eu", &["write", "orders", KEY, NEW]);
    let mut settings = azure.settings("eu");
    for key in ["provider", "canary_every", "access_policies"] {
        settings.remove(key);
    }
    let eu = watch(with(&settings, &[("backend", "azure"), ("key", KEY)]));
    let fact = eu.observe().await.expect("looks");
    assert_eq!((fact.detail["serial"].as_str(), fact.detail["lock"].as_str()), ("6", "none"));
    assert!(fact.faults.is_empty(), "{:?}", fact.faults);
    azure.run("eu", &["lease", "orders", KEY, LOCK]);
    shows(&*eu, "a lock", |fact| has_fault(fact, "locked by ops@laptop")).await;
}

#[tokio::test]
async fn an_http_backend_is_read_with_its_user() {
    let dir = tempfile::tempdir().expect("a directory");
    let (good, wrong) = (dir.path().join("good"), dir.path().join("wrong"));
    std::fs::write(&good, "open sesame\n").expect("writable");
    std::fs::write(&wrong, "hunter2\n").expect("writable");
    let url = serving("200 OK", NEW).await;
    let settings = |file: &Path| -> Settings {
        let file = file.to_str().expect("text").to_owned();
        let url = format!("{url}/state?secret=hunter2");
        [("backend", "http".to_owned()), ("url", url), ("username", "ann".to_owned())]
            .into_iter()
            .chain([("password_file", file)])
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    };
    let fact = watch(settings(&good)).observe().await.expect("looks");
    assert_eq!(fact.detail["serial"], "6");
    assert!(fact.detail["lock"].contains("does not tell"), "{:?}", fact.detail);
    let fact = watch(settings(&wrong)).observe().await.expect("looks");
    assert!(has_fault(&fact, "credentials are wrong"), "{:?}", fact.faults);
    assert!(!format!("{fact:?}").contains("hunter2"), "{fact:?}");
}

#[tokio::test]
async fn what_is_no_state_or_cannot_be_read_is_unknown() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("state");
    let seen = |driver: Box<dyn Driver>| async move { driver.observe().await.expect("looks") };
    let unknown = |fact: &Fact, said: &str| {
        assert_eq!(fact.condition, Condition::Unknown);
        assert!(has_fault(fact, said), "{:?}", fact.faults);
        assert!(!format!("{fact:?}").contains("hunter2"));
    };
    unknown(&seen(watch(file(&path))).await, "there is no state");
    std::fs::write(&path, "hunter2").expect("writable");
    unknown(&seen(watch(file(&path))).await, "no Terraform state");
    unknown(&seen(watch(file(dir.path()))).await, "it is no file");
    for (status, body, said) in [
        ("500 Oops", "hunter2", "500"),
        ("200 OK", "hunter2", "no Terraform state"),
        ("302 Found", "hunter2", "302"),
    ] {
        let url = serving(status, body).await;
        let settings = [("backend".to_owned(), "http".to_owned()), ("url".to_owned(), url)];
        unknown(&seen(watch(settings.into())).await, said);
    }
    // The other region's backend that answers nothing is unknown; this region's is not.
    let hole = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    std::fs::write(&path, NEW).expect("writable");
    let url = format!("http://{}", hole.local_addr().expect("an address"));
    let peer: Settings =
        [("backend".to_owned(), "http".to_owned()), ("url".to_owned(), url)].into();
    let driver = watch(compared(&file(&path), &peer));
    let looked = timeout(Duration::from_secs(4), driver.observe()).await.expect("bounded");
    let fact = looked.expect("looks");
    assert_eq!((fact.condition, fact.detail["serial"].as_str()), (Condition::Healthy, "6"));
    assert!(fact.detail["peer"].contains("unknown"), "{:?}", fact.detail);
    drop(hole);
}

#[tokio::test]
async fn it_is_never_moved_and_wrong_settings_are_named() {
    let driver = watch(file(Path::new("/nowhere/state")));
    let asked = driver.ensure(Goal::Active, Token::new(1, 1), &Terms::default()).await;
    refused(asked, "only watched");
    let base = file(Path::new("/nowhere/state"));
    for (more, said) in [
        (vec![("backend", "consul")], "give s3, azure, http or file"),
        (vec![("backend", "s3")], "bucket is missing"),
        (vec![("backend", "http"), ("url", "ftp://x")], "http:// or https://"),
        (vec![("peer.backend", "s3"), ("peer.bucket", "b-us")], "peer.key is missing"),
        (vec![("path", "state")], "absolute path"),
    ] {
        refused(try_open("terraform-state", "eu", with(&base, &more)), said);
    }
    let more = [("bucket", "b-eu"), ("peer.zzz", "1")];
    let fact = watch(with(&base, &more)).observe().await.expect("looks");
    assert!(has_fault(&fact, "setting bucket says nothing"), "{:?}", fact.faults);
    assert!(has_fault(&fact, "setting peer.zzz says nothing"), "{:?}", fact.faults);
}

/// Only where there is one: its own lock, lineage and serial in a bucket.
#[tokio::test]
async fn a_real_terraform_is_seen_to_lock_and_to_change() {
    let Some(program) = terraform() else {
        println!("there is no terraform here: recorded states only");
        return;
    };
    let s3 = S3::start();
    let dir = tempfile::tempdir().expect("a directory");
    let go = dir.path().join("go");
    let config = format!(
        "terraform {{\n  backend \"s3\" {{\n    bucket = \"orders-eu\"\n    key = \"{KEY}\"\n    \
         region = \"eu-west-1\"\n    use_lockfile = true\n    use_path_style = true\n    \
         skip_credentials_validation = true\n    skip_metadata_api_check = true\n    \
         skip_requesting_account_id = true\n    endpoints = {{ s3 = \"{}\" }}\n  }}\n}}\n\
         resource \"terraform_data\" \"shop\" {{\n  provisioner \"local-exec\" {{\n    command = \
         \"until test -e {}; do sleep 0.1; done\"\n  }}\n}}\n",
        s3.url,
        go.display()
    );
    std::fs::write(dir.path().join("main.tf"), config).expect("writable");
    let run = |args: &[&str]| -> Child {
        Command::new(&program)
            .args(args)
            .current_dir(dir.path())
            .env_remove("TF_CLI_CONFIG_FILE")
            .env("AWS_ACCESS_KEY_ID", s3.credential("agent", "aws_access_key_id").expect("an id"))
            .env(
                "AWS_SECRET_ACCESS_KEY",
                s3.credential("agent", "aws_secret_access_key").expect("a secret"),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts")
    };
    let ends = |child: Child| {
        let output = child.wait_with_output().expect("ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    ends(run(&["init", "-input=false", "-no-color"]));
    // A first state, so that there is one while the next run holds the lock.
    s3.put("eu", KEY, NEW.into()).await;
    let eu = watch(bucket(&s3, "eu"));
    let apply = run(&["apply", "-auto-approve", "-input=false", "-no-color"]);
    let fact = shows(&*eu, "terraform's lock", |fact| has_fault(fact, "is locked by")).await;
    assert!(has_fault(&fact, "OperationTypeApply"), "{:?}", fact.faults);
    std::fs::write(&go, "").expect("writable");
    ends(apply);
    let fact = shows(&*eu, "no lock", |fact| fact.faults.is_empty()).await;
    let pulled: serde_json::Value =
        serde_json::from_str(&ends(run(&["state", "pull"]))).expect("JSON");
    assert_eq!(fact.detail["lineage"], pulled["lineage"].as_str().expect("text"));
    assert_eq!(fact.detail["serial"], pulled["serial"].to_string());
}

/// A terraform on the path that runs.
fn terraform() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("terraform"));
    found.into_iter().find(|program| {
        let tried = Command::new(program).arg("version").output();
        tried.is_ok_and(|output| output.status.success())
    })
}

/// A server with one answer for `ann:open sesame`, or for everybody who names no user.
async fn serving(status: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let length = body.len();
    let good = format!(
        "HTTP/1.1 {status}\r\nLocation: /hunter2\r\nContent-Length: {length}\r\nConnection: \
         close\r\n\r\n{body}"
    );
    let denied = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 8192];
            let length = stream.read(&mut request).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&request[..length]).to_lowercase();
            // ann:open sesame
            let right = text.contains("basic yw5uom9wzw4gc2vzyw1l");
            let answer = if right || !text.contains("authorization:") { &good } else { denied };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}
