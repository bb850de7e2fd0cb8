//! `hosts [CASE…]`: runs the cases on real processes, one after the other.

use arbiter_tests::hosts::{Case, cases};
use std::process::ExitCode;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.iter().any(|name| name == "--list") {
        for case in cases() {
            println!("{:<28} {}", case.name, case.holds);
        }
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("hosts: network namespaces need root; nothing was run");
        return ExitCode::from(2);
    }
    let unknown = wanted.iter().find(|name| cases().iter().all(|case| case.name != **name));
    if let Some(name) = unknown {
        eprintln!("hosts: no case {name:?}; `hosts --list` names them; nothing was run");
        return ExitCode::from(2);
    }
    let chosen: Vec<Case> = cases()
        .into_iter()
        .filter(|case| wanted.is_empty() || wanted.iter().any(|name| name == case.name))
        .collect();
    let (mut passed, mut failed) = (0, Vec::new());
    let began = arbiter::clock::now();
    for case in &chosen {
        eprintln!("-- {}: {}", case.name, case.holds);
        let started = arbiter::clock::now();
        match case.run() {
            Ok(()) => passed += 1,
            Err(error) => {
                eprintln!("-- {}: FAILED: {error}", case.name);
                failed.push(case.name);
            }
        }
        let took = arbiter::clock::now().since(started);
        eprintln!("-- {}: {:.1} s", case.name, took.as_secs_f64());
    }
    for name in &failed {
        eprintln!("failed: {name}");
    }
    let took = arbiter::clock::now().since(began).as_secs();
    println!("{passed} passed, {} failed, {took} s", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
