//! The seeds that every run of the tests passes, and the bugs that they must find.

use arbiter_core::plant::Plant;
use arbiter_tests::sim::{Options, run};

/// Seeds of one run of the tests.
const SEEDS: u64 = 500;
/// Threads that share them.
const THREADS: u64 = 2;

/// The first seed of those from 1 that breaks something, with what.
fn first_broken(options: Options) -> Option<(u64, String)> {
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            std::thread::spawn(move || {
                (1..=SEEDS)
                    .filter(|seed| seed % THREADS == thread)
                    .find_map(|seed| run(seed, options).broken.map(|what| (seed, what)))
            })
        })
        .collect();
    threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).min()
}

#[test]
fn nothing_breaks() {
    if let Some((seed, what)) = first_broken(Options::default()) {
        panic!("seed {seed}: {what}\nreplay: ./tests/run sim --seeds 1 --first {seed} --trace");
    }
}

#[test]
fn a_seed_replays() {
    let options = Options { trace: true, ..Options::default() };
    assert_eq!(run(7, options).trace, run(7, options).trace);
}

macro_rules! planted {
    ($($test:ident $bug:ident)*) => {$(
        #[test]
        fn $test() {
            let options = Options { plant: Some(Plant::$bug), trace: false };
            assert!(first_broken(options).is_some(), "no seed found it");
        }
    )*};
}

planted! {
    finds_the_fence_skipped FenceSkipped
    finds_a_lease_counted_from_receipt LeaseFromReceipt
    finds_old_answers_remembered OldAnswersRemembered
    finds_an_older_revision_obeyed OlderRevisionObeyed
    finds_an_answer_without_a_quorum_round NoQuorumRound
    finds_a_wait_of_only_l WaitedOnlyL
    finds_evidence_of_an_aborted_plan EvidenceOfAbortedPlan
    finds_l_lowered_too_early LoweredTooEarly
    finds_an_answer_recorded_after_the_check AnswerRecordedAfterCheck
    finds_a_deadman_that_kills_once DeadmanKillsOnce
    finds_one_deadline_for_two_groups OneDeadlineForAll
    finds_an_arming_before_its_deadline ArmedBeforeDeadline
    finds_a_source_disarmed_during_a_plan DisarmedDuringPlan
    finds_a_token_lost_at_restart TokenLostAtRestart
    finds_a_resource_not_fenced_at_boot NotFencedAtBoot
}
