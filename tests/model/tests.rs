//! The scopes that every run of the tests looks through, and the bugs that they must find.

use arbiter_core::plant::Plant;
use arbiter_tests::model::check::{Bound, Found, check};
use arbiter_tests::model::scope::{Flaw, Left, SCOPES, scope};

/// A bug that needs more steps than this is not found.
const STEPS_MAX: usize = 400_000;

const SHORT: Bound =
    Bound { full: false, left: None, depth: 0, states: 0, threads: 2, progress: false };

#[test]
fn no_scope_breaks_an_invariant_and_what_should_happen_does() {
    let found: Vec<(&str, Found)> =
        SCOPES.iter().map(|scope| (scope.name, check(scope, SHORT, None))).collect();
    found.iter().for_each(|(name, found)| println!("{name:<9} {found}"));
    for (name, found) in found {
        assert!(found.broken.is_none() && found.never.is_empty(), "{name}: {found}");
        assert!(found.exhausted, "{name} is looked through to its bound");
    }
}

/// What `flaw` breaks, with no more faults than it needs; nothing may break without it.
fn finds(name: &str, left: Left, flaw: Flaw, breaks: &str) {
    let scope = scope(name).expect("a known scope");
    let bound = Bound { left: Some(left), states: STEPS_MAX, threads: 1, ..SHORT };
    let found = check(scope, bound, Some(flaw));
    let broken = found.broken.as_ref().map(|(name, _)| name.split(':').next().unwrap_or(name));
    assert_eq!(broken, Some(breaks), "{name}: {found}");
}

macro_rules! planted {
    ($(
        $test:ident $scope:literal { $($what:ident $times:literal),* } $flaw:expr, $breaks:literal
    )*) => {
        $(#[test]
        fn $test() {
            use Flaw::*;
            let left = Left { $($what: $times,)* ..Left::default() };
            finds($scope, left, $flaw, $breaks);
        })*
    };
}

// Each with what may happen on the way, and the invariant that it breaks. What takes two groups,
// late forks or a policy that changes (`DeadmanKillsOnce`, `OneDeadlineForAll`, `LoweredTooEarly`,
// `ArmedBeforeDeadline`, `NotFencedAtBoot`, `DisarmedDuringPlan`) the simulator finds.
planted! {
    finds_the_fence_skipped "lease" { waits 1, opens 1, exchanges 2 }
        Core(Plant::FenceSkipped), "I3"
    finds_a_wait_of_only_l "lease" { waits 1, opens 1 }
        Core(Plant::WaitedOnlyL), "I3"
    finds_a_lease_counted_from_receipt "lease" { waits 2, reports 1, opens 1 }
        Core(Plant::LeaseFromReceipt), "I3"
    finds_a_clock_beyond_rho "lease" { waits 1, opens 1 }
        ClockBeyondRho, "I3"
    finds_a_deadman_that_sleeps "lease" { waits 1 }
        DeadmanSleeps, "I4"
    finds_an_answer_recorded_after_the_check "lease" { waits 2, reports 1, opens 1 }
        Core(Plant::AnswerRecordedAfterCheck), "I3"
    finds_old_answers_remembered "election" { waits 2, reports 1, opens 1, elections 2 }
        Core(Plant::OldAnswersRemembered), "I3"
    finds_an_answer_without_a_quorum_round "election" { waits 2, reports 1, opens 1, elections 1 }
        Core(Plant::NoQuorumRound), "I3"
    finds_evidence_of_an_aborted_plan "abort" { waits 1, reports 1, opens 2, aborts 1 }
        Core(Plant::EvidenceOfAbortedPlan), "I3"
    finds_an_older_revision_obeyed "restart" { opens 1, aborts 1, restarts 1 }
        Core(Plant::OlderRevisionObeyed), "I10"
    finds_a_token_lost_at_restart "restart" { opens 1, aborts 1, restarts 1 }
        Core(Plant::TokenLostAtRestart), "I10"
    finds_a_token_that_the_disk_forgot "restart" { opens 1, aborts 1 }
        TokenNotKept, "I10"
    finds_start_files_kept_over_a_reboot "restart" { waits 1, reboots 1 }
        Core(Plant::StartFilesKept), "I4"
    finds_a_zone_that_takes_all "traffic" { waits 1, opens 2, aborts 1, exchanges 2 }
        ZoneTakesAll, "I7"
}
