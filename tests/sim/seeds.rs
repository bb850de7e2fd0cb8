//! The seeds that every run of the tests passes, and the bugs that they must find.

use arbiter_core::STEPS;
use arbiter_core::plant::Plant;
use arbiter_tests::sim::coverage::{Counts, SEEN, add};
use arbiter_tests::sim::{Options, product, run};

/// Seeds of one run of the tests.
const SEEDS: u64 = 500;
/// Threads that share them.
const THREADS: u64 = 2;

/// The first seed of those from 1 that breaks something, with what, and what happened until then.
fn first_broken(options: Options) -> (Option<(u64, String)>, Counts) {
    let look = move |thread| {
        let mut counts = Counts::new();
        for seed in (1..=SEEDS).filter(|seed| seed % THREADS == thread) {
            let outcome = run(seed, options);
            add(&mut counts, outcome.counts);
            if let Some(what) = outcome.broken {
                return (Some((seed, what)), counts);
            }
        }
        (None, counts)
    };
    let threads: Vec<_> =
        (0..THREADS).map(|thread| std::thread::spawn(move || look(thread))).collect();
    let (mut broken, mut counts) = (None, Counts::new());
    for thread in threads {
        let (first, seen) = thread.join().expect("no panic");
        broken = [broken, first].into_iter().flatten().min();
        add(&mut counts, seen);
    }
    (broken, counts)
}

#[test]
fn nothing_breaks_though_everything_happens() {
    let (broken, counts) = first_broken(Options::default());
    if let Some((seed, what)) = broken {
        panic!("seed {seed}: {what}\nreplay: ./tests/run sim --seeds 1 --first {seed} --trace");
    }
    let happened = |what: &str| counts.get(what).is_some_and(|times| *times > 0);
    let never: Vec<_> = SEEN.iter().filter(|what| !happened(what)).collect();
    assert!(never.is_empty(), "never seen: {never:?}; seen: {counts:#?}");
}

/// Each part of a group × each row × once or for good, in each way to fail and each kind of plan.
#[test]
fn each_part_fails_in_each_row_and_the_plan_ends_as_the_table_says() {
    let cases: Vec<_> = product::cases().collect();
    assert_eq!(cases.len(), product::Part::ALL.len() * STEPS.len() * 3 * 2 * 3);
    let share = cases.len().div_ceil(THREADS as usize);
    let shares = cases.chunks(share).map(<[_]>::to_vec);
    let play = |cases: Vec<product::Case>| cases.into_iter().filter_map(wrong).collect::<Vec<_>>();
    let threads: Vec<_> = shares.map(|cases| std::thread::spawn(move || play(cases))).collect();
    let wrong = threads.into_iter().flat_map(|thread| thread.join().expect("no panic"));
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Of a case that does not end as it must: how it ended, and how to see it again.
fn wrong(case: product::Case) -> Option<String> {
    let expected = product::expected(case);
    let (ending, _) = product::play(case, false);
    let well = ending.as_ref().is_ok_and(|end| expected.contains(end.letter(case.row)));
    let again = format!("./tests/run sim --product --trace --only '{case}'");
    (!well).then(|| format!("{case}: {ending:?}, not {expected:?}; {again}"))
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
            assert!(first_broken(options).0.is_some(), "no seed breaks {}", $breaks);
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
