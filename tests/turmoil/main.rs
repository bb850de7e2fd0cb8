//! `turmoil`: real Raft, leader and gRPC faces in simulated hosts, on simulated disks, links and
//! clocks, under faults. Each seed is a process of its own, so that nothing is left of the former.
//!
//! Exit 0: nothing was broken (or what was planted was found). 1: something was. 2: bad arguments.
//!
//! # Layout
//! - `run`: one seed; `node`, `agent`, `client`: who lives in it; `faults`: what goes wrong
//! - `oracle`: what must hold at every instant; the history is checked by `arbiter_tests::history`
//! - `net`, `os`: the network and the kernel of a simulated host

mod agent;
mod client;
mod faults;
mod net;
mod node;
mod oracle;
mod os;
#[path = "../sim/rng.rs"]
mod rng;
mod run;

use run::Plant;
use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Output};

const USAGE: &str = "usage: turmoil [--seeds N] [--first S] [--plant NAME|list] [--jobs N]
       turmoil --seed S [--plant NAME] [--trace]";

#[derive(Clone, Default)]
struct Options {
    seeds: u64,
    first: u64,
    one: Option<u64>,
    plant: Option<Plant>,
    trace: bool,
    jobs: usize,
}

fn main() -> ExitCode {
    let mut options = Options { seeds: 20, first: 1, jobs: 2, ..Options::default() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let known = match arg.as_str() {
            "--seeds" => number(args.next()).map(|given| options.seeds = given),
            "--first" => number(args.next()).map(|given| options.first = given),
            "--jobs" => number(args.next()).map(|given| options.jobs = (given as usize).max(1)),
            "--seed" => number(args.next()).map(|given| options.one = Some(given)),
            "--trace" => {
                options.trace = true;
                Some(())
            }
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
    match options.one {
        Some(seed) => one(seed, &options),
        None => many(&options),
    }
}

fn one(seed: u64, options: &Options) -> ExitCode {
    let outcome = run::run(seed, options.plant, options.trace);
    for (what, times) in &outcome.counts {
        println!("count {times} {what}");
    }
    println!("hash {:016x}", outcome.hash);
    match outcome.broken {
        None => ExitCode::SUCCESS,
        Some(what) => {
            println!("broken {what}");
            ExitCode::from(1)
        }
    }
}

/// What a process said of its seed.
fn said(output: &Output, counts: &mut BTreeMap<String, u64>) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        if let (Some("count"), Some(Ok(times)), Some(what)) =
            (words.next(), words.next().map(str::parse::<u64>), words.next())
        {
            *counts.entry(what.to_owned()).or_default() += times;
        }
    }
    if output.status.success() {
        return None;
    }
    let broken = text.find("\nbroken ").map(|at| text[at + 8..].trim().to_owned());
    let errors = String::from_utf8_lossy(&output.stderr);
    Some(broken.unwrap_or_else(|| format!("it ended with {}: {}", output.status, errors.trim())))
}

fn many(options: &Options) -> ExitCode {
    let program = std::env::current_exe().expect("this program");
    let (mut counts, mut broken, mut ran) = (BTreeMap::new(), 0, 0);
    let mut seeds = (options.first..options.first + options.seeds).peekable();
    while seeds.peek().is_some() {
        let started: Vec<_> = seeds
            .by_ref()
            .take(options.jobs)
            .map(|seed| {
                let mut command = Command::new(&program);
                command.args(["--seed", &seed.to_string()]);
                command
                    .args(options.plant.iter().flat_map(|p| ["--plant".into(), format!("{p:?}")]));
                command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
                (seed, command.spawn().expect("this program starts again"))
            })
            .collect();
        for (seed, child) in started {
            let output = child.wait_with_output().expect("it ends");
            ran += 1;
            let Some(what) = said(&output, &mut counts) else { continue };
            broken += 1;
            let plant = options.plant.map(|p| format!(" --plant {p:?}")).unwrap_or_default();
            println!("seed {seed}: {what}");
            println!("replay: ./tests/run turmoil --seed {seed}{plant} --trace");
        }
        if options.plant.is_some() && broken > 0 {
            break;
        }
    }
    counts.iter().for_each(|(what, times)| println!("{times:>9} {what}"));
    println!("{ran} seeds, {broken} broken");
    if (broken > 0) == options.plant.is_some() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
