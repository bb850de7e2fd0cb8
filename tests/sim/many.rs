//! Many seeds, shared by threads: what they did together, and which broke something. It keeps sums
//! only, so that a run of any length needs the memory of one.

use super::clock::uptime;
use super::coverage::{self, Counts};
use super::table::{self, Cells};
use super::{Options, run};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Between two lines of progress of a long run, in steps.
const PROGRESS_STEPS: u64 = 50_000_000;

/// Where to begin and to end.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The first seed.
    pub first: u64,
    /// So many at most.
    pub seeds: u64,
    /// No new seed after so many steps.
    pub steps: Option<u64>,
    /// Threads.
    pub jobs: u64,
}

/// Something to print.
pub enum Line {
    /// A line of a transcript.
    Trace(String),
    /// How far it is.
    Progress(String),
    /// A seed broke this.
    Broken(u64, String),
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// Seeds run.
    pub seeds: u64,
    /// Steps made.
    pub steps: u64,
    /// Epochs gained.
    pub epochs: u64,
    /// Seeds that broke something.
    pub broken: u64,
    /// The first of them, and what.
    pub first_broken: Option<(u64, String)>,
    /// How often what happened.
    pub counts: Counts,
    /// How often rows ended in which way.
    pub cells: Cells,
    /// How long it took.
    pub took: Duration,
}

/// Run them. `first_only`: end with the first that breaks something.
pub fn many(limits: Limits, options: Options, first_only: bool, say: &mut dyn FnMut(Line)) -> Done {
    let (next, ends) = (AtomicU64::new(limits.first), AtomicBool::new(false));
    let last = limits.first.saturating_add(limits.seeds);
    let begun = uptime();
    let mut done = Done::default();
    std::thread::scope(|scope| {
        let (to, from) = mpsc::channel();
        for _ in 0..limits.jobs {
            let (to, next, ends) = (to.clone(), &next, &ends);
            scope.spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last || to.send((seed, run(seed, options))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(to);
        let mut told = PROGRESS_STEPS;
        for (seed, outcome) in from {
            outcome.trace.into_iter().for_each(|line| say(Line::Trace(line)));
            done.seeds += 1;
            done.steps += outcome.steps;
            done.epochs += outcome.epochs;
            coverage::add(&mut done.counts, outcome.counts);
            table::add(&mut done.cells, outcome.cells);
            if let Some(what) = outcome.broken {
                done.broken += 1;
                say(Line::Broken(seed, what.clone()));
                let found = Some((seed, what));
                done.first_broken = [done.first_broken.take(), found].into_iter().flatten().min();
                ends.fetch_or(first_only, Ordering::Relaxed);
            }
            ends.fetch_or(limits.steps.is_some_and(|most| done.steps >= most), Ordering::Relaxed);
            if done.steps >= told {
                told = done.steps + PROGRESS_STEPS;
                let (steps, broken, next) = (done.steps, done.broken, next.load(Ordering::Relaxed));
                let took = (uptime() - begun).as_secs_f64().max(0.01);
                say(Line::Progress(format!(
                    "{steps} steps in {took:.0} s, {:.0} a second, {broken} broken; go on from \
                     there by --first {next}",
                    steps as f64 / took
                )));
            }
        }
    });
    done.took = (uptime() - begun).max(Duration::from_millis(10));
    done
}
