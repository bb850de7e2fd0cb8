//! Running the checker over one scope, and saying what it found.

use super::checked::Checked;
use super::scope::{Flaw, Left, Scope};
use super::world::{Act, World};
use stateright::report::{ReportData, ReportDiscovery, Reporter};
use stateright::{Checker, HasDiscoveries, Model};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What a run found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Distinct states.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// The longest path.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Nothing was left to look at within the bound.
    pub exhausted: bool,
    /// A broken invariant, and the shortest way to it.
    pub broken: Option<(&'static str, Vec<String>)>,
    /// What should have been seen to happen, and was not.
    pub never: Vec<&'static str>,
}

/// How far a run goes.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The larger budgets.
    pub full: bool,
    /// Other budgets than the scope's.
    pub left: Option<Left>,
    /// No longer paths than this; 0: the scope's own in a short run, else as budgets allow.
    pub depth: usize,
    /// Stop after this many states; 0: never.
    pub states: usize,
    /// Threads.
    pub threads: usize,
    /// Say on standard error how far it is.
    pub progress: bool,
}

/// Between two words about how far a run is.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

struct Progress(&'static str);

impl Reporter<Checked> for Progress {
    fn report_checking(&mut self, data: ReportData) {
        let (states, steps) = (data.unique_states, data.total_states);
        let (depth, secs) = (data.max_depth, data.duration.as_secs());
        eprintln!("{}: {states} states, {steps} steps, depth {depth}, {secs} s", self.0);
    }

    fn report_discoveries(
        &mut self,
        _: &Checked,
        _: BTreeMap<&'static str, ReportDiscovery<Checked>>,
    ) {
    }

    fn delay(&self) -> Duration {
        PROGRESS_EVERY
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, steps, depth, took, .. } = self;
        let whole = if self.exhausted { "exhausted" } else { "cut short" };
        write!(f, "{states} states, {steps} steps, depth {depth}, {took:.1?}, {whole}")?;
        if let Some((name, acts)) = &self.broken {
            write!(f, "\nBROKEN {name}, {} steps:\n  {}", acts.len(), acts.join("\n  "))?;
        }
        if !self.never.is_empty() {
            write!(f, "\nnever seen: {:?}", self.never)?;
        }
        Ok(())
    }
}

/// Look at every state of `scope`.
pub fn check(scope: &'static Scope, bound: Bound, flaw: Option<Flaw>) -> Found {
    let began = uptime();
    let mut model = Checked::new(scope, bound.full, flaw);
    model.bound = bound.left.unwrap_or(model.bound);
    let mut builder = model.checker().threads(bound.threads);
    builder = builder.finish_when(HasDiscoveries::AnyFailures);
    let depth = match bound.depth {
        0 if !bound.full && bound.left.is_none() => scope.depth,
        asked => asked,
    };
    if depth > 0 {
        builder = builder.target_max_depth(depth);
    }
    if bound.states > 0 {
        builder = builder.target_state_count(bound.states);
    }
    let checker = builder.spawn_bfs();
    let checker = if bound.progress {
        checker.join_and_report(&mut Progress(scope.name))
    } else {
        checker.join()
    };
    let discoveries = checker.discoveries();
    let broken = discoveries.iter().find(|(name, _)| name.starts_with('I'));
    let broken = broken.map(|(name, path)| {
        let step = |(world, act): (World, Option<Act>)| {
            let act = act.map_or(String::new(), |act| format!("{act:?}"));
            format!("{} {act}", world.line())
        };
        (*name, path.clone().into_vec().into_iter().map(step).collect())
    });
    let never = scope.sees.iter().filter(|name| !discoveries.contains_key(*name)).copied();
    let states = checker.unique_state_count();
    Found {
        states,
        steps: checker.state_count(),
        depth: checker.max_depth(),
        took: uptime().saturating_sub(began),
        exhausted: bound.states == 0 || checker.state_count() < bound.states,
        broken,
        never: never.collect(),
    }
}

/// How long this machine runs: how long a check takes, for people.
fn uptime() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let first = text.split(' ').next().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs_f64(first.unwrap_or_default())
}
