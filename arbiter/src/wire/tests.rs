//! What goes out comes back the same; what cannot be is an error, never a guess or a panic.

use super::*;
use arbiter_core::*;
use arbiter_proto::v1 as pb;
use prost::Message;
use std::collections::BTreeMap;
use std::time::Duration;

const EVIDENCE: [EvidenceKind; 5] = [
    EvidenceKind::Attested,
    EvidenceKind::ProviderAsserted,
    EvidenceKind::LeaseExpired,
    EvidenceKind::PowerOff,
    EvidenceKind::Confirmed,
];
const GOALS: [Goal; 4] = [Goal::Active, Goal::Standby, Goal::Drained, Goal::Fenced];
const LAYERS: [Layer; 5] =
    [Layer::Data, Layer::Workload, Layer::Traffic, Layer::Pooler, Layer::Watched];
const CONDITIONS: [Condition; 6] = [
    Condition::Healthy,
    Condition::Starting,
    Condition::Recovering,
    Condition::Dead,
    Condition::Stopped,
    Condition::Unknown,
];
const ROLES: [Role; 3] = [Role::Primary, Role::Replica, Role::None];

fn pick<T: Copy>(from: &[T], n: usize) -> T {
    from[n % from.len()]
}

fn position(n: usize) -> Position {
    Position { timeline: n as u32 + 1, offset: u64::MAX - n as u64 }
}

fn loss(n: usize) -> Loss {
    Loss {
        from: position(n + 4),
        end: position(n + 5),
        count: n.is_multiple_of(4).then_some(1),
        first: "2026-11-22 10:11:12 UTC".into(),
        last: "2026-11-22 10:11:13 UTC".into(),
        listed: vec![LostTransaction { id: 7, lsn: "0/7".into(), at: "now".into() }],
        kept: "/kept".into(),
        found: WallMillis(n as u64),
        late: n.is_multiple_of(2).then(|| {
            Box::new(LateObjects {
                epoch: Epoch(n as u64 + 1),
                since: WallMillis(n as u64 + 2),
                listed: vec![LateObject { key: "orders/1".into(), at: WallMillis(n as u64 + 3) }],
                unknown: n as u64 + 4,
                whole: n.is_multiple_of(4),
                read: "cat KEY".into(),
            })
        }),
    }
}

/// A report whose every field depends on `n`, so that two mixed up fields are seen.
fn report(n: usize) -> Report {
    let fact = Fact {
        condition: pick(&CONDITIONS, n),
        role: pick(&ROLES, n),
        writable: n.is_multiple_of(2),
        position: Some(position(n)),
        replayed: Some(position(n + 1)),
        upstream: n.is_multiple_of(2).then(|| Upstream {
            position: position(n + 2),
            age: Duration::from_nanos(n as u64 + 1),
            streaming: n.is_multiple_of(4),
        }),
        traffic: n.is_multiple_of(3).then(|| TrafficFact {
            token: n.is_multiple_of(2).then(|| Token::new(3, n as u64)),
            names: n.is_multiple_of(2).then(|| RegionId::from("us-east")),
            drift: "ttl".into(),
        }),
        data_id: format!("data {n}"),
        fork: Some(position(n + 3)),
        history: format!("history {n}"),
        obstacles: vec!["replay is paused".into(), n.to_string()],
        faults: vec!["a backup is too old".into(), n.to_string()],
        waits_for: n.is_multiple_of(3).then(|| ["db-us".to_owned()].into()),
        lost: n.is_multiple_of(2).then(|| Box::new(loss(n))),
        detail: BTreeMap::from([("version".into(), "15.9".into())]),
    };
    let instance = InstanceReport {
        fact,
        age: Duration::from_nanos(77),
        token: Token::new(n as u64, 5),
        done: Some(DoneReport {
            goal: pick(&GOALS, n),
            token: Token::new(n as u64, 6),
            evidence: (!n.is_multiple_of(6)).then(|| pick(&EVIDENCE, n)),
            end: Some(position(n + 4)),
            clean: n % 2 == 1,
        }),
        verified: Some(Token::new(n as u64, 8)),
        error: Some(ErrorReport {
            token: Token::new(n as u64, 9),
            refused: n.is_multiple_of(2),
            stale: Some(Token::new(n as u64, 10)),
            message: "disk is full; free some".into(),
        }),
        commits: (!n.is_multiple_of(6)).then(|| wait(n)),
    };
    let group = GroupReport {
        arming: (!n.is_multiple_of(6)).then(|| Arming { expiry_counts_as: pick(&EVIDENCE, n) }),
        deadline_running: n.is_multiple_of(2),
        lapsed: n % 2 == 1,
        remaining: n.is_multiple_of(2).then(|| Duration::from_nanos(123_456_789)),
        would_have_killed: n as u64,
        obeyed: 3 * n as u64,
        instances: BTreeMap::from([("db-eu".into(), instance)]),
    };
    Report {
        cluster_id: n.is_multiple_of(2).then(|| "demo".into()),
        agent: "agent-eu".into(),
        incarnation: Incarnation(u64::MAX),
        boot_id: "boot".into(),
        sequence: n as u64,
        groups: BTreeMap::from([("default".into(), group)]),
        watchdog: (!n.is_multiple_of(3)).then(|| n.is_multiple_of(2)),
        gaps: (0..n % 4).map(|day| Duration::from_nanos((day + n) as u64)).collect(),
    }
}

fn wait(n: usize) -> CommitWait {
    let names = || ["db-us".to_owned(), n.to_string()].into();
    match n % 5 {
        0 => CommitWait::Configured,
        1 => CommitWait::Alone,
        2 => CommitWait::Blocked,
        3 => CommitWait::Standbys(names()),
        _ => CommitWait::Isolated(names()),
    }
}

fn directive(n: usize) -> Directive {
    let order = Order {
        group: "default".into(),
        instance: "db-eu".into(),
        layer: pick(&LAYERS, n),
        goal: pick(&GOALS, n),
        token: Token::new(n as u64, 12),
        verify: n.is_multiple_of(2),
        terms: Terms {
            clean_stop: n.is_multiple_of(2).then_some(Duration::ZERO),
            upstream: "10.0.1.2:5432".into(),
            until: n.is_multiple_of(3).then(|| position(n)),
            names: n.is_multiple_of(2).then(|| "us-east".into()),
            may_create: n.is_multiple_of(2),
            adopt: n.is_multiple_of(3),
            repair: n.is_multiple_of(5),
            promoted: wait(n),
        },
        commits: n.is_multiple_of(2).then(|| Commits {
            wait: wait(n + 1),
            isolated: n.is_multiple_of(4).then(|| ["db-us".to_owned()].into()),
        }),
    };
    let group = GroupDirective {
        revision: n as u64,
        timing: Profile::Regional.timing(),
        lease: n.is_multiple_of(2).then(|| Duration::from_millis(4500)),
        arm: n % 2 == 1,
        serves_on: true,
        orders: vec![order],
    };
    Directive {
        cluster_id: "demo".into(),
        term: 7,
        answers: n.is_multiple_of(2).then_some(n as u64),
        incarnation: Incarnation(9),
        groups: BTreeMap::from([("default".into(), group)]),
        succeeds: n.is_multiple_of(2).then(|| "former".into()),
        arbiters: (0..n % 3).map(|at| format!("10.0.0.{at}:7400")).collect(),
    }
}

#[test]
fn reports_round_trip() {
    for n in 0..60 {
        let sent = report(n);
        let bytes = report_to_proto(&sent).encode_to_vec();
        let received = pb::Report::decode(bytes.as_slice()).expect("decodes");
        assert_eq!(report_from_proto(received), Ok(sent));
    }
}

#[test]
fn directives_round_trip() {
    for n in 0..60 {
        let sent = directive(n);
        let bytes = directive_to_proto(&sent).encode_to_vec();
        let received = pb::Directive::decode(bytes.as_slice()).expect("decodes");
        assert_eq!(directive_from_proto(received), Ok(sent));
    }
}

#[test]
fn a_number_of_a_later_version_is_refused() {
    let mut sent = report_to_proto(&report(1));
    sent.groups.get_mut("default").expect("there").armed_counting_as = 99;
    let found = report_from_proto(sent);
    assert_eq!(found, Err(WireError::Invalid { field: "evidence", found: "99".into() }));

    let mut sent = directive_to_proto(&directive(1));
    sent.groups.get_mut("default").expect("there").orders[0].goal = 0;
    assert_eq!(directive_from_proto(sent), Err(WireError::Missing("goal")));
}

#[test]
fn bytes_cut_or_flipped_anywhere_never_panic() {
    let bytes = report_to_proto(&report(6)).encode_to_vec();
    for at in 0..bytes.len() {
        let _ = pb::Report::decode(&bytes[..at]).map(report_from_proto);
        let mut flipped = bytes.clone();
        flipped[at] ^= 0xff;
        let _ = pb::Report::decode(flipped.as_slice()).map(report_from_proto);
    }
}

#[test]
fn tokens_are_read_as_they_are_shown() {
    let token = Token::new(43, 1201);
    assert_eq!(token_from_text(&token.to_string()), Some(token));
    for wrong in ["", "43", "43.", ".5", "a.b", "1.2.3", "-1.2"] {
        assert_eq!(token_from_text(wrong), None, "{wrong}");
    }
}
