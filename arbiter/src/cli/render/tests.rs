//! Golden texts: `ARBITER_UPDATE=1 cargo test -p arbiter --lib cli::render` writes them anew.

use super::{Look, bytes, check, explain, history, members, plan, span, status, wall};
use arbiter_proto::v1 as pb;
use std::path::Path;

mod drills;
mod estate;
mod guarded;
mod losses;
mod receivers;
use receivers::signal;

#[track_caller]
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/render/golden").join(name);
    if std::env::var_os("ARBITER_UPDATE").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{name} differs");
    assert!(text.lines().last().is_some_and(|line| line.starts_with("NEXT: ")), "{name}");
    assert!(text.lines().all(|line| line.trim_end() == line), "{name} has trailing blanks");
}

fn instance(name: &str, role: &str, lag_bytes: u64) -> pb::InstanceStatus {
    pb::InstanceStatus {
        instance: name.into(),
        resource: "db".into(),
        kind: "postgres".into(),
        layer: "data".into(),
        condition: "healthy".into(),
        role: role.into(),
        lag_bytes,
        lag_known: true,
        lag_age_ms: 300,
        ..Default::default()
    }
}

fn agent(name: &str, instance: pb::InstanceStatus) -> pb::AgentStatus {
    pb::AgentStatus {
        agent: name.into(),
        incarnation: 7,
        arming: "armed".into(),
        lease_left_ms: 7100,
        reported_ms: 400,
        connected: true,
        instances: vec![instance],
        ..Default::default()
    }
}

fn region(name: &str, kind: &str, goal: &str, agents: Vec<pb::AgentStatus>) -> pb::RegionStatus {
    pb::RegionStatus {
        region: name.into(),
        kind: kind.into(),
        health: "healthy".into(),
        goal: goal.into(),
        reported_ms: 400,
        heard: true,
        agents,
    }
}

fn voter(name: &str, node_id: u64, region: &str, role: &str) -> pb::VoterStatus {
    pb::VoterStatus {
        name: name.into(),
        node_id,
        region: region.into(),
        address: format!("10.0.{node_id}.1:7400"),
        role: role.into(),
        last_heard_ms: 200,
        ..Default::default()
    }
}

fn group() -> pb::GroupStatus {
    pb::GroupStatus {
        group: "default".into(),
        verdict: "eu-west is active and healthy; a failover opens by itself".into(),
        active: "eu-west".into(),
        epoch: 42,
        mode: "automatic".into(),
        mode_in_effect: true,
        health: "healthy".into(),
        writer: "eu-west".into(),
        writer_until_ms: 7100,
        strongest_evidence: "confirmed".into(),
        traffic: Some(pb::Traffic {
            names: "eu-west".into(),
            token: "42.118".into(),
            drift: String::new(),
        }),
        regions: vec![
            region(
                "eu-west",
                "data",
                "active",
                vec![agent("agent-eu", instance("db-eu", "primary", 0))],
            ),
            region(
                "us-east",
                "data",
                "standby",
                vec![agent("agent-us", instance("db-us", "replica", 8_192))],
            ),
            region("witness", "witness", "", Vec::new()),
        ],
        lag_mark: "within".into(),
        writes: vec!["db: acknowledged by the primary alone".into()],
        ..Default::default()
    }
}

fn steady() -> pb::Status {
    pb::Status {
        node: "arbiter-us".into(),
        cluster_id: "shop".into(),
        leader: "arbiter-witness".into(),
        term: 3,
        applied_index: 120,
        voters: vec![
            voter("arbiter-eu", 1, "eu-west", "follower"),
            voter("arbiter-us", 2, "us-east", "follower"),
            voter("arbiter-witness", 3, "witness", "leader"),
        ],
        groups: vec![group()],
        ..Default::default()
    }
}

fn step(name: &str, on: &str, state: &str, took_ms: u64, note: &str) -> pb::PlanStep {
    pb::PlanStep {
        name: name.into(),
        on: on.into(),
        makes_true: format!("what {name} makes true"),
        state: state.into(),
        took_ms,
        attempts: 0,
        note: note.into(),
        point_of_no_return: name == "advance-epoch",
        on_failure: "halt".into(),
    }
}

fn open_plan() -> pb::Plan {
    pb::Plan {
        id: 131,
        group: "default".into(),
        kind: "failover".into(),
        source: "eu-west".into(),
        target: "us-east".into(),
        epoch: 42,
        opened_by: "alice".into(),
        reason: "eu-west is on fire".into(),
        immediate: true,
        opened_wall_ms: 1_700_000_000_000,
        state: "open".into(),
        steps: vec![
            step("preflight", "leader", "done", 12, ""),
            step("fence-source", "source", "unanswered", 0, "no session of agent-eu"),
            step("prove-fence", "leader", "running", 0, "lease-expired in 4.1 s"),
            step("advance-epoch", "leader", "pending", 0, ""),
            step("promote-data", "target", "pending", 0, ""),
        ],
        fence_token: "42.131".into(),
        ..Default::default()
    }
}

fn completed_plan() -> pb::Plan {
    let mut plan = open_plan();
    plan.state = "completed".into();
    plan.took_ms = 9_412;
    for (at, step) in plan.steps.iter_mut().enumerate().skip(2) {
        (step.state, step.took_ms, step.note) = ("done".into(), 100 * at as u64, String::new());
    }
    plan.steps[4].attempts = 2;
    plan.steps[4].note = "the first promotion timed out".into();
    plan.evidence = vec![pb::Evidence {
        instance: "db-eu".into(),
        kind: "lease-expired".into(),
        agent: "agent-eu".into(),
        incarnation: 7,
        token: "42.131".into(),
        waited_ms: 8_580,
        note: String::new(),
    }];
    (plan.loss_known, plan.loss_bytes) = (true, 114);
    plan
}

#[test]
fn a_steady_cluster() {
    golden("status-steady.txt", &status::status(&steady(), Look::default()));
}

#[test]
fn a_failover_on_its_way_insecure_with_faults() {
    let mut shown = steady();
    shown.insecure = true;
    shown.voters[0].role = "unreachable".into();
    let group = &mut shown.groups[0];
    group.verdict = "eu-west is lost; a failover to us-east is on its way".into();
    group.next = "arbiter plan show 131".into();
    group.health = "degraded".into();
    group.writer = String::new();
    group.plan = Some(open_plan());
    group.automatic_blocked_by =
        vec![pb::Reason { text: "plan 131 is open".into(), ..Default::default() }];
    group.regions[0].health = "unreachable".into();
    group.regions[0].agents[0].connected = false;
    group.regions[0].agents[0].lapsed = true;
    group.regions[0].agents[0].instances[0].unfenced_since = "2026-11-22 20:00:00 UTC".into();
    group.regions[1].agents[0].instances[0].error = "replay is paused".into();
    group.degraded_because = vec!["eu-west is unreachable".into()];
    group.traffic.as_mut().unwrap().drift = "app.example.test. A names 192.0.2.9".into();
    group.preferred = "us-east".into();
    golden("status-failover.txt", &status::status(&shown, Look::default()));
}

#[test]
fn observe_mode_says_what_it_would_have_done() {
    let mut shown = steady();
    let group = &mut shown.groups[0];
    group.mode = "observe".into();
    group.writer_until_ms = 0;
    group.strongest_evidence = String::new();
    group.lag_mark = "unknown".into();
    group.traffic = None;
    group.would_have = "failover to us-east".into();
    group.would_have_wall_ms = 1_700_000_000_000;
    group.regions[1].agents[0].instances[0].lag_known = false;
    for region in &mut group.regions[..2] {
        region.agents[0].arming = "unarmed".into();
        region.agents[0].would_have_killed = 2;
    }
    golden("status-observe.txt", &status::status(&shown, Look::default()));
}

#[test]
fn observe_says_that_an_armed_group_stays_armed() {
    let mut shown = steady();
    shown.groups[0].mode = "observe".into();
    let stays = "the deadman still fences, until: arbiter disarm --group default";
    let text = status::status(&shown, Look::default());
    assert!(text.contains(stays), "{text}");
    for region in &mut shown.groups[0].regions[..2] {
        region.agents[0].arming = "unarmed".into();
    }
    let text = status::status(&shown, Look::default());
    assert!(!text.contains("deadman"), "{text}");
}

#[test]
fn what_stands_behind_an_armed_deadman_is_said() {
    let mut shown = steady();
    let said = |shown: &pb::Status| {
        let text = status::status(shown, Look::default());
        text.lines().filter(|line| line.starts_with("watchdog")).map(str::to_owned).collect()
    };
    // Not known: nothing is claimed.
    assert_eq!(said(&shown), Vec::<String>::new());
    let agents = |shown: &mut pb::Status, has: [bool; 2]| {
        for (region, has) in shown.groups[0].regions.iter_mut().zip(has) {
            region.agents[0].watchdog = Some(has);
        }
    };
    agents(&mut shown, [false, false]);
    let none = "watchdog   no device beside agent-eu, agent-us: while agent and deadman are both \
        stopped, nothing fences a region cut off";
    assert_eq!(said(&shown), [none]);
    agents(&mut shown, [true, false]);
    let lines: Vec<String> = said(&shown);
    assert!(lines[0].contains("no device beside agent-us: "), "{lines:?}");
    assert!(lines[1].contains("a device beside agent-eu: it guards only if"), "{lines:?}");
    for region in &mut shown.groups[0].regions[..2] {
        region.agents[0].arming = "unarmed".into();
    }
    assert_eq!(said(&shown), Vec::<String>::new());
}

#[test]
fn a_mode_that_is_not_in_effect_says_why() {
    let mut shown = group();
    shown.mode_in_effect = false;
    shown.mode_blocked_by = "agent agent-us is not armed".into();
    let text = "automatic (not in effect: agent agent-us is not armed)";
    assert_eq!(status::mode(&shown), text);
}

#[test]
fn without_quorum_each_view_is_stale() {
    let mut view = steady();
    (view.stale, view.age_ms, view.leader) = (true, 12_000, String::new());
    view.groups[0].mode_in_effect = false;
    let heard = vec![
        ("10.0.1.1:7400".to_owned(), Ok(view)),
        ("10.0.2.1:7400".to_owned(), Err("Connection refused (os error 111)".to_owned())),
    ];
    golden("status-stale.txt", &status::views(&heard, Look::default()));
}

#[test]
fn a_cluster_not_yet_begun() {
    let shown = pb::Status { node: "arbiter-eu".into(), ..Default::default() };
    golden("status-not-initialized.txt", &status::status(&shown, Look::default()));
}

#[test]
fn two_groups() {
    let mut shown = steady();
    let mut second = group();
    second.group = "reports".into();
    second.verdict = "reports: us-east is active and healthy".into();
    second.active = "us-east".into();
    shown.groups.push(second);
    golden("status-two-groups.txt", &status::status(&shown, Look::default()));
}

#[test]
fn a_plan_before_it_is_opened() {
    let mut dry = open_plan();
    dry.steps.iter_mut().for_each(|step| step.state = "pending".into());
    golden("plan-dry-run.txt", &plan::dry_run(&dry, &[], Look::default()));
    let refused = [pb::Reason {
        topic: "failover".into(),
        code: "rpo".into(),
        open: false,
        text: "the loss would be 75 s, the RPO is 60 s".into(),
        next: "arbiter failover --to us-east --accept-loss".into(),
    }];
    golden("plan-refused.txt", &plan::dry_run(&dry, &refused, Look::default()));
}

#[test]
fn a_plan_that_ended() {
    golden("report.txt", &plan::report(&completed_plan(), Look::default()));
    let mut halted = open_plan();
    halted.state = "halted".into();
    halted.halt_reason = "no evidence for db-eu".into();
    halted.halt_next = "arbiter attest db-eu --reason \"…\"".into();
    golden("report-halted.txt", &plan::report(&halted, Look::default()));
}

#[test]
fn one_state_word_a_line() {
    let lines: Vec<String> =
        open_plan().steps.iter().map(|s| plan::step_line(s, Look::default())).collect();
    assert_eq!(lines[0], "preflight          done          12 ms");
    assert_eq!(lines[2], "prove-fence        running              lease-expired in 4.1 s");
}

#[test]
fn the_gates() {
    let reason = |topic: &str, code: &str, open: bool, text: &str, next: &str| pb::Reason {
        topic: topic.into(),
        code: code.into(),
        open,
        text: text.into(),
        next: next.into(),
    };
    let shown = pb::Explanation {
        group: "default".into(),
        reasons: vec![
            reason("region-lost", "signal-kinds", false, "1 of 2 kinds of signal", ""),
            reason("automatic", "mode", false, "mode is manual", "arbiter mode automatic"),
            reason("automatic", "rpo", true, "loss of 0.3 s within 60 s", ""),
        ],
        signals: vec![
            signal("agent-eu", "agent", "silent", "arbiter-wi", Some(7_100), true),
            signal("db-eu", "tcp", "no answer", "arbiter-us", Some(400), true),
            signal("db-eu", "tcp", "answers", "arbiter-eu", Some(9_300), false),
            signal("db-eu", "tcp", "unknown", "arbiter-wi", None, false),
            signal("cloud", "provider-status", "incident", "arbiter-us", Some(41_000), false),
        ],
    };
    golden("explain.txt", &explain::explain(&shown, Look::default()));
}

#[test]
fn what_a_failover_needs() {
    let reason = |topic: &str, code: &str, open: bool, text: &str, next: &str| pb::Reason {
        topic: topic.into(),
        code: code.into(),
        open,
        text: text.into(),
        next: next.into(),
    };
    let armed = "us-east is armed";
    let mut shown = pb::Explanation {
        group: "default".into(),
        reasons: vec![
            reason("failover", "not-armed", true, armed, ""),
            reason("automatic", "not-armed", true, armed, ""),
            reason("automatic", "mode", false, "the mode is manual", "arbiter mode automatic"),
            reason("degraded", "lag", true, "no lag", ""),
            reason("readiness", "resource", false, "backups: the newest is 30 h old", ""),
            reason("readiness", "note", true, "traffic-eu: its profile has no condition", ""),
        ],
        ..Default::default()
    };
    golden("check.txt", &check::check(&check::Check::of(&shown, &group()), Look::default()));
    assert!(!check::Check::of(&shown, &group()).ready());
    shown.reasons.drain(2..5);
    assert!(check::Check::of(&shown, &group()).ready());
}

#[test]
fn what_happened() {
    let shown = pb::ListPlansResponse {
        plans: vec![completed_plan()],
        events: vec![pb::Event {
            id: "140.0".into(),
            kind: "active-changed".into(),
            group: "default".into(),
            plan: 131,
            message: "us-east is active at epoch 43".into(),
            next: String::new(),
            wall_ms: 1_700_000_009_000,
        }],
    };
    golden("history.txt", &history::history(&shown, Look::default()));
    golden("history-empty.txt", &history::history(&Default::default(), Look::default()));
}

#[test]
fn the_voters() {
    golden("members.txt", &members::members(&steady(), Look::default()));
}

#[test]
fn colour_never_moves_a_column() {
    let plain = status::status(&steady(), Look::default());
    let coloured = status::status(&steady(), Look { colour: true });
    assert!(coloured.contains("\x1b[32mhealthy\x1b[0m"));
    let mut stripped = coloured;
    for code in ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"] {
        stripped = stripped.replace(code, "");
    }
    assert_eq!(stripped, plain);
}

#[test]
fn numbers_read_well() {
    assert_eq!(
        [span(0), span(7_149), span(200_000), span(7_500_000)],
        ["0.0 s", "7.1 s", "3 min 20 s", "2 h 5 min"]
    );
    assert_eq!([bytes(114), bytes(16_384), bytes(50_000_000)], ["114 B", "16 KiB", "47 MiB"]);
    assert_eq!(wall(0), "1970-01-01 00:00:00 UTC");
    assert_eq!(wall(951_782_400_000), "2000-02-29 00:00:00 UTC");
    assert_eq!(wall(1_700_000_000_000), "2023-11-14 22:13:20 UTC");
}
