//! Azure Blob of our own: Azurite, with an account a region, and a client that is none of ours
//! (`tests/setup/azure_blob.py`).

use super::{Settings, installed, setup};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Key of both accounts, in base64 as Azure gives it.
const KEY: &str = "aHVudGVyMg==";

/// A running Azurite with the container `orders` in both accounts.
pub struct Azure {
    url: String,
    /// Directory with the file `key`.
    pub dir: TempDir,
    child: Child,
}

impl Azure {
    /// Start it.
    pub fn start() -> Self {
        let program = installed("azurite.sh");
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("key"), format!("{KEY}\n")).expect("writable");
        let mut child = Command::new(program)
            .args(["--inMemoryPersistence", "--blobPort", "0", "--disableTelemetry"])
            .args(["--disableProductStyleUrl", "--silent"])
            .env("AZURITE_ACCOUNTS", format!("orderseu:{KEY};ordersus:{KEY}"))
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let lines = lines.map(|line| line.expect("text"));
        let mut urls = lines.filter_map(|line| Some(line.split_once("listens on ")?.1.to_owned()));
        let url = urls.next().expect("prints its URL");
        let azure = Self { url, dir, child };
        for region in ["eu", "us"] {
            azure.run(region, &["create", "orders"]);
        }
        azure
    }

    /// Settings of the container of a region.
    pub fn settings(&self, region: &str) -> Settings {
        let key = self.dir.path().join("key");
        [
            ("provider", "azure"),
            ("account", &format!("orders{region}")),
            ("container", "orders"),
            ("endpoint_url", &format!("{}/orders{region}", self.url)),
            ("access_key_file", key.to_str().expect("text")),
            ("access_policies", "app"),
            ("canary_every", "1s"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// A request beside the arbiter, in a region's account: what it prints.
    pub fn run(&self, region: &str, args: &[&str]) -> String {
        let account = format!("orders{region}");
        let output = Command::new("python3")
            .arg(setup("azure_blob.py"))
            .args([&format!("{}/{account}", self.url), &account, KEY])
            .args(args)
            .output()
            .expect("python3 is there");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Status of a write by a client whose token is bound to a stored access policy.
    pub fn writes(&self, region: &str, policy: &str) -> bool {
        match self.run(region, &["as", "orders", policy, "PUT", "late"]).as_str() {
            "201" => true,
            "403" => false,
            other => panic!("{other}"),
        }
    }

    /// Replicate the canary that a region wrote to the other, as Azure does: it has no bearing on
    /// the ACL.
    pub fn replicate(&self, from: &str, to: &str) {
        let canary = format!(".arbiter/canary/{from}");
        let text = self.run(from, &["read", "orders", &canary]);
        self.run(to, &["write", "orders", &canary, &text]);
    }
}

impl Drop for Azure {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
