//! Whom the commits of a primary wait for: what the order asks for, or, cut off, what it asks for
//! then. Knows what was asked of the driver; never how it does it.

use super::{Context, Executor, RETRY_FIRST, RETRY_MAX};
use crate::agent::{AgentAction, Failure, Waiting};
use crate::{CommitWait, Goal, Instant};
use std::time::Duration;

/// A stall that the server does not confirm within this is made by freezing it.
pub const STALL_LIMIT: Duration = Duration::from_millis(200);
/// While a standby has all and the wait itself is not confirmed, it is looked at again after this.
pub const STALL_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How far one instance is.
#[derive(Clone, Debug, Default)]
pub(super) struct Commits {
    running: Option<(u64, CommitWait)>,
    /// In effect, and since when.
    set: Option<(CommitWait, Instant)>,
    failures: u32,
    retry_at: Instant,
    /// Since when a stall is wanted that is not confirmed.
    unconfirmed: Option<Instant>,
    /// Why it is not in effect.
    pub(super) error: Option<String>,
}

impl Executor {
    /// Whether anything changes here once renewals stay away.
    pub(in crate::agent) fn may_stall(&self) -> bool {
        self.order.as_ref().is_some_and(|order| {
            order.goal == Goal::Active
                && order.commits.as_ref().is_some_and(|commits| commits.isolated.is_some())
        })
    }

    /// Whom the commits shall wait for now; none: it is no primary yet or any more.
    fn wait_wanted(&self, isolated: bool) -> Option<CommitWait> {
        let order = self.order.as_ref().filter(|order| order.goal == Goal::Active)?;
        let commits = order.commits.as_ref().filter(|_| !self.fence_due)?;
        // The stall does not wait until the goal is seen reached.
        match commits.isolated.clone().filter(|_| isolated) {
            Some(standbys) => Some(CommitWait::Isolated(standbys)),
            None => self.is_reached(order).then(|| commits.wait.clone()),
        }
    }

    /// Bring the server nearer to it.
    pub(in crate::agent) fn converge_commits(
        &mut self,
        isolated: bool,
        context: &mut Context<'_>,
        now: Instant,
        out: &mut Vec<AgentAction>,
    ) {
        let wanted = self.wait_wanted(isolated);
        let commits = &mut self.commits;
        let stall = matches!(wanted, Some(CommitWait::Isolated(_)));
        commits.unconfirmed = commits.unconfirmed.filter(|_| stall);
        let Some(wanted) = wanted else {
            commits.set = None;
            commits.running = None;
            commits.error = None;
            return;
        };
        let is_new = |other: &CommitWait| *other != wanted;
        let superseded = commits.running.take_if(|(_, running)| is_new(running)).is_some();
        let undone = commits.set.take_if(|(set, _)| is_new(set)).is_some();
        if superseded || undone {
            commits.retry_at = now;
            commits.failures = 0;
        }
        if commits.set.is_some() || commits.running.is_some() || now < commits.retry_at {
            return;
        }
        if stall {
            commits.unconfirmed.get_or_insert(now);
        }
        *context.attempts += 1;
        commits.running = Some((*context.attempts, wanted.clone()));
        out.push(AgentAction::SetCommitWait {
            group: context.group.clone(),
            instance: context.instance.clone(),
            attempt: *context.attempts,
            wait: wanted,
        });
    }

    /// The driver ended. Says whether it is news.
    pub(in crate::agent) fn commits_ended(
        &mut self,
        attempt: u64,
        result: Result<Waiting, Failure>,
        now: Instant,
    ) -> bool {
        let commits = &mut self.commits;
        let Some((_, wait)) = commits.running.take_if(|(running, _)| *running == attempt) else {
            return false;
        };
        match result {
            Ok(Waiting::InEffect) => {
                commits.unconfirmed = None;
                commits.failures = 0;
                commits.error = None;
                commits.set = Some((wait, now));
            }
            Ok(Waiting::StandbyHasAll) => {
                commits.unconfirmed = None;
                commits.retry_at = now + STALL_AGAIN_AFTER;
            }
            Err(failure) => {
                let doubled = RETRY_FIRST * 2u32.saturating_pow(commits.failures.min(10));
                commits.failures += 1;
                commits.retry_at = now + doubled.min(RETRY_MAX);
                commits.error = Some(failure.to_string());
            }
        }
        true
    }

    /// A look that began at `since` shows that the server waits for others than were set.
    pub(super) fn commits_seen(&mut self, since: Option<Instant>) {
        let seen = self.fact.waits_for.as_ref();
        self.commits.set.take_if(|(set, at)| {
            let other = match set {
                CommitWait::Standbys(names) => seen != Some(names),
                _ => false,
            };
            other && since.is_some_and(|since| since > *at)
        });
    }

    /// A stall is wanted, and neither the server nor a standby confirmed it in time.
    pub(in crate::agent) fn must_pause(&self, now: Instant) -> bool {
        self.commits.unconfirmed.is_some_and(|since| since + STALL_LIMIT <= now)
    }

    /// When this has to be looked at again.
    pub(super) fn commits_wake(&self, now: Instant) -> Option<Instant> {
        let pause = self.commits.unconfirmed.map(|since| since + STALL_LIMIT);
        let again = Some(self.commits.retry_at).filter(|_| self.commits.set.is_none());
        pause.into_iter().chain(again).filter(|at| now < *at).min()
    }

    /// What its order asks for is in effect.
    pub(super) fn commits_shown(&self) -> Option<CommitWait> {
        self.commits.set.as_ref().map(|(set, _)| set.clone())
    }
}
