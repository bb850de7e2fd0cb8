//! The audit log: a chain that shows what was changed in it, or is missing.

use super::*;
use crate::testing::*;
use crate::*;

fn asked(command: Command, request: &str) -> Proposal {
    Proposal {
        request: Some(request.into()),
        by: By::Operator("ada".to_owned()),
        reason: "a test, with ümlaut".to_owned(),
        wall: WallMillis(7),
        command,
    }
}

fn settle_at(state: &State, proposal: &Proposal, index: u64) -> State {
    settle(state, proposal, LogId { term: 1, index }).state
}

/// A world in `manual`, then a mode that is refused, a call that is noted, and one that is done.
fn written() -> State {
    let world = World::in_mode(Mode::Manual);
    let (group, at) = (group(), world.at.index);
    let stale =
        Command::SetMode { group: group.clone(), mode: Mode::Automatic, expected_epoch: Epoch(9) };
    let note = Command::NoteCall {
        call: "transfer-leadership".to_owned(),
        group: None,
        detail: "to b".to_owned(),
        result: "not-taken".to_owned(),
    };
    let good = Command::SetMode { group, mode: Mode::Automatic, expected_epoch: Epoch(1) };
    let state = settle_at(&world.state, &asked(stale, "1"), at + 1);
    let state = settle_at(&state, &asked(note, "2"), at + 2);
    settle_at(&state, &asked(good, "3"), at + 3)
}

fn check(records: &[AuditRecord]) -> Result<(), (u64, ChainFault)> {
    let mut chain = AuditChain::default();
    records.iter().try_for_each(|r| chain.next(r).map(drop).map_err(|fault| (r.seq, fault)))
}

#[test]
fn what_is_asked_is_recorded_done_or_refused() {
    let state = written();
    let shown: Vec<_> = state.audit.records().iter().rev().take(3).collect();
    assert_eq!(
        (shown[0].what.as_str(), shown[0].result.as_str(), shown[0].detail.as_str()),
        ("set-mode", "done", "manual to automatic, epoch 1")
    );
    assert_eq!((shown[0].who.as_str(), &shown[0].group), ("ada", &Some(group())));
    assert_eq!(
        (shown[1].what.as_str(), shown[1].result.as_str()),
        ("transfer-leadership", "not-taken")
    );
    assert_eq!(
        (shown[2].what.as_str(), shown[2].result.as_str(), shown[2].reason.as_str()),
        ("set-mode", "wrong-epoch", "a test, with ümlaut")
    );
    assert_eq!(state.groups[&group()].mode, Mode::Automatic, "the refusal changed nothing");
}

#[test]
fn asked_again_is_recorded_once_and_policy_never() {
    let state = written();
    let again =
        Command::SetMode { group: group(), mode: Mode::Automatic, expected_epoch: Epoch(1) };
    let next = settle_at(&state, &asked(again, "3"), 900);
    assert_eq!(next.audit, state.audit);
    let by_policy = Proposal {
        by: By::Policy,
        request: None,
        ..asked(Command::MarkLag { group: group(), lag: LagMark::Over }, "4")
    };
    assert_eq!(settle_at(&state, &by_policy, 901).audit, state.audit);
}

#[test]
fn every_change_of_a_copy_is_found() {
    let state = written();
    let records = state.audit.records();
    assert!(records.len() >= 5, "initialize, arm and mode were asked too");
    assert_eq!(check(records), Ok(()));
    assert_eq!(records.last().unwrap().hash, state.audit.head);
    let changes: [fn(&mut AuditRecord); 9] = [
        |r| r.index += 1,
        |r| r.wall.0 += 1,
        |r| r.who.push('x'),
        |r| r.what.push('x'),
        |r| r.detail.push('x'),
        |r| r.group = Some("other".into()),
        |r| r.reason.push('x'),
        |r| r.result = "done!".to_owned(),
        |r| r.previous = r.previous.replace(['1', '2', '3'], "4"),
    ];
    for change in changes {
        let mut copy = records.to_vec();
        change(&mut copy[2]);
        let (seq, fault) = check(&copy).unwrap_err();
        assert!(matches!(fault, ChainFault::Changed { .. }), "{seq}: {fault}");
        // Who mends the hash as well breaks the link from the next.
        copy[2].hash = copy[2].computed_hash();
        let (seq, fault) = check(&copy).unwrap_err();
        let link = matches!(fault, ChainFault::Unlinked { .. });
        assert!(link && (3..=4).contains(&seq), "{seq}: {fault}");
    }
    let mut copy = records.to_vec();
    copy.remove(2);
    assert_eq!(check(&copy).unwrap_err().1, ChainFault::Misplaced { found: 4, expected: 3 });
    let mut copy = records.to_vec();
    copy.swap(1, 2);
    assert!(check(&copy).is_err());
}

#[test]
fn fields_do_not_run_into_each_other() {
    let record = written().audit.records()[1].clone();
    let moved = AuditRecord {
        what: format!("{}{}", record.what, record.detail),
        detail: String::new(),
        ..record.clone()
    };
    let shifted =
        AuditRecord { who: "ad".to_owned(), what: format!("a{}", record.what), ..record.clone() };
    let hashes = [record.computed_hash(), moved.computed_hash(), shifted.computed_hash()];
    assert!(hashes[0] != hashes[1] || record.detail.is_empty());
    assert_ne!(hashes[0], hashes[2]);
}

/// The form of the hash is a promise to whoever checks a copy with another program.
#[test]
fn the_hash_is_of_this_text() {
    let record = AuditRecord {
        seq: 1,
        index: 5,
        wall: WallMillis(1000),
        who: "ada".to_owned(),
        what: "arm".to_owned(),
        detail: String::new(),
        group: Some("default".into()),
        reason: "go".to_owned(),
        result: "done".to_owned(),
        previous: AUDIT_BEGINS.to_owned(),
        hash: String::new(),
    };
    let text = format!(
        "22:region-arbiter audit 1,1:1,1:5,4:1000,3:ada,3:arm,0:,7:default,2:go,4:done,64:{AUDIT_BEGINS},"
    );
    let expected = Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(record.computed_hash(), expected);
}

#[test]
fn state_keeps_the_newest_and_the_whole_chain() {
    let mut state = written();
    let seq = state.audit.seq;
    for n in 0..AUDIT_KEPT_MAX as u64 + 10 {
        let note = Command::NoteCall {
            call: "test-notify".to_owned(),
            group: None,
            detail: n.to_string(),
            result: "done".to_owned(),
        };
        state = settle_at(&state, &asked(note, &format!("n{n}")), 1000 + n);
    }
    assert_eq!(state.audit.records().len(), AUDIT_KEPT_MAX);
    assert_eq!(state.audit.seq, seq + AUDIT_KEPT_MAX as u64 + 10);
    assert_eq!(check(state.audit.records()), Ok(()));
    assert_eq!(state.audit.after(state.audit.seq - 3).len(), 3);
    assert_eq!(state.audit.after(0).len(), AUDIT_KEPT_MAX);
    assert!(state.audit.after(state.audit.seq).is_empty());
}

#[test]
fn a_copy_may_begin_late_repeat_and_tell_of_a_gap() {
    let state = written();
    let records = state.audit.records();
    let mut chain = AuditChain::default();
    assert_eq!(chain.next(&records[1]), Ok(Checked::First));
    assert_eq!(chain.next(&records[1]), Ok(Checked::Again));
    assert_eq!(chain.next(&records[2]), Ok(Checked::Linked));
    assert!(chain.clone().next(&records[4]).is_err());
    chain.gap();
    assert_eq!(chain.next(&records[4]), Ok(Checked::First));
    assert_eq!(chain.last(), Some((5, records[4].hash.as_str())));
    assert_eq!(AuditChain::default().next(&records[0]), Ok(Checked::Linked), "the first of all");
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let mut text = "é".repeat(AUDIT_TEXT_BYTES_MAX);
    cut(&mut text);
    assert!(text.len() <= AUDIT_TEXT_BYTES_MAX + '…'.len_utf8() && text.ends_with("é…"));
}

#[test]
fn what_is_later_than_a_record_is_found_and_outlives_a_snapshot() {
    let state = written();
    let audit = &state.audit;
    let newest = audit.seq;
    let after = |seq| audit.after(seq).iter().map(|record| record.seq).collect::<Vec<_>>();
    assert_eq!(after(newest), [0; 0]);
    assert_eq!(after(newest - 2), [newest - 1, newest]);
    assert_eq!(after(0), (1..=newest).collect::<Vec<_>>());
    let text = serde_json::to_string(audit).unwrap();
    assert_eq!(&serde_json::from_str::<AuditTrail>(&text).unwrap(), audit);
}

#[test]
fn a_text_is_cut_where_it_is_longer_than_a_record_holds() {
    for (length, kept) in [
        (AUDIT_TEXT_BYTES_MAX, AUDIT_TEXT_BYTES_MAX),
        (AUDIT_TEXT_BYTES_MAX + 1, AUDIT_TEXT_BYTES_MAX + '…'.len_utf8()),
    ] {
        let mut text = "a".repeat(length);
        cut(&mut text);
        assert_eq!(text.len(), kept, "{length}");
    }
}

/// In a few words what was asked: whoever reads the log must not guess.
#[test]
fn each_command_is_described_by_what_it_asks() {
    let mut world = World::in_mode(Mode::Manual);
    let plain =
        preflight(&world.state, &world.view, world.now, &world.request(PlanKind::Switchover));
    let plain = plain.unwrap();
    let described = |world: &World, command: Command| {
        let Described { what, group, detail } = describe(&world.state, &command);
        assert!(group.is_none_or(|id| id == crate::testing::group()));
        format!("{what}: {detail}")
    };
    let open = |change: &dyn Fn(&mut OpenPlan)| {
        let mut open = plain.clone();
        change(&mut open);
        open
    };
    let opened =
        |change: &dyn Fn(&mut OpenPlan)| described(&world, Command::OpenPlan(open(change)));
    assert_eq!(opened(&|_| ()), "switchover: to us-east, epoch 1");
    assert_eq!(opened(&|open| open.kind = PlanKind::Failover), "failover: to us-east, epoch 1");
    let hurried = opened(&|open| (open.immediate, open.accept_loss) = (true, true));
    assert_eq!(hurried, "switchover: to us-east, epoch 1, immediate, accepts loss");
    let named = opened(&|open| {
        open.accept_loss = true;
        open.overrides = [("rpo".to_owned(), true), ("lag".to_owned(), false)].into();
    });
    assert_eq!(named, "switchover: to us-east, epoch 1, overrides lag, overrides rpo");
    let (plan, took, stands) = (PlanId(4), ms(0), Default::default());
    let supersede = Command::Supersede { plan, open: open(&|_| ()), stands, took };
    assert_eq!(described(&world, supersede), "switchover: to us-east, epoch 1, supersedes plan 4");
    let (group, expected_epoch) = (group(), Epoch(1));
    let abort = Command::AbortPlan { group: group.clone(), plan, expected_epoch, took };
    assert_eq!(described(&world, abort), "abort-plan: plan 4");
    for (accept_loss, wanted) in [(true, "plan 4, overrides rpo"), (false, "plan 4")] {
        let resume =
            Command::ResumePlan { group: group.clone(), plan, expected_epoch, accept_loss };
        assert_eq!(described(&world, resume), format!("resume-plan: {wanted}"));
    }
    let (instance, token) = (InstanceId::from("db"), Token::new(1, 9));
    let waited = Waited { term: 1, elapsed: ms(0) };
    let attest = Command::Attest { group, plan, instance, token, waited };
    assert_eq!(described(&world, attest), "attest-fenced: db for plan 4, token 1.9");
    let changed = |world: &World, change: &dyn Fn(&mut ClusterSpec)| {
        let mut spec = world.state.spec.clone();
        change(&mut spec);
        described(world, Command::ApplyPolicy { spec })
    };
    let policy = |text: &str| format!("apply-policy: {text}");
    assert_eq!(changed(&world, &|_| ()), policy("nothing"));
    assert_eq!(changed(&world, &|spec| spec.regions.clear()), policy("regions"));
    assert_eq!(changed(&world, &|spec| spec.voters.clear()), policy("arbiters"));
    assert_eq!(changed(&world, &|spec| spec.agents.clear()), policy("agents"));
    assert_eq!(changed(&world, &|spec| spec.two_person = true), policy("two_person"));
    assert_eq!(changed(&world, &|spec| spec.groups.clear()), policy("group default"));
    world.state.spec.groups.clear();
    assert_eq!(changed(&world, &|_| ()), policy("nothing"));
}
