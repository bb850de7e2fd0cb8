//! The seeds that every run of the tests passes, the bugs that they must find, and the scenarios.

use arbiter_core::STEPS;
use arbiter_core::plant::Plant;
use arbiter_tests::sim::coverage::{Counts, SEEN};
use arbiter_tests::sim::file::File;
use arbiter_tests::sim::many::{Done, Limits, many};
use arbiter_tests::sim::shrink::shrink;
use arbiter_tests::sim::table::{self, Cells};
use arbiter_tests::sim::{Options, product, run};

/// Seeds of one run of the tests.
const SEEDS: u64 = 500;
/// Threads that share them.
const THREADS: u64 = 2;

/// The seeds from 1 on; up to the first that breaks something, if `first_only`.
fn seeds(options: Options, first_only: bool) -> Done {
    let limits = Limits { first: 1, seeds: SEEDS, steps: None, jobs: THREADS };
    many(limits, options, first_only, &mut |_| {})
}

fn never_seen(counts: &Counts) -> Vec<&'static str> {
    let happened = |what: &str| counts.get(what).is_some_and(|times| *times > 0);
    SEEN.iter().copied().filter(|what| !happened(what)).collect()
}

/// Each part of a group × each row × once or for good, in each way to fail and each kind of plan.
fn play_all() -> (Vec<String>, Cells) {
    let cases: Vec<_> = product::cases().collect();
    assert_eq!(cases.len(), product::Part::ALL.len() * STEPS.len() * 3 * 2 * 3);
    let share = cases.len().div_ceil(THREADS as usize);
    let play = |cases: &[product::Case]| {
        let (mut wrong, mut cells) = (Vec::new(), Cells::new());
        for case in cases {
            let played = product::play(*case, false);
            let expected = product::expected(*case);
            let ending = &played.ending;
            if !ending.as_ref().is_ok_and(|end| expected.contains(end.letter(case.row))) {
                let again = format!("./tests/run sim --product --trace --only '{case}'");
                wrong.push(format!("{case}: {ending:?}, not {expected:?}; {again}"));
            }
            table::add(&mut cells, played.cells);
        }
        (wrong, cells)
    };
    let (mut wrong, mut cells) = (Vec::new(), Cells::new());
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            cases.chunks(share).map(|cases| scope.spawn(move || play(cases))).collect();
        for thread in threads {
            let (more, seen) = thread.join().expect("no panic");
            wrong.extend(more);
            table::add(&mut cells, seen);
        }
    });
    (wrong, cells)
}

/// Seeds and product in one test: what each row can come to must have been seen in one of them.
#[test]
fn nothing_breaks_each_part_fails_in_each_row_and_the_whole_plan_table_is_seen() {
    let done = seeds(Options::default(), true);
    if let Some((seed, what)) = done.first_broken {
        panic!("seed {seed}: {what}\nreplay: ./tests/run sim --seeds 1 --first {seed} --trace");
    }
    let (never, counts) = (never_seen(&done.counts), &done.counts);
    assert!(never.is_empty(), "never seen: {never:?}; seen: {counts:#?}");
    let (wrong, mut cells) = play_all();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    table::add(&mut cells, done.cells);
    let faults = table::faults(&cells);
    assert!(faults.is_empty(), "{}\n{}", table::text(&cells), faults.join("\n"));
}

#[test]
fn a_seed_replays() {
    let options = Options { trace: true, ..Options::default() };
    assert_eq!(run(7, options).trace, run(7, options).trace);
}

/// What its people did was written down: given again, the world goes the same way.
#[test]
fn a_seed_written_to_a_file_replays() {
    let options = Options { trace: true, ..Options::default() };
    let outcome = run(7, options);
    let scenario = outcome.script.clone();
    let file = File { about: vec!["Seed 7.".to_owned()], plant: None, breaks: None, scenario };
    let read = File::parse(&file.text()).expect("a file that was written can be read");
    assert_eq!(read, file);
    let again = arbiter_tests::sim::replay(read.scenario, options);
    let until_healed = |trace: &[String]| {
        let healed = trace.iter().position(|line| line.contains("all is mended"));
        trace[..healed.expect("it is mended")].to_vec()
    };
    assert_eq!(until_healed(&again.trace), until_healed(&outcome.trace));
}

#[test]
fn a_file_that_says_nothing_known_is_refused_by_line() {
    let fault = |text: &str| File::parse(text).expect_err("it is refused");
    let begin = "expect holds\ncluster pace=metro hosts=2 delay=0.002s clocks=0\ngroup\n";
    assert!(File::parse(&format!("{begin}heal 20s\n")).is_ok());
    assert!(fault("expect nothing").contains("line 1"));
    assert!(fault(&format!("{begin}at 3 fault quiet\n")).contains("no time"));
    assert!(fault(&format!("{begin}at 3s fault burn host=1\n")).contains("line 4"));
    assert!(fault(&format!("{begin}at 3s wish g2 arm\nheal 20s\n")).contains("no group g2"));
    let far = format!("{begin}at 3s fault kill-deadman host=2\nheal 20s\n");
    assert!(fault(&far).contains("has not"));
    assert!(fault(&format!("plant Nobody\n{begin}")).contains("Nobody"));
    assert!(fault(begin).contains("mended"));
}

/// Every file of `tests/scenarios` ends as it says.
#[test]
fn scenarios_end_as_they_say() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let (mut wrong, mut read) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder).expect("the folder of scenarios").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|ext| ext != "scenario") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("it can be read");
        if let Err(how) = File::parse(&text).and_then(|file| file.replay()) {
            wrong.push(format!("{}: {how}", path.display()));
        }
        read += 1;
    }
    assert!(read >= 5, "only {read} scenarios in {folder}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A bug that seeds find shrinks to a few lines, which a file keeps.
#[test]
fn what_breaks_shrinks_to_a_short_scenario() {
    let options = Options { plant: Some(Plant::FenceSkipped), only: "I1:", ..Options::default() };
    let (seed, _) = seeds(options, true).first_broken.expect("the bug is found");
    let file = shrink(&run(seed, options), options, &mut |_| {}).expect("it shrinks");
    let least = &file.scenario;
    let (faults, wishes) = (least.faults.len(), least.wishes.len());
    assert!(faults + wishes <= 8, "{faults} faults and {wishes} wishes are left:\n{}", file.text());
    let read = File::parse(&file.text()).expect("it can be read");
    assert_eq!(read.replay(), Ok(()));
}

/// Within ρ nothing breaks, as every other seed shows. Clocks that are ten times as wrong are more
/// than any wait allows for, and that is seen.
#[test]
fn clocks_beyond_rho_are_caught() {
    let options = Options { beyond: Some(50_000), only: "I1:", ..Options::default() };
    assert!(seeds(options, true).first_broken.is_some(), "no seed shows two regions writing");
}

macro_rules! planted {
    ($($test:ident $bug:ident $breaks:literal)*) => {
        $(#[test]
        fn $test() {
            let plant = Some(Plant::$bug);
            let options = Options { plant, only: $breaks, ..Options::default() };
            let found = seeds(options, true).first_broken;
            assert!(found.is_some(), "no seed breaks {}", $breaks);
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
    finds_a_version_raised_too_early VersionRaisedTooEarly "version:"
}
