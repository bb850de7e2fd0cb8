//! `model`: looks at every state of each scope within its bound, and prints how many there are.
//!
//! Exit 0: nothing was broken (or what was planted was found). 1: something was. 2: bad arguments.

use arbiter_core::plant::Plant;
use arbiter_tests::model::check::{Bound, check};
use arbiter_tests::model::scope::{Flaw, SCOPES, Scope, scope};
use std::process::ExitCode;

const USAGE: &str = "usage: model [SCOPE…] [--full] [--depth N] [--states N] [--threads N] \
     [--plant NAME|list] [--quiet]
       --full     the larger budgets: minutes to hours
       --depth    paths of at most N steps; as many as budgets allow without it
       --states   stop after N steps have been taken; the run is then not exhaustive";

/// What was asked.
struct Asked {
    bound: Bound,
    scopes: Vec<&'static Scope>,
    flaw: Option<Flaw>,
}

fn main() -> ExitCode {
    let asked = match asked(std::env::args().skip(1)) {
        Ok(Some(asked)) => asked,
        Ok(None) => return ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("{wrong}: {USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut good = true;
    let (mut states, mut steps) = (0, 0);
    for scope in &asked.scopes {
        let found = check(scope, asked.bound, asked.flaw);
        states += found.states;
        steps += found.steps;
        println!("{:<9} {found}", scope.name);
        let planted = asked.flaw.is_some();
        good &= found.broken.is_some() == planted && (planted || found.never.is_empty());
    }
    println!("{states} states, {steps} steps");
    if good { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn asked(mut args: impl Iterator<Item = String>) -> Result<Option<Asked>, String> {
    let mut bound =
        Bound { full: false, left: None, depth: 0, states: 0, threads: 2, progress: true };
    let (mut scopes, mut flaw) = (Vec::new(), None);
    while let Some(arg) = args.next() {
        let mut number = || {
            let given = args.next().unwrap_or_default();
            given.parse().map_err(|_| format!("{arg} {given}: a number is missing"))
        };
        match arg.as_str() {
            "--full" => bound.full = true,
            "--quiet" => bound.progress = false,
            "--depth" => bound.depth = number()?,
            "--states" => bound.states = number()?,
            "--threads" => bound.threads = number()?,
            "--plant" => {
                let name = args.next().unwrap_or_default();
                if name == "list" {
                    flaws().for_each(|flaw| println!("{flaw:?}"));
                    return Ok(None);
                }
                let known = flaws().find(|flaw| format!("{flaw:?}").contains(&name));
                flaw = Some(known.ok_or(format!("--plant {name}"))?);
            }
            name => scopes.push(scope(name).ok_or(name.to_owned())?),
        }
    }
    if scopes.is_empty() {
        scopes.extend(SCOPES);
    }
    Ok(Some(Asked { bound, scopes, flaw }))
}

fn flaws() -> impl Iterator<Item = Flaw> {
    use Flaw::*;
    let others = [DeadmanSleeps, ClockBeyondRho, ZoneTakesAll, TokenNotKept];
    Plant::ALL.into_iter().map(Core).chain(others)
}
