//! The Kubernetes drivers against an API server of our own, which is checked with kubectl and with
//! the published schemas.

mod capacity;
mod client;
mod cut_off;
mod faults;
#[path = "../support/kubernetes/mod.rs"]
mod fixture;
mod published;
mod rehearsal;
mod scaling;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod tokens;
mod velero;

use arbiter::drivers::{self, Command, Done, Driver, DriverError, Holder, Output};
use arbiter_core::{
    Control, Fact, Fencing, Goal, GroupId, Instance, InstanceId, Layer, Terms, Token,
};
use async_trait::async_trait;
use fixture::cluster::Cluster;
use fixture::{cluster, http, store};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Calls that may end with something still to be waited for, on a machine that is busy.
const ATTEMPTS_MAX: u32 = 10;

/// These drivers hold no process.
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

/// The driver of `kind` in `cluster`, with a good kubeconfig and these settings.
fn open(kind: &str, cluster: &Cluster, settings: &[(&str, &str)]) -> Box<dyn Driver> {
    let mut all: BTreeMap<String, String> =
        settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let config = cluster.path("kubeconfig");
    if !config.exists() {
        cluster.kubeconfig();
    }
    all.entry("kubeconfig_file".to_owned()).or_insert_with(|| config.display().to_string());
    let instance = Instance {
        resource: "services".into(),
        region: "eu".into(),
        agent: "agent-eu".into(),
        kind: kind.to_owned(),
        layer: Layer::Workload,
        fencing: Fencing::BestEffort,
        control: Control::Api,
        evidence: Default::default(),
        waits: false,
        address: String::new(),
        settings: all,
    };
    let (group, id) = (GroupId::from("default"), InstanceId::from("services-eu"));
    drivers::open(&group, &id, &instance, Arc::new(Nobody)).expect("opens")
}

/// The driver of services.
fn services(cluster: &Cluster, settings: &[(&str, &str)]) -> Box<dyn Driver> {
    open("kubernetes", cluster, settings)
}

async fn ensure(
    driver: &dyn Driver,
    goal: Goal,
    epoch: u64,
    revision: u64,
) -> Result<Done, DriverError> {
    driver.ensure(goal, Token::new(epoch, revision), &Terms::default()).await
}

/// The same, asked again while there is something to be waited for, as an executor does.
async fn reach(
    driver: &dyn Driver,
    goal: Goal,
    epoch: u64,
    revision: u64,
) -> Result<Done, DriverError> {
    for _ in 0..ATTEMPTS_MAX {
        match ensure(driver, goal, epoch, revision).await {
            Err(DriverError::Retry(_)) => {}
            other => return other,
        }
    }
    ensure(driver, goal, epoch, revision).await
}

/// What a look says; it never fails.
async fn seen(driver: &dyn Driver) -> Fact {
    driver.observe().await.expect("says what it sees")
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, DriverError>, word: &str) -> String {
    match result {
        Err(DriverError::Refused(text)) if text.contains(word) => text,
        other => panic!("expected Refused with {word:?}, got {other:?}"),
    }
}

#[track_caller]
fn retry<T: std::fmt::Debug>(result: Result<T, DriverError>, word: &str) -> String {
    match result {
        Err(DriverError::Retry(text)) if text.contains(word) => text,
        other => panic!("expected Retry with {word:?}, got {other:?}"),
    }
}

/// The one of `said` that has `word` in it.
#[track_caller]
fn one<'a>(said: &'a [String], word: &str) -> &'a str {
    let mut found = said.iter().filter(|text| text.contains(word));
    match (found.next(), found.next()) {
        (Some(text), None) => text,
        other => panic!("expected one with {word:?} in {said:?}, got {other:?}"),
    }
}
