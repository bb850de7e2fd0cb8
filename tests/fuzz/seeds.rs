//! Inputs that nobody would write by hand: real messages and entries, made from [`worlds`].

use super::replay::Kept;
use super::requests;
use super::worlds::{LIFE, behind, worlds};
use super::{Input, METHODS, commands};
use arbiter::fuzzing::raft;
use arbiter::wire;
use arbiter_core::*;
use arbiter_proto::v1 as pb;
use prost::Message;
use std::time::Duration;

/// Every so many States one is made into inputs.
const EVERY: usize = 7;

/// All of them.
pub fn seeds() -> Vec<Kept> {
    let mut found = Vec::new();
    for (at, state) in worlds().iter().enumerate().step_by(EVERY) {
        let mut add = |target: &'static str, what: &str, bytes: Vec<u8>| {
            found.push(Kept { target, name: format!("{what} of world {at}"), bytes });
        };
        for agent in state.spec.agents.keys() {
            let report = report(state, agent);
            let message = wire::report_to_proto(&report).encode_to_vec();
            add("report", "a Report", [&[at as u8, 1], message.as_slice()].concat());
            add("grpc", "a Report", [&[method("Agent.Session"), 1], message.as_slice()].concat());
            let mut view = View::elected(behind(0).term, Instant::from_millis(1000));
            let now = Instant::from_millis(60_000);
            view.hear(report.clone(), now);
            let directive = wire::directive_to_proto(&view.answer(state, &report, now));
            add("directive", "a Directive", directive.encode_to_vec());
        }
        let dice: Vec<u8> = (0..=255u8).map(|one| one.wrapping_mul(37) ^ at as u8).collect();
        add("apply", "commands", [&[at as u8, 3], dice.as_slice()].concat());
        let mut input = Input::new(&dice);
        for _ in 0..3 {
            let proposal = commands::proposal(&mut input, state);
            let json = serde_json::to_vec(&proposal).expect("it is stored as JSON");
            let entry = entry(json.clone());
            add("log", "an entry", [&[1], entry.encode_to_vec().as_slice()].concat());
            add("log", "a frame", [&[0], raft::seal(&entry).as_slice()].concat());
            add("log", "an append", [&[3], append(entry).encode_to_vec().as_slice()].concat());
            add("proposal", "a proposal", json);
        }
        if at % 2 == 0 {
            add("log", "a snapshot", snapshot(state));
        }
    }
    let scripts = requests::scripts(report).into_iter();
    found.extend(scripts.map(|(name, bytes)| Kept { target: "handlers", name, bytes }));
    found
}

fn method(name: &str) -> u8 {
    METHODS.iter().position(|(known, ..)| *known == name).unwrap_or_default() as u8
}

fn entry(json: Vec<u8>) -> pb::LogEntry {
    pb::LogEntry {
        at: Some(pb::LogPosition { term: 3, index: 42 }),
        payload: Some(pb::log_entry::Payload::Command(json.into())),
    }
}

fn append(entry: pb::LogEntry) -> pb::AppendRequest {
    pb::AppendRequest {
        prev: Some(pb::LogPosition { term: 3, index: 41 }),
        vote: Some(pb::RaftVote { term: 3, voted_for: Some(1), committed: true }),
        entries: vec![entry],
        ..Default::default()
    }
}

/// The head's line holds no newline, or it would end there.
fn snapshot(state: &State) -> Vec<u8> {
    let last = Some(pb::LogPosition { term: 3, index: 42 });
    let meta = pb::SnapshotMeta { last, ..Default::default() }.encode_to_vec();
    let mut bytes = vec![2];
    bytes.extend(meta.iter().map(|byte| if *byte == b'\n' { b'\x0b' } else { *byte }));
    bytes.push(b'\n');
    bytes.extend(serde_json::to_vec(state).expect("it is stored as JSON"));
    bytes
}

fn report(state: &State, agent: &AgentId) -> Report {
    let mut report = Report {
        cluster_id: state.cluster_id.clone(),
        agent: agent.clone(),
        incarnation: LIFE,
        boot_id: "boot".to_owned(),
        sequence: 9,
        groups: Default::default(),
        watchdog: Some(false),
        gaps: vec![Duration::from_millis(800)],
    };
    for (id, spec) in &state.spec.groups {
        let mut group = GroupReport {
            arming: Some(Arming { expiry_counts_as: EvidenceKind::LeaseExpired }),
            deadline_running: true,
            obeyed: state.groups.get(id).map_or(0, |group| group.revision),
            ..GroupReport::default()
        };
        let own = spec.instances.iter().filter(|(_, one)| one.agent == *agent);
        for (instance, one) in own {
            group.instances.insert(instance.clone(), seen(state, id, instance, one));
        }
        report.groups.insert(id.clone(), group);
    }
    report
}

fn seen(state: &State, group: &GroupId, id: &InstanceId, one: &Instance) -> InstanceReport {
    let found = state.groups.get(group);
    let goal = found.and_then(|found| found.goal(&one.region, one.layer));
    let primary = found.is_some_and(|found| found.primaries.get(&one.resource) == Some(id));
    let at = Position { timeline: 1, offset: 0x500_0000 };
    let fact = Fact {
        condition: Condition::Healthy,
        role: if primary { Role::Primary } else { Role::Replica },
        writable: primary,
        position: Some(at),
        replayed: (!primary).then_some(at),
        upstream: (!primary).then(|| Upstream {
            position: at,
            age: Duration::from_millis(300),
            streaming: true,
        }),
        data_id: "77".to_owned(),
        ..Fact::default()
    };
    let done = goal.map(|goal| DoneReport {
        goal: goal.goal,
        token: goal.token,
        evidence: (goal.goal == Goal::Fenced).then_some(EvidenceKind::Confirmed),
        end: Some(at),
        clean: true,
    });
    InstanceReport {
        fact,
        age: Duration::from_millis(40),
        token: goal.map(|goal| goal.token).unwrap_or_default(),
        verified: goal.map(|goal| goal.token),
        done,
        error: None,
        commits: None,
    }
}
