//! `hosts [--jobs N] [CASE…]`: runs the cases on real processes, each in a process of its own.

use arbiter_tests::hosts::{Case, cases};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const USAGE: &str = "usage: hosts [--jobs N] [CASE…] | --list";

/// What is asked of this process.
struct Asked {
    jobs: usize,
    names: Vec<String>,
}

fn main() -> ExitCode {
    let Some(asked) = asked() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if asked.names.iter().any(|name| name == "--list") {
        for case in cases() {
            println!("{:<28} {}", case.name, case.holds);
        }
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("hosts: network namespaces need root; nothing was run");
        return ExitCode::from(2);
    }
    let unknown = asked.names.iter().find(|name| cases().iter().all(|case| case.name != **name));
    if let Some(name) = unknown {
        eprintln!("hosts: no case {name:?}; `hosts --list` names them; nothing was run");
        return ExitCode::from(2);
    }
    let chosen: Vec<Case> = cases()
        .into_iter()
        .filter(|case| asked.names.is_empty() || asked.names.iter().any(|name| name == case.name))
        .collect();
    let began = arbiter::clock::now();
    let failed = if let [case] = chosen.as_slice() {
        play(case).into_iter().collect()
    } else {
        play_all(&chosen, asked.jobs)
    };
    for name in &failed {
        eprintln!("failed: {name}");
    }
    let took = arbiter::clock::now().since(began).as_secs();
    println!("{} passed, {} failed, {took} s", chosen.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn asked() -> Option<Asked> {
    let mut asked = Asked { jobs: 1, names: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--jobs" => asked.jobs = words.next()?.parse().ok().filter(|jobs| *jobs > 0)?,
            _ => asked.names.push(word),
        }
    }
    Some(asked)
}

/// In this process. Its name, if it failed.
fn play(case: &Case) -> Option<&'static str> {
    eprintln!("-- {}: {}", case.name, case.holds);
    let started = arbiter::clock::now();
    let failed = case.run().err();
    if let Some(error) = &failed {
        eprintln!("-- {}: FAILED: {error}", case.name);
    }
    let took = arbiter::clock::now().since(started);
    eprintln!("-- {}: {:.1} s", case.name, took.as_secs_f64());
    failed.map(|_| case.name)
}

/// Each in a process of its own, `jobs` at a time, and then those that want to be alone. The names
/// of those that failed.
fn play_all(chosen: &[Case], jobs: usize) -> Vec<&'static str> {
    let (quiet, others): (Vec<Case>, Vec<Case>) = chosen.iter().partition(|case| case.quiet);
    [play_some(&others, jobs), play_some(&quiet, 1)].concat()
}

fn play_some(chosen: &[Case], jobs: usize) -> Vec<&'static str> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(case) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !passes(case) {
                        failed.lock().unwrap_or_else(|held| held.into_inner()).push(case.name);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(|held| held.into_inner())
}

/// What it says is shown once it is over, so that two do not talk at once.
fn passes(case: &Case) -> bool {
    let played = std::env::current_exe().and_then(|own| {
        Command::new(own).arg(case.name).stdin(Stdio::null()).stdout(Stdio::null()).output()
    });
    match played {
        Ok(output) => {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            output.status.success()
        }
        Err(error) => {
            eprintln!("-- {}: FAILED: {error}", case.name);
            false
        }
    }
}
