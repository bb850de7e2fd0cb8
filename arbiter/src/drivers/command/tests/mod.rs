//! Scripts on real processes: what they are told, what they may say, and what is done to what a
//! manager runs.

mod managed;
mod scripts;

use crate::drivers::{self, Driver, DriverError, Holder};
use arbiter_core::{Control, Fencing, Instance, Layer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An instance of `kind` whose script is the shell text in `script` of `dir`.
fn instance(dir: &Path, kind: &str, settings: &[(&str, &str)]) -> Instance {
    let mut all = BTreeMap::from([(
        "command".to_owned(),
        format!("/bin/sh {}", dir.join("script").display()),
    )]);
    all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    Instance {
        resource: "queue".into(),
        region: "eu-west".into(),
        agent: "agent".into(),
        kind: kind.to_owned(),
        layer: Layer::Data,
        fencing: Fencing::BestEffort,
        control: Control::Api,
        evidence: Default::default(),
        waits: false,
        address: "127.0.0.1:1".to_owned(),
        settings: all,
    }
}

/// Write the script.
fn script(dir: &Path, text: &str) {
    std::fs::write(dir.join("script"), text).unwrap();
}

fn open(instance: &Instance, holder: Arc<dyn Holder>) -> Result<Box<dyn Driver>, DriverError> {
    drivers::open(&"shop".into(), &"queue-eu".into(), instance, holder)
}

/// Its text in an error.
fn text(error: DriverError) -> String {
    error.to_string()
}

/// Holds nothing and starts nothing.
struct Nobody;

#[async_trait::async_trait]
impl Holder for Nobody {
    async fn run(&self, _: &drivers::Command) -> Result<drivers::Output, DriverError> {
        unreachable!("no tool is run")
    }

    async fn start(&self, _: &drivers::Command, _: bool) -> Result<(), DriverError> {
        unreachable!("nothing is started")
    }

    fn processes(&self) -> Result<Vec<i32>, DriverError> {
        Ok(Vec::new())
    }

    async fn kill(&self) -> Result<(), DriverError> {
        Ok(())
    }

    fn armed(&self) -> bool {
        false
    }

    fn gate_dir(&self) -> PathBuf {
        unreachable!("nothing is gated")
    }
}
