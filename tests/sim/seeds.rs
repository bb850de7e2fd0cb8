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
    ($($test:ident $bug:ident $breaks:literal)*) => {
        $(#[test]
        fn $test() {
            let options = Options { plant: Some(Plant::$bug), only: $breaks, trace: false };
            assert!(first_broken(options).is_some(), "no seed breaks {}", $breaks);
        })*

        #[test]
        fn every_bug_is_looked_for() {
            assert_eq!(Plant::ALL, [$(Plant::$bug),*]);
        }
    };
}

// Each with what it breaks: the harm that it does, or where that takes more luck than these seeds
// have, the sentence of the design. Nothing else counts as found.
planted! {
    finds_the_fence_skipped FenceSkipped "I1:"
    finds_a_lease_counted_from_receipt LeaseFromReceipt "lease: the deadline"
    finds_old_answers_remembered OldAnswersRemembered "I3:"
    finds_an_older_revision_obeyed OlderRevisionObeyed "I10:"
    finds_an_answer_without_a_quorum_round NoQuorumRound "lease: a leader deposed"
    finds_a_wait_of_only_l WaitedOnlyL "I3:"
    finds_evidence_of_an_aborted_plan EvidenceOfAbortedPlan "I1:"
    finds_l_lowered_too_early LoweredTooEarly "I3:"
    finds_an_answer_recorded_after_the_check AnswerRecordedAfterCheck "lease: "
    finds_a_deadman_that_kills_once DeadmanKillsOnce "I4:"
    finds_one_deadline_for_two_groups OneDeadlineForAll "I4:"
    finds_an_arming_before_its_deadline ArmedBeforeDeadline "I4:"
    finds_a_source_disarmed_during_a_plan DisarmedDuringPlan "I3:"
    finds_a_token_lost_at_restart TokenLostAtRestart "I10:"
    finds_a_resource_not_fenced_at_boot NotFencedAtBoot "I4:"
    finds_start_files_kept_over_a_reboot StartFilesKept "I4:"
}
