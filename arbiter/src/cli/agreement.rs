//! The cluster file against what reads it: settings against drivers, timers against the core's.
//! What only one side knows would pass `config check`, and stop a process later.

use crate::drivers::{self, Command, Driver, DriverError, Holder, Output};
use crate::{policy_file, raft};
use arbiter_core::{Control, Fencing, Instance, Layer};
use cluster_config::{Kind, Profile};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Hands that hold nothing: no driver is asked to do anything here.
struct NoHands;

fn never<T>() -> Result<T, DriverError> {
    Err(DriverError::Refused("nothing is held in this test".to_owned()))
}

#[async_trait::async_trait]
impl Holder for NoHands {
    async fn run(&self, _: &Command) -> Result<Output, DriverError> {
        never()
    }
    async fn start(&self, _: &Command, _: bool) -> Result<(), DriverError> {
        never()
    }
    fn processes(&self) -> Result<Vec<i32>, DriverError> {
        Ok(Vec::new())
    }
    async fn kill(&self) -> Result<(), DriverError> {
        never()
    }
    fn armed(&self) -> bool {
        false
    }
    fn gate_dir(&self) -> PathBuf {
        PathBuf::from("/nowhere")
    }
}

/// Every setting of a kind that its driver is given, with its example.
fn settings(kind: &Kind) -> BTreeMap<String, String> {
    let settings = kind.settings.iter().filter(|setting| !setting.file_only);
    settings.map(|s| (named(s.key), s.example.to_owned())).collect()
}

/// A key with a name in the place of its wildcard: of a variable, or of a region.
fn named(key: &str) -> String {
    key.replace("env.*", "env.NAME").replace('*', "eu-west")
}

/// What a driver says to an instance with these settings.
fn said(kind: &Kind, settings: BTreeMap<String, String>) -> String {
    opens(kind, settings).err().map_or_else(String::new, |error| error.to_string())
}

fn opens(kind: &Kind, settings: BTreeMap<String, String>) -> Result<Box<dyn Driver>, DriverError> {
    let instance = Instance {
        resource: "thing".into(),
        region: "eu-west".into(),
        agent: "agent-eu".into(),
        kind: kind.name.to_owned(),
        layer: Layer::Data,
        fencing: Fencing::Required,
        control: Control::Owned,
        evidence: BTreeSet::new(),
        waits: false,
        address: "127.0.0.1:5432".to_owned(),
        settings,
    };
    drivers::open(&"default".into(), &"thing-eu".into(), &instance, Arc::new(NoHands))
}

#[test]
fn the_file_says_of_each_kind_what_its_driver_declares() {
    for kind in policy_file::registry().resources {
        let driver =
            opens(kind, settings(kind)).unwrap_or_else(|error| panic!("{}: {error}", kind.name));
        let says = driver.declares();
        assert_eq!(format!("{:?}", says.control).to_lowercase(), kind.control, "{}", kind.name);
        assert_eq!(format!("{:?}", says.layer).to_lowercase(), kind.layer, "{}", kind.name);
        let given: BTreeSet<&str> = says.evidence.iter().map(|kind| kind.as_str()).collect();
        let listed: BTreeSet<&str> = kind.evidence.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(given, listed, "{}", kind.name);
    }
}

#[test]
fn every_kind_has_a_name_of_its_own_and_takes_its_settings_only() {
    let mut names = BTreeSet::new();
    for kind in policy_file::registry().resources {
        assert!(names.insert(kind.name), "{} twice", kind.name);
        let mut more = settings(kind);
        more.insert("zzz".to_owned(), "x".to_owned());
        let unknown = said(kind, more);
        assert!(unknown.contains("\"zzz\" is unknown; known are"), "{}: {unknown}", kind.name);
        for required in kind.settings.iter().filter(|setting| setting.required) {
            let key = named(required.key);
            let mut less = settings(kind);
            less.remove(&key);
            let missing = said(kind, less);
            assert!(missing.contains(&key), "{} opens without {key}: {missing}", kind.name);
        }
    }
}

#[test]
fn profiles_are_those_of_the_core() {
    for (file, core) in [
        (Profile::Wan, arbiter_core::Profile::Wan),
        (Profile::Regional, arbiter_core::Profile::Regional),
        (Profile::Metro, arbiter_core::Profile::Metro),
    ] {
        let timing = policy_file::timing(&file.timing());
        assert_eq!(timing, core.timing(), "{file}");
        assert_eq!(timing.dead_after(timing.lease), file.timing().dead_after(), "{file}");
        assert_eq!(timing.faults(true), [], "{file}");
    }
}

#[test]
fn election_windows_fit_where_the_file_says_so() {
    for profile in [Profile::Wan, Profile::Regional, Profile::Metro] {
        for heartbeat_ms in [1, 7, 50, 133, 300, 2_000] {
            let mut file = profile.timing();
            file.heartbeat = Duration::from_millis(heartbeat_ms);
            for voters in [1, 3, 5, 7] {
                let needed = raft::election_span_min(&policy_file::timing(&file), voters);
                assert_eq!(file.election_span_min(voters), needed, "{file:?} {voters}");
            }
        }
    }
}
