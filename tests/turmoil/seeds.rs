//! Seeds in which nothing may break, bugs that must be found when planted, and that a seed is
//! always the same run.

use std::process::{Command, Output};

/// Seeds within which each planted bug must be found.
const SEEDS_MAX: &str = "40";

fn turmoil(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_turmoil");
    Command::new(program).args(args).output().expect("the program starts")
}

fn text(output: &Output) -> String {
    let (out, errors) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(errors))
}

#[test]
fn nothing_breaks() {
    let output = turmoil(&["--seeds", "6", "--first", "1"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_seed_is_always_the_same_run() {
    let hash = |seed: &str| {
        let output = turmoil(&["--seed", seed]);
        let text = text(&output);
        let hash = text.lines().find_map(|line| line.strip_prefix("hash ").map(str::to_owned));
        hash.unwrap_or_else(|| panic!("no hash: {text}"))
    };
    let first = hash("1");
    assert_eq!(first, hash("1"), "one seed, two runs");
    assert_ne!(first, hash("2"), "two seeds, one run");
}

/// From a seed that is known to find it soon on; when the run changes, another one will.
fn found(plant: &str, first: &str) {
    let output = turmoil(&["--seeds", SEEDS_MAX, "--first", first, "--plant", plant]);
    assert!(output.status.success(), "{plant} is not found: {}", text(&output));
}

#[test]
fn a_read_without_a_quorum_is_found() {
    found("StaleRead", "1");
}

#[test]
fn a_vote_that_is_not_durable_is_found() {
    found("UnsyncedVote", "6");
}

#[test]
fn an_entry_that_is_not_durable_is_found() {
    found("UnsyncedEntries", "1");
}

#[test]
fn what_is_done_twice_is_found() {
    found("AskedTwiceDoneTwice", "1");
}
