//! `chaos [--minutes N] [--seconds N] [--seed S] [--json]`: real processes killed, stopped and cut
//! off at random for as long as asked; then all must become well, and nothing may have been lost.
//!
//! Exit 0: all held. 1: something did not; logs are kept and named. 2: bad arguments.

use arbiter_tests::hosts::chaos::{Settings, run};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: chaos [--minutes N] [--seconds N] [--seed S] [--json]";

fn main() -> ExitCode {
    let mut settings = Settings { seed: 1, time: Duration::from_secs(60), json: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
        let known = match arg.as_str() {
            "--minutes" => {
                number(args.next()).map(|given| settings.time = Duration::from_secs(60 * given))
            }
            "--seconds" => {
                number(args.next()).map(|given| settings.time = Duration::from_secs(given))
            }
            "--seed" => number(args.next()).map(|given| settings.seed = given),
            "--json" => {
                settings.json = true;
                Some(())
            }
            _ => None,
        };
        if known.is_none() {
            eprintln!("{arg}: {USAGE}");
            return ExitCode::from(2);
        }
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("chaos: network namespaces need root; nothing was run");
        return ExitCode::from(2);
    }
    let json = settings.json;
    let seconds = settings.time.as_secs();
    let seed = settings.seed;
    match run(settings) {
        Ok(figures) => {
            if json {
                println!("{}", serde_json::to_string(&figures).expect("figures are JSON"));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("chaos: FAILED: {error}");
            eprintln!("replay: ./tests/run chaos --seconds {seconds} --seed {seed}");
            ExitCode::from(1)
        }
    }
}
