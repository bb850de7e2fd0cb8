//! Route 53 of our own: moto with strict checks in front (`tests/setup/strict_route53.py`).

use aws_sdk_route53::Client;
use aws_sdk_route53::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A running front with moto behind it.
pub struct Moto {
    /// Its URL.
    pub url: String,
    /// Id of hosted zone example.test.
    pub zone: String,
    client: Client,
    dir: TempDir,
    child: Child,
}

fn setup(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/setup").join(file)
}

/// Python with moto.
pub fn python() -> PathBuf {
    let output = Command::new("bash").arg(setup("moto.sh")).stderr(Stdio::inherit()).output();
    let output = output.expect("bash is there");
    assert!(output.status.success(), "moto cannot be installed");
    Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("bin/python")
}

/// What the check of the front against the published contract prints.
pub fn check() -> String {
    let output = Command::new(python()).arg(setup("strict_route53_check.py")).output();
    let output = output.expect("runs");
    let (said, fault) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(said), String::from_utf8_lossy(fault))
}

impl Moto {
    /// Start both, with zone example.test. `pending`: so many times a change is not yet served.
    pub async fn start(pending: u32) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut child = Command::new(python())
            .arg(setup("strict_route53.py"))
            .arg(dir.path())
            .arg(pending.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut url = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut url).expect("prints its URL");
        let url = url.trim().to_owned();
        let credentials = Credentials::new("AKIDTEST", "hunter2", None, None, "test");
        let http = aws_smithy_http_client::Builder::new().build_http();
        let config = aws_sdk_route53::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&url)
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials)
            .http_client(http)
            .build();
        let client = Client::from_conf(config);
        let create = client.create_hosted_zone().name("example.test.").caller_reference("test");
        let zone = create.send().await.expect("a zone").hosted_zone.expect("told").id;
        let zone = zone.rsplit('/').next().expect("an id").to_owned();
        let file = "[default]\naws_access_key_id = AKIDTEST\naws_secret_access_key = hunter2\n";
        std::fs::write(dir.path().join("credentials"), file).expect("writable");
        Self { url, zone, client, dir, child }
    }

    /// A client of it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Path of a credentials file.
    pub fn credentials(&self) -> PathBuf {
        self.dir.path().join("credentials")
    }

    /// From now on every second question is throttled.
    pub fn throttle(&self) {
        std::fs::write(self.dir.path().join("throttle"), "").expect("writable");
    }

    /// Batches as they came, oldest first, each once however often it was replayed.
    pub fn batches(&self) -> Vec<Vec<u8>> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(self.dir.path())
            .expect("readable")
            .map(|entry| entry.expect("readable").path())
            .filter(|path| {
                path.file_name().is_some_and(|name| name != "credentials" && name != "throttle")
            })
            .collect();
        paths.sort();
        let mut batches = Vec::new();
        for path in paths {
            let batch = std::fs::read(path).expect("readable");
            if !batches.contains(&batch) {
                batches.push(batch);
            }
        }
        batches
    }

    /// What stands at a name: values, and the TTL.
    pub async fn held(&self, name: &str, kind: RrType) -> Option<(Vec<String>, i64)> {
        let list = self.client.list_resource_record_sets().hosted_zone_id(&self.zone);
        let sets = list.send().await.expect("listed").resource_record_sets;
        let set = sets.into_iter().find(|set| set.name == name && set.r#type == kind)?;
        let values = set.resource_records.unwrap_or_default();
        Some((values.into_iter().map(|record| record.value).collect(), set.ttl?))
    }

    /// Everything that stands in the zone.
    pub async fn all(&self) -> String {
        let list = self.client.list_resource_record_sets().hosted_zone_id(&self.zone);
        format!("{:?}", list.send().await.expect("listed").resource_record_sets)
    }

    /// Change one record set by hand; `weighted` makes it one of several.
    pub async fn by_hand(
        &self,
        action: ChangeAction,
        name: &str,
        kind: RrType,
        value: &str,
        weighted: bool,
    ) {
        let record = ResourceRecord::builder().value(value).build().expect("whole");
        let mut set = ResourceRecordSet::builder().name(name).r#type(kind).ttl(5);
        if weighted {
            set = set.set_identifier("one").weight(1);
        }
        let set = set.resource_records(record).build().expect("whole");
        let change = Change::builder().action(action).resource_record_set(set).build();
        let batch = ChangeBatch::builder().changes(change.expect("whole")).build().expect("whole");
        let call = self.client.change_resource_record_sets().hosted_zone_id(&self.zone);
        call.change_batch(batch).send().await.expect("changed");
    }

    /// Send a recorded batch again, byte for byte: status line and body of the answer.
    pub async fn replay(&self, batch: &[u8]) -> String {
        let address = self.url.strip_prefix("http://").expect("plain");
        let mut stream = TcpStream::connect(address).await.expect("up");
        stream.write_all(batch).await.expect("sent");
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = stream.read(&mut buffer).await.expect("answered");
            answer.extend_from_slice(&buffer[..length]);
            let text = String::from_utf8_lossy(&answer).into_owned();
            if length == 0 || text.contains("Response>") && text.trim_end().ends_with('>') {
                return text;
            }
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
