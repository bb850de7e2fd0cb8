//! Who may write and until when, what blocks automatic, and whether the mode is in effect.

use super::{Shown, status};
use crate::policy_file;
use crate::raft::{Leadership, RaftStatus};
use arbiter_core::{
    AgentId, Arming, By, Command, Epoch, EvidenceKind, FENCE_PROVEN_MS, Fact, GroupReport,
    Incarnation, InstanceReport, Instant, LogId, Mode, Position, Proposal, Report, Role, State,
    View, WallMillis, apply,
};
use arbiter_proto::v1 as pb;
use std::collections::BTreeMap;
use std::time::Duration;

const FILE: &str = include_str!("../../policy_file/example.toml");
const NOW: Instant = Instant::from_millis(1_000_000);
const AGENTS: [&str; 2] = ["agent-eu", "agent-us"];

/// A State, and what its leader heard.
struct World {
    state: State,
    view: View,
    index: u64,
}

impl World {
    /// eu-west is active, nothing is armed.
    fn active() -> Self {
        let cluster = policy_file::parse(FILE, "example.toml").expect("a good file");
        let mut world = Self { state: State::default(), view: View::elected(1, NOW), index: 0 };
        let spec = policy_file::to_spec(&cluster);
        world.apply(Command::Initialize { cluster_id: "demo".into(), spec });
        world.apply(Command::ActivateFirst {
            group: "default".into(),
            region: "eu-west".into(),
            primaries: BTreeMap::from([("db".into(), "db-eu".into())]),
        });
        for agent in AGENTS {
            world.apply(Command::Bind {
                agent: agent.into(),
                incarnation: Incarnation(7),
                boot_id: "boot".to_owned(),
                former_dead: None,
            });
        }
        world
    }

    /// The same, armed and in `mode`.
    fn armed(mode: Mode) -> Self {
        let mut world = Self::active();
        world.apply(Command::Arm { group: "default".into(), armed: true });
        for agent in AGENTS {
            world.apply(Command::RecordArmed {
                group: "default".into(),
                agent: agent.into(),
                incarnation: Incarnation(7),
                arming: Arming { expiry_counts_as: EvidenceKind::LeaseExpired },
            });
        }
        if mode != Mode::Observe {
            let (group, expected_epoch) = ("default".into(), Epoch(1));
            world.apply(Command::SetMode { group, mode, expected_epoch });
        }
        world
    }

    fn apply(&mut self, command: Command) {
        self.index += 1;
        let by = By::Operator("ada".to_owned());
        let (reason, wall) = (String::new(), WallMillis(1));
        let proposal = Proposal { request: None, by, reason, wall, command };
        let at = LogId { term: 1, index: self.index };
        self.state = apply(&self.state, &proposal, at).expect("accepted").0;
    }

    /// An agent shows what is left of its lease.
    fn hear(&mut self, agent: &str, left: Duration) {
        let part = GroupReport { remaining: Some(left), ..GroupReport::default() };
        let report = Report {
            cluster_id: None,
            agent: agent.into(),
            incarnation: Incarnation(7),
            boot_id: "boot".to_owned(),
            sequence: 1,
            groups: BTreeMap::from([("default".into(), part)]),
            watchdog: Some(false),
            gaps: Vec::new(),
        };
        self.view.hear(report, NOW);
    }

    /// What is shown of the group this long after now.
    fn shown(&self, stale: bool, after: Duration) -> pb::GroupStatus {
        let shown = Shown {
            wall: WallMillis(0),
            node: "arbiter-wi",
            leadership: &Leadership::default(),
            raft: &RaftStatus::default(),
            voters: &[],
            insecure: false,
            stale,
            age: Duration::ZERO,
            group: "",
        };
        let view = (!stale).then_some(&self.view);
        let mut groups = status(&shown, &self.state, view, NOW + after).groups;
        groups.pop().expect("one group")
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_armed_region_may_write_for_what_is_left_of_its_lease() {
    let unarmed = World::active().shown(false, secs(0));
    assert_eq!((unarmed.writer.as_str(), unarmed.writer_until_ms), ("eu-west", 0));
    let mut world = World::armed(Mode::Manual);
    let silent = world.shown(false, secs(0));
    assert_eq!((silent.writer.as_str(), silent.writer_until_ms), ("", 0), "no lease was shown");
    world.hear("agent-us", secs(9));
    world.hear("agent-eu", secs(3));
    let leased = world.shown(false, secs(1));
    assert_eq!((leased.writer.as_str(), leased.writer_until_ms), ("eu-west", 2000));
    let over = world.shown(false, secs(3));
    assert_eq!((over.writer.as_str(), over.writer_until_ms), ("", 0), "its lease has ended");
}

#[test]
fn a_watchdog_device_is_told_once_its_agent_was_heard() {
    let mut world = World::armed(Mode::Manual);
    let told = |world: &World| world.shown(false, secs(0)).regions[0].agents[0].watchdog;
    assert_eq!(told(&world), None);
    world.hear("agent-us", secs(9));
    world.hear("agent-eu", secs(9));
    assert_eq!(told(&world), Some(false));
}

#[test]
fn what_blocks_automatic_is_told_with_its_command() {
    let world = World::armed(Mode::Manual);
    let shown = world.shown(false, secs(0));
    let codes: Vec<&str> = shown.automatic_blocked_by.iter().map(|r| r.code.as_str()).collect();
    for code in ["mode", "target-silent", "rpo"] {
        assert!(codes.contains(&code), "{codes:?}");
    }
    assert!(!codes.contains(&"not-armed") && !codes.contains(&"too-few-signals"), "{codes:?}");
    let mode = shown.automatic_blocked_by.iter().find(|reason| reason.code == "mode");
    assert_eq!(mode.expect("listed").next, "arbiter mode automatic --group default");
    let automatic = World::armed(Mode::Automatic).shown(false, secs(0));
    assert!(automatic.automatic_blocked_by.iter().all(|reason| reason.code != "mode"));
}

#[test]
fn a_mode_is_in_effect_where_a_quorum_confirms_it_and_everybody_is_armed() {
    let mut world = World::armed(Mode::Manual);
    let shown = world.shown(false, secs(0));
    assert_eq!((shown.mode_in_effect, shown.mode_blocked_by.as_str()), (true, ""));
    // I9
    let stale = world.shown(true, secs(0));
    assert!(!stale.mode_in_effect);
    assert_eq!(stale.mode_blocked_by, "no quorum confirms it");
    world.apply(Command::RecordUnarmed {
        group: "default".into(),
        agent: AgentId::from("agent-us"),
        incarnation: Incarnation(7),
    });
    let unarmed = world.shown(false, secs(0));
    assert!(!unarmed.mode_in_effect);
    assert_eq!(unarmed.mode_blocked_by, "agent agent-us is not armed");
    assert!(World::active().shown(false, secs(0)).mode_in_effect, "observe needs no arming");
}

#[test]
fn the_numbers_behind_the_status_are_as_old_as_what_they_were_read_from() {
    let mut world = World::armed(Mode::Manual);
    let at = |offset| Some(Position { timeline: 1, offset });
    let shown = |role, offset, detail: &[(&str, &str)]| InstanceReport {
        fact: Fact {
            role,
            position: at(offset),
            detail: detail.iter().map(|(key, text)| ((*key).into(), (*text).into())).collect(),
            faults: vec!["its disk is full: make room".to_owned()],
            ..Fact::default()
        },
        age: secs(1),
        ..InstanceReport::default()
    };
    let primary = shown(Role::Primary, 9_000, &[(FENCE_PROVEN_MS, "60000")]);
    let replica = shown(Role::Replica, 8_000, &[]);
    for (agent, id, one) in [("agent-eu", "db-eu", primary), ("agent-us", "db-us", replica)] {
        world.hear(agent, secs(5));
        let heard = world.view.reports.get_mut(&AgentId::from(agent)).unwrap();
        let part = heard.report.groups.get_mut(&"default".into()).unwrap();
        part.instances.insert(id.into(), one);
    }
    let later = NOW + Duration::from_millis(500);
    let mut found = super::measures(&world.state, &world.view, later);
    let found = found.remove(&"default".into()).expect("one group");
    assert!(found.automatic_blocked, "the mode is manual");
    assert_eq!(found.faults.get("resource"), Some(&2), "{found:?}");
    let of = |id: &str| found.instances[&id.into()];
    assert_eq!(
        (of("db-eu").fence_proven, of("db-eu").lag),
        (Some(Duration::from_millis(61_500)), None)
    );
    let old = Duration::from_millis(1_500);
    assert_eq!((of("db-us").fence_proven, of("db-us").lag), (None, Some((1_000, old))));
}
