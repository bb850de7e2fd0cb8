//! `bench [CASE] [--runs N] [--json]`: what users wait for, measured on real processes.

mod cases;
mod commit;
mod floor;
mod idle;
mod loopback;

use arbiter_tests::hosts::stage::Figures;
use cases::Bench;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Runs of each case, unless `--runs` says otherwise.
const RUNS: u32 = 5;

fn main() -> ExitCode {
    let all: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--part", rest)) = all.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return match floor::part(rest) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => usage(&error.to_string()),
        };
    }
    let mut arguments = all.into_iter();
    let (mut wanted, mut json, mut runs) = (Vec::new(), false, RUNS);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--runs" => match arguments.next().and_then(|text| text.parse().ok()) {
                Some(number) if number > 0 => runs = number,
                _ => return usage("--runs takes a number from 1"),
            },
            name => wanted.push(name.to_owned()),
        }
    }
    if !nix::unistd::geteuid().is_root() {
        return usage("network namespaces need root; nothing was measured");
    }
    let chosen: Vec<Bench> = cases::BENCHES
        .iter()
        .copied()
        .filter(|b| wanted.is_empty() || wanted.iter().any(|name| name == b.name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = cases::BENCHES.iter().map(|b| b.name).collect();
        return usage(&format!("no such case; cases are {}", names.join(", ")));
    }
    let mut failed = false;
    for bench in chosen {
        match measure(&bench, runs) {
            Ok(figures) => print(bench.name, bench.runs.unwrap_or(runs), &figures, json),
            Err(error) => {
                eprintln!("{}: FAILED: {error}", bench.name);
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("bench: {problem}");
    ExitCode::from(2)
}

/// Run a case `runs` times; every value of every figure.
fn measure(bench: &Bench, runs: u32) -> std::io::Result<BTreeMap<String, Vec<f64>>> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let runs = bench.runs.unwrap_or(runs);
    for run in 1..=runs {
        eprintln!("-- {} {run}/{runs}: {}", bench.name, bench.measures);
        let figures: Figures = bench.play()?;
        for (name, value) in figures {
            all.entry(name).or_default().push(value);
        }
    }
    Ok(all)
}

/// Minimum, median and maximum.
fn spread(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len() - 1;
    [sorted[0], sorted[last / 2], sorted[last]]
}

fn print(name: &str, runs: u32, figures: &BTreeMap<String, Vec<f64>>, json: bool) {
    if !json {
        println!("{name} ({runs} runs)");
        for (figure, values) in figures {
            let [min, median, max] = spread(values);
            println!("  {figure:<32} {min:>12.1} {median:>12.1} {max:>12.1}");
        }
        return;
    }
    let mut object = serde_json::Map::new();
    object.insert("case".into(), name.into());
    object.insert("runs".into(), runs.into());
    let mut phases = serde_json::Map::new();
    for (figure, values) in figures {
        let [min, median, max] = spread(values);
        let value = serde_json::json!({ "min": min, "median": median, "max": max });
        match figure.strip_prefix("phases_ms.") {
            Some(phase) => phases.insert(phase.into(), value),
            None => object.insert(figure.clone(), value),
        };
    }
    if !phases.is_empty() {
        object.insert("phases_ms".into(), phases.into());
    }
    println!("{}", serde_json::Value::Object(object));
}
