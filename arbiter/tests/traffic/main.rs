//! Traffic drivers against real authorities: BIND 9, and moto with strict checks in front. Azure
//! Traffic Manager has none that could be run: its published contract is.

#[path = "../support/azure/mod.rs"]
mod azure;
mod bind;
mod moto;
mod pull;
mod relay;
mod rfc2136;
mod rfc2136_faults;
mod rfc2136_replay;
mod route53;
mod traffic_manager;
mod traffic_manager_faults;
mod vantage;

use arbiter::drivers::{self, Command, Driver, DriverError, Holder, Output};
use arbiter_core::{
    Control, Fact, Fencing, Goal, GroupId, Instance, InstanceId, Layer, RegionId, Terms, Token,
    TrafficFact,
};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Traffic drivers hold no process.
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

fn open(kind: &str, settings: &[(&str, &str)]) -> Result<Box<dyn Driver>, DriverError> {
    let settings: BTreeMap<String, String> =
        settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let instance = Instance {
        resource: "dns".into(),
        region: "eu".into(),
        agent: "agent-eu".into(),
        kind: kind.to_owned(),
        layer: Layer::Traffic,
        fencing: Fencing::BestEffort,
        control: Control::Api,
        evidence: Default::default(),
        waits: false,
        address: String::new(),
        settings,
    };
    drivers::open(
        &GroupId::from("default"),
        &InstanceId::from("dns-eu"),
        &instance,
        Arc::new(Nobody),
    )
}

/// Terms that name `region` and allow nothing else.
fn naming(region: &str) -> Terms {
    Terms { names: Some(RegionId::from(region)), ..Terms::default() }
}

/// Terms of a zone that was never written.
fn creating(region: &str) -> Terms {
    Terms { may_create: true, ..naming(region) }
}

async fn activate(
    driver: &dyn Driver,
    epoch: u64,
    revision: u64,
    terms: &Terms,
) -> Result<Fact, DriverError> {
    let token = Token::new(epoch, revision);
    driver.ensure(Goal::Active, token, terms).await.map(|done| done.facts)
}

fn traffic(fact: Fact) -> TrafficFact {
    fact.traffic.expect("a traffic driver tells of traffic")
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
