//! S3 of our own: moto with IAM enforcement and a strict front (`tests/setup/strict_s3.py`).

use super::{Settings, installed, setup};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running front with moto behind it.
pub struct S3 {
    /// Its URL.
    pub url: String,
    /// Directory with the file `credentials`.
    pub dir: TempDir,
    child: Child,
}

impl S3 {
    /// Start both.
    pub fn start() -> Self {
        arbiter::tls::install();
        let python = installed("moto.sh").join("bin/python");
        let dir = tempfile::tempdir().expect("a directory");
        let mut child = Command::new(python)
            .arg(setup("strict_s3.py"))
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut url = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut url).expect("prints its URL");
        assert!(url.starts_with("http://"), "it did not start");
        Self { url: url.trim().to_owned(), dir, child }
    }

    /// Settings of the bucket of a region, asked as a profile.
    pub fn settings(&self, region: &str, profile: &str) -> Settings {
        let file = self.dir.path().join("credentials");
        [
            ("provider", "s3"),
            ("bucket", &format!("orders-{region}")),
            ("aws_region", "eu-west-1"),
            ("endpoint_url", &self.url),
            ("profile", profile),
            ("credentials_file", file.to_str().expect("text")),
            ("canary_every", "1s"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// A value in the file of credentials.
    pub fn credential(&self, profile: &str, key: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.path().join("credentials")).expect("readable");
        let section = text.split(&format!("[{profile}]")).nth(1)?.split('[').next()?.to_owned();
        let mut pairs = section.lines().filter_map(|line| line.split_once(" = "));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
    }

    /// A client of a bucket, as a user's program has one.
    pub fn client(&self, region: &str, profile: &str) -> AmazonS3 {
        let mut builder = AmazonS3Builder::new()
            .with_endpoint(&self.url)
            .with_bucket_name(format!("orders-{region}"))
            .with_region("eu-west-1")
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .with_access_key_id(self.credential(profile, "aws_access_key_id").expect("an id"))
            .with_secret_access_key(
                self.credential(profile, "aws_secret_access_key").expect("a secret"),
            );
        if let Some(token) = self.credential(profile, "aws_session_token") {
            builder = builder.with_token(token);
        }
        builder.build().expect("a client")
    }

    /// Whether a user's program may write an object.
    pub async fn writes(&self, region: &str, profile: &str, key: &str) -> bool {
        let put = self.client(region, profile).put(&Path::from(key), "text".into()).await;
        match put {
            Ok(_) => true,
            Err(object_store::Error::PermissionDenied { .. }) => false,
            Err(other) => panic!("{other}"),
        }
    }

    /// Write an object as the agent.
    pub async fn put(&self, region: &str, key: &str, bytes: Vec<u8>) {
        let client = self.client(region, "agent");
        client.put(&Path::from(key), bytes.into()).await.expect("written");
    }

    /// Remove an object as the agent.
    pub async fn delete(&self, region: &str, key: &str) {
        let client = self.client(region, "agent");
        client.delete(&Path::from(key)).await.expect("removed");
    }

    /// Whether an object is there.
    pub async fn has(&self, region: &str, key: &str) -> bool {
        self.client(region, "agent").get_opts(&Path::from(key), Default::default()).await.is_ok()
    }

    /// A command of the front.
    pub async fn command(&self, command: &str, body: &str) -> String {
        let url = format!("{}/-/{command}", self.url);
        let sent = reqwest::Client::new().post(url).body(body.to_owned()).send().await;
        let answer = sent.expect("answered");
        assert!(answer.status().is_success(), "{command}");
        answer.text().await.expect("text")
    }

    /// Replicate what one bucket has to the other.
    pub async fn replicate(&self, from: &str, to: &str) {
        self.command(&format!("replicate/orders-{from}/orders-{to}"), "").await;
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
