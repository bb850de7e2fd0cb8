//! S3 of our own: moto with IAM enforcement and a strict front (`tests/setup/strict_s3.py`).

use super::{Settings, installed, s3_client, setup};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
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

    fn credentials(&self) -> PathBuf {
        self.dir.path().join("credentials")
    }

    /// A value in the file of credentials.
    pub fn credential(&self, profile: &str, key: &str) -> Option<String> {
        s3_client::credential(&self.credentials(), profile, key)
    }

    /// A client of a bucket, as a user's program has one.
    pub fn client(&self, region: &str, profile: &str) -> AmazonS3 {
        let bucket = format!("orders-{region}");
        s3_client::client(&self.url, &self.credentials(), &bucket, profile)
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
