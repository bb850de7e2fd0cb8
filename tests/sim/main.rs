//! `sim`: runs seeds of the simulator, or replays one with its transcript.
//!
//! Exit 0: nothing was broken (or what was planted was found). 1: something was. 2: bad arguments.

use arbiter_core::plant::Plant;
use arbiter_tests::sim::coverage::{Counts, add};
use arbiter_tests::sim::{Options, product, run};
use std::collections::BTreeMap;
use std::process::ExitCode;

const USAGE: &str =
    "usage: sim [--seeds N] [--first S] [--plant NAME|list] [--only WORDS] [--trace]
       sim --product [--only WORDS] [--trace]";

fn main() -> ExitCode {
    let (mut seeds, mut first, mut options) = (500u64, 1u64, Options::default());
    let mut whole = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let known = match arg.as_str() {
            "--seeds" => number(args.next()).map(|given| seeds = given),
            "--first" => number(args.next()).map(|given| first = given),
            "--product" => {
                whole = true;
                Some(())
            }
            "--trace" => {
                options.trace = true;
                Some(())
            }
            // A process of its own ends soon; the words may stay as long.
            "--only" => args.next().map(|words| options.only = words.leak()),
            "--plant" => {
                let name = args.next().unwrap_or_default();
                if name == "list" {
                    Plant::ALL.iter().for_each(|bug| println!("{bug:?}"));
                    return ExitCode::SUCCESS;
                }
                let bug = Plant::ALL.iter().find(|bug| format!("{bug:?}") == name);
                bug.map(|bug| options.plant = Some(*bug))
            }
            _ => None,
        };
        if known.is_none() {
            eprintln!("{arg}: {USAGE}");
            return ExitCode::from(2);
        }
    }
    if whole { whole_product(options) } else { go(seeds, first, options) }
}

/// Every case whose words have those of `--only`, and how each ended.
fn whole_product(options: Options) -> ExitCode {
    let (mut ended, mut broken) = (BTreeMap::new(), 0);
    for case in product::cases().filter(|case| case.to_string().contains(options.only)) {
        let (ending, trace) = product::play(case, options.trace);
        trace.iter().for_each(|line| println!("{line}"));
        let letter = ending.as_ref().map_or('!', |ending| ending.letter(case.row));
        let expected = product::expected(case);
        if !expected.contains(letter) {
            broken += 1;
            println!("{case}: {letter}, not {expected:?}: {ending:?}");
        }
        ended.insert(case, letter);
    }
    print!("{}", product::table(|case| ended.get(&case).copied().unwrap_or('.')));
    println!("{} cases, {broken} not as expected", ended.len());
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn go(seeds: u64, first: u64, options: Options) -> ExitCode {
    let (mut steps, mut epochs, mut broken) = (0, 0, 0);
    let mut counts = Counts::new();
    for seed in first..first + seeds {
        let outcome = run(seed, options);
        for line in &outcome.trace {
            println!("{line}");
        }
        steps += outcome.steps;
        epochs += outcome.epochs;
        add(&mut counts, outcome.counts);
        if let Some(what) = outcome.broken {
            broken += 1;
            println!("seed {seed}: {what}");
            println!("replay: ./tests/run sim --seeds 1 --first {seed} --trace");
            if options.plant.is_some() {
                return ExitCode::SUCCESS;
            }
        }
    }
    counts.iter().for_each(|(what, times)| println!("{times:>9} {what}"));
    println!("{seeds} seeds, {steps} steps, {epochs} epochs, {broken} broken");
    if (broken > 0) == options.plant.is_some() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
