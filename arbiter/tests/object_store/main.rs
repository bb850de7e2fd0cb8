//! Object storage and Terraform state against real services: moto with IAM enforcement and a front
//! that judges bucket policies, Azurite, and a terraform binary where there is one.

mod azure;
mod azure_fence;
mod count;
mod drain;
mod fault;
mod fence;
mod lag;
mod rehearsal;
mod s3;
#[path = "../support/s3_client.rs"]
mod s3_client;
mod terraform;

use arbiter::drivers::{self, Command, Done, Driver, DriverError, Holder, Output};
use arbiter_core::{
    Control, Fact, Fencing, Goal, GroupId, Instance, InstanceId, Layer, Terms, Token,
};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long anything may take to show.
const SHOWS_LIMIT: Duration = Duration::from_secs(20);

/// Nothing here holds a process.
struct Nobody;

#[async_trait]
impl Holder for Nobody {
    async fn run(&self, _: &Command) -> Result<Output, DriverError> {
        Err(DriverError::Refused("nobody".to_owned()))
    }
    async fn start(&self, _: &Command, _: bool) -> Result<(), DriverError> {
        Err(DriverError::Refused("nobody".to_owned()))
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
        PathBuf::new()
    }
}

type Settings = BTreeMap<String, String>;

/// `more` on top of `settings`.
fn with(settings: &Settings, more: &[(&str, &str)]) -> Settings {
    let mut settings = settings.clone();
    settings.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    settings
}

fn try_open(kind: &str, region: &str, settings: Settings) -> Result<Box<dyn Driver>, DriverError> {
    let instance = Instance {
        resource: "files".into(),
        region: region.into(),
        agent: "agent".into(),
        kind: kind.to_owned(),
        layer: if kind == "object-store" { Layer::Data } else { Layer::Watched },
        fencing: Fencing::BestEffort,
        control: Control::Api,
        evidence: Default::default(),
        waits: false,
        address: String::new(),
        settings,
    };
    let (group, id) = (GroupId::from("default"), InstanceId::from("files"));
    drivers::open(&group, &id, &instance, Arc::new(Nobody))
}

fn open(kind: &str, region: &str, settings: Settings) -> Box<dyn Driver> {
    try_open(kind, region, settings).unwrap_or_else(|error| panic!("{error}"))
}

/// Ask for a goal at a token.
async fn ask(
    driver: &dyn Driver,
    goal: Goal,
    (epoch, revision): (u64, u64),
) -> Result<Done, DriverError> {
    driver.ensure(goal, Token::new(epoch, revision), &Terms::default()).await
}

/// What must be reached.
async fn reach(driver: &dyn Driver, goal: Goal, token: (u64, u64)) -> Done {
    ask(driver, goal, token).await.unwrap_or_else(|error| panic!("{goal}: {error}"))
}

fn refused<T>(result: Result<T, DriverError>, said: &str) -> String {
    match result.map(|_| ()) {
        Err(DriverError::Refused(text)) if text.contains(said) => text,
        other => panic!("not refused with {said:?}: {other:?}"),
    }
}

fn retry<T>(result: Result<T, DriverError>, said: &str) -> String {
    match result.map(|_| ()) {
        Err(DriverError::Retry(text)) if text.contains(said) => text,
        other => panic!("no retry with {said:?}: {other:?}"),
    }
}

fn stale<T>(result: Result<T, DriverError>, epoch: u64, revision: u64) {
    let seen = Token::new(epoch, revision);
    assert_eq!(result.map(|_| ()), Err(DriverError::StaleEpoch { seen }));
}

/// The first Fact that is as it should be.
async fn shows(driver: &dyn Driver, what: &str, fits: impl Fn(&Fact) -> bool) -> Fact {
    let mut last = Err(DriverError::Retry("never looked".to_owned()));
    let seen = timeout(SHOWS_LIMIT, async {
        loop {
            last = driver.observe().await;
            match &last {
                Ok(fact) if fits(fact) => return fact.clone(),
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
    });
    let seen = seen.await;
    seen.unwrap_or_else(|_| panic!("{what} does not show: {last:?}"))
}

fn has_fault(fact: &Fact, said: &str) -> bool {
    fact.faults.iter().any(|fault| fault.contains(said))
}

fn setup(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/setup").join(file)
}

/// What a script of the setup prints, which must succeed.
fn installed(script: &str) -> PathBuf {
    let output = std::process::Command::new("bash")
        .arg(setup(script))
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("bash is there");
    assert!(output.status.success(), "{script} failed");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}
