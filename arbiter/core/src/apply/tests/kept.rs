//! State and log entries of the release before are read, and nothing of them is lost.
//! `core/src/apply/tests/v1` keeps them. `ARBITER_UPDATE=1 cargo test -p arbiter-core kept` makes
//! what is missing there.

use crate::testing::*;
use crate::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn kept(name: &str, made: impl FnOnce() -> String) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/apply/tests/v1");
    let path = folder.join(name);
    if std::env::var_os("ARBITER_UPDATE").is_some() && !path.exists() {
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(&path, made()).expect("written");
    }
    std::fs::read_to_string(path).expect("kept")
}

/// Everything in `then` is in `now`, with the same value.
fn lost(path: &str, then: &Value, now: &Value) -> Option<String> {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => then.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match now.get(key) {
                Some(now) => lost(&path, value, now),
                None => Some(path),
            }
        }),
        (Value::Array(then), Value::Array(now)) if then.len() == now.len() => {
            let pairs = then.iter().zip(now).enumerate();
            pairs.into_iter().find_map(|(at, (t, n))| lost(&format!("{path}[{at}]"), t, n))
        }
        _ if then == now => None,
        _ => Some(path.to_owned()),
    }
}

fn again<T: serde::de::DeserializeOwned + serde::Serialize>(text: &str) -> T {
    let read: T = serde_json::from_str(text).expect("what was written is read");
    let then: Value = serde_json::from_str(text).expect("JSON");
    let now = serde_json::to_value(&read).expect("JSON");
    assert_eq!(lost("", &then, &now), None, "of {text:.200}");
    read
}

/// Worlds in which much has happened.
fn worlds() -> Vec<World> {
    let mut moved = World::in_mode(Mode::Automatic);
    moved.cut(EU);
    moved.run(ms(40_000));
    moved.heal(EU);
    moved.run(ms(5000));
    let mut drilled = World::in_mode(Mode::Manual);
    let expected_epoch = drilled.group().epoch();
    let (kind, accept_loss) = (DrillKind::Switchover, false);
    let run = Command::RunDrill { group: group(), kind, accept_loss, expected_epoch };
    drilled.operator(run).expect("it begins");
    drilled.run(ms(10_000));
    drilled.run(ms(60_000));
    let mut open = World::in_mode(Mode::Manual);
    let voter = Voter { node_id: 7, region: "witness".into(), address: "new:7400".into() };
    let name = "arbiter-new".into();
    open.operator(Command::ReserveNode { name, voter }).expect("it is new");
    open.cut(EU);
    open.run(ms(5000));
    open.open(&open.request(PlanKind::Failover)).expect("it opens");
    assert!(open.until(StepId::PromoteData));
    vec![moved, drilled, open]
}

#[test]
fn a_state_of_the_release_before_is_read() {
    for (at, name) in ["moved.json", "drilled.json", "open.json"].into_iter().enumerate() {
        let made = || serde_json::to_string(&worlds()[at].state).expect("JSON");
        let state: State = again(&kept(name, made));
        assert_eq!(state.cluster_id, Some("test".into()), "{name}");
        let found = &state.groups[&group()];
        match name {
            "open.json" => {
                assert!(found.plan.is_some() && state.joining.len() == 1, "{name}");
            }
            _ => assert!(!found.plans.is_empty(), "{name}"),
        }
        assert!(check_invariants(&state, &state).is_ok(), "{name}");
    }
}

#[test]
fn log_entries_of_the_release_before_are_read() {
    let made = || {
        let mut kinds: BTreeMap<String, String> = BTreeMap::new();
        for command in worlds().iter().flat_map(|world| &world.log) {
            let value = serde_json::to_value(command).expect("JSON");
            let kind = value.as_object().and_then(|o| o.keys().next().cloned());
            let proposal = Proposal {
                request: Some("r".into()),
                by: By::Operator("ada".to_owned()),
                reason: "kept".to_owned(),
                wall: WallMillis(1),
                command: command.clone(),
            };
            let line = serde_json::to_string(&proposal).expect("JSON");
            kinds.entry(kind.unwrap_or_default()).or_insert(line);
        }
        kinds.into_values().map(|line| line + "\n").collect()
    };
    let text = kept("entries.jsonl", made);
    let read: Vec<Proposal> = text.lines().map(again).collect();
    assert!(read.len() >= 15, "{} kinds of entries", read.len());
}
