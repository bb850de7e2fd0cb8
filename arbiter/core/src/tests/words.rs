//! What is written into files, records and output is one word each, and reads back.

use crate::*;
use std::collections::BTreeSet;

/// The word in output is the one in files.
#[test]
fn words_are_the_same_wherever_they_are_written() {
    use EvidenceKind::{Attested, Confirmed, LeaseExpired, PowerOff, ProviderAsserted};
    fn of<T: serde::Serialize>(value: T) -> String {
        serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
    }
    for kind in [Attested, ProviderAsserted, LeaseExpired, PowerOff, Confirmed] {
        assert_eq!((kind.as_str(), kind.to_string()), (of(kind).as_str(), of(kind)));
    }
    for kind in DrillKind::ALL {
        assert_eq!(kind.as_str(), of(kind));
    }
    let phases = [DrillPhase::Rehearse, DrillPhase::Execute, DrillPhase::Check];
    for phase in phases.into_iter().chain([DrillPhase::FailBack]) {
        assert_eq!(phase.as_str(), of(phase));
    }
    for goal in [Goal::Active, Goal::Standby, Goal::Drained, Goal::Fenced] {
        assert_eq!(goal.to_string(), of(goal));
    }
    for step in STEPS {
        assert_eq!(step.id.to_string(), step.name);
        assert_eq!(step.id.as_str(), of(step.id));
    }
}

#[test]
fn each_kind_of_evidence_has_a_next_weaker_one_but_the_weakest() {
    use EvidenceKind::{Attested, Confirmed, LeaseExpired, PowerOff, ProviderAsserted};
    let falling = [Confirmed, PowerOff, LeaseExpired, ProviderAsserted, Attested, Attested];
    for pair in falling.windows(2) {
        assert_eq!(pair[0].one_lower(), pair[1]);
    }
}

#[test]
fn how_a_drill_ended_is_told_with_its_reason() {
    let why = "why".to_owned();
    assert_eq!(DrillEnd::Completed.words(), ("completed", ""));
    assert_eq!(DrillEnd::Failed(why.clone()).words(), ("failed", "why"));
    assert_eq!(DrillEnd::Interrupted(why.clone()).words(), ("interrupted", "why"));
    assert_eq!(DrillEnd::Aborted(why).words(), ("aborted", "why"));
}

#[test]
fn what_is_not_proven_names_the_instance() {
    let missing = Unproven::Missing("db".into()).to_string();
    assert_eq!(missing, "no evidence that db is fenced");
    let weak = Unproven::TooWeak("db".into(), EvidenceKind::Attested).to_string();
    assert_eq!(weak, "evidence for db is only attested, weaker than policy asks");
    assert_eq!(Unproven::OtherEpoch.to_string(), "the plan belongs to another epoch");
}

#[test]
fn one_token_has_one_text() {
    let token = Token::new(3, 40);
    assert_eq!(token.to_string(), "3.40");
    assert_eq!("3.40".parse(), Ok(token));
    for other in ["3", "3.", ".40", "3.40.1", "03.40", "+3.40", "3.040", " 3.40", "a.b", ""] {
        assert_eq!(other.parse::<Token>(), Err(()), "{other:?}");
    }
}

#[test]
fn positions_are_written_as_the_server_writes_them() {
    let position = Position { timeline: 2, offset: 0x16_B374_D848 };
    assert_eq!(position.to_string(), "2:16/B374D848");
    let lost = LostTransaction { id: 7, lsn: "0/1".into(), at: "noon".into() };
    assert_eq!(lost.to_string(), "7\t0/1\tnoon");
    assert_eq!((DrillId(7).to_string(), PlanId(8).to_string()), ("7".to_owned(), "8".to_owned()));
    assert_eq!(
        (RegionId::from("eu").to_string(), RegionId::from("eu").as_str()),
        ("eu".into(), "eu")
    );
}

#[test]
fn what_is_lacking_is_counted_on_one_timeline_alone() {
    let at = |timeline, offset| Position { timeline, offset };
    assert_eq!(at(1, 900).bytes_after(at(1, 400)), Some(500));
    assert_eq!(at(1, 900).bytes_after(at(1, 900)), Some(0));
    assert_eq!(at(1, 900).bytes_after(at(2, 100)), Some(0));
    assert_eq!(at(2, 900).bytes_after(at(1, 400)), None);
}

#[test]
fn a_zone_has_one_name_however_it_is_written() {
    assert_eq!(zone_name("Orders.Example.COM."), "orders.example.com");
    assert_eq!(zone_name("orders.example.com"), "orders.example.com");
}

#[test]
fn what_a_breach_refuses_is_told_by_its_number() {
    let breach = Breach { invariant: "I1", detail: "why".to_owned() };
    let Rejected::Breach { invariant, detail } = Rejected::from(breach) else { panic!() };
    assert_eq!((invariant.as_str(), detail.as_str()), ("I1", "why"));
}

#[test]
fn rows_stand_in_the_order_of_execution_and_those_up_to_the_epoch_can_be_undone() {
    let ids: Vec<StepId> = STEPS.iter().map(|step| step.id).collect();
    let sorted: BTreeSet<StepId> = ids.iter().copied().collect();
    assert_eq!(ids, sorted.into_iter().collect::<Vec<_>>());
    for id in ids {
        assert_eq!(id.before_point_of_no_return(), id < StepId::AdvanceEpoch);
    }
}

#[test]
fn a_policy_written_before_it_could_be_said_allows_automatic() {
    let mut written = serde_json::to_value(crate::testing::policy()).unwrap();
    written.as_object_mut().unwrap().remove("allow_automatic");
    assert!(serde_json::from_value::<Policy>(written).unwrap().allow_automatic);
}
