//! The deadman (design §5): kills what an agent no longer renews. Knows one hold per group, with a
//! deadline; never a lease, a goal, a token or an arbiter. It outlives its agent.

use crate::{GroupId, Instant, Timing};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// While a hold stays expired its cgroup is killed again this often: something may have been put
/// into it from outside.
pub const KILL_AGAIN_EVERY: Duration = Duration::from_secs(1);

/// What the deadman holds of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// It may kill. Not armed it only counts.
    pub armed: bool,
    /// When everything in the cgroup must be dead; none: nothing hangs on a lease.
    pub deadline: Option<Instant>,
    /// Timers given with the deadline; K and F come from them.
    pub timing: Option<Timing>,
    /// Killed, and frozen until a future deadline is given.
    pub frozen: bool,
    /// Frozen alive: what could not be made to wait for a standby acknowledges nothing.
    #[serde(default)]
    pub paused: bool,
    /// How often it would have killed while it was not armed.
    pub would_have_killed: u64,
    /// The running deadline was already counted.
    counted: bool,
    /// When it last killed for this deadline.
    killed_at: Option<Instant>,
}

/// What happens to a deadman.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadmanEvent {
    /// Time passed.
    Tick,
    /// Hold this group, and kill at its deadline. It starts without one.
    Arm(GroupId),
    /// Only count from now on.
    Disarm(GroupId),
    /// The agent's lease was renewed.
    Renew {
        /// The group.
        group: GroupId,
        /// Its deadline.
        deadline: Instant,
        /// The timers in force.
        timing: Timing,
    },
    /// Nothing in the group is writable any more, says its agent, which has fenced it or made a
    /// replica of it. A standby must not die of a lease that nobody renews.
    Clear(GroupId),
    /// Freeze what runs in the group, alive, until it is killed or may go on.
    Pause(GroupId),
    /// Let it go on.
    Continue(GroupId),
}

/// What the deadman must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadmanAction {
    /// `cgroup.kill`, or its like, then take the start files away: while the agent is dead too,
    /// nobody may start by hand what was killed.
    Kill(GroupId),
    /// `cgroup.freeze`: what is forked or put in late never runs.
    Freeze(GroupId),
    /// The freeze alone: what runs stops where it stands, alive.
    Pause(GroupId),
    /// What was paused goes on.
    Continue(GroupId),
    /// Undo the freeze.
    Thaw(GroupId),
}

impl Hold {
    /// When it kills: deadline − K. None without a deadline.
    pub fn kill_at(&self) -> Option<Instant> {
        let head_start = self.timing.map_or(Duration::ZERO, |timing| timing.deadman_head_start());
        self.deadline.map(|deadline| deadline.before(head_start))
    }

    /// Whether a deadline is running: given, and not reached.
    pub fn is_running(&self, now: Instant) -> bool {
        !self.frozen && self.kill_at().is_some_and(|at| now < at)
    }

    fn expired(&self, now: Instant) -> bool {
        self.kill_at().is_some_and(|at| at <= now)
    }
}

/// The deadman of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadman {
    holds: BTreeMap<GroupId, Hold>,
}

impl Deadman {
    /// A deadman that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it holds, to show to its agent.
    pub fn holds(&self) -> &BTreeMap<GroupId, Hold> {
        &self.holds
    }

    /// All of it, to hand to the next image in an exec in place.
    pub fn snapshot(&self) -> Deadman {
        self.clone()
    }

    /// Go on from a snapshot: every earlier deadline stands.
    pub fn restore(snapshot: Deadman) -> Self {
        snapshot
    }

    /// When [`DeadmanEvent::Tick`] is due; none: never.
    pub fn next_wake(&self) -> Option<Instant> {
        self.holds.values().filter_map(next_kill).min()
    }

    /// One event; what is due at `now` is done first, so that no late renewal overtakes a kill.
    pub fn step(&mut self, event: DeadmanEvent, now: Instant) -> Vec<DeadmanAction> {
        let mut actions = Vec::new();
        // I4: what is due first is killed first, and what was killed before comes after those.
        let mut holds: Vec<_> = self.holds.iter_mut().collect();
        holds.sort_by_key(|(_, hold)| (hold.killed_at.is_some(), hold.kill_at()));
        for (group, hold) in holds {
            expire(group, hold, now, &mut actions);
        }
        match event {
            DeadmanEvent::Tick => {}
            DeadmanEvent::Arm(group) => self.arm(group),
            DeadmanEvent::Disarm(group) => self.disarm(group, &mut actions),
            DeadmanEvent::Renew { group, deadline, timing } => {
                self.renew(group, deadline, timing, now, &mut actions);
            }
            DeadmanEvent::Clear(group) => self.clear(group, &mut actions),
            DeadmanEvent::Pause(group) => self.pause(group, &mut actions),
            DeadmanEvent::Continue(group) => self.go_on(group, &mut actions),
        }
        actions
    }

    fn arm(&mut self, group: GroupId) {
        let hold = self.holds.entry(group).or_default();
        if !hold.armed {
            // A deadline that only counted may be long past.
            *hold =
                Hold { armed: true, would_have_killed: hold.would_have_killed, ..Hold::default() };
        }
    }

    fn disarm(&mut self, group: GroupId, actions: &mut Vec<DeadmanAction>) {
        let hold = self.holds.entry(group.clone()).or_default();
        thaw(&group, hold, actions);
        if hold.paused {
            actions.push(DeadmanAction::Continue(group));
        }
        *hold = Hold { would_have_killed: hold.would_have_killed, ..Hold::default() };
    }

    fn renew(
        &mut self,
        group: GroupId,
        deadline: Instant,
        timing: Timing,
        now: Instant,
        actions: &mut Vec<DeadmanAction>,
    ) {
        if crate::planted!(OneDeadlineForAll) {
            for hold in self.holds.values_mut().filter(|hold| !hold.frozen) {
                hold.deadline = hold.deadline.map(|before| before.max(deadline));
            }
        }
        let hold = self.holds.entry(group.clone()).or_default();
        let renewed = Hold {
            deadline: Some(deadline),
            timing: Some(timing),
            counted: false,
            killed_at: None,
            ..hold.clone()
        };
        // I4: only a deadline in the future lifts the freeze or moves the one that stands.
        if renewed.expired(now) {
            return;
        }
        *hold = renewed;
        thaw(&group, hold, actions);
    }

    fn clear(&mut self, group: GroupId, actions: &mut Vec<DeadmanAction>) {
        let Some(hold) = self.holds.get_mut(&group) else { return };
        thaw(&group, hold, actions);
        if std::mem::take(&mut hold.paused) {
            actions.push(DeadmanAction::Continue(group));
        }
        hold.deadline = None;
        hold.counted = false;
        hold.killed_at = None;
    }
}

impl Deadman {
    fn pause(&mut self, group: GroupId, actions: &mut Vec<DeadmanAction>) {
        let Some(hold) = self.holds.get_mut(&group) else { return };
        if hold.armed && !hold.frozen && !hold.paused {
            hold.paused = true;
            actions.push(DeadmanAction::Pause(group));
        }
    }

    fn go_on(&mut self, group: GroupId, actions: &mut Vec<DeadmanAction>) {
        let Some(hold) = self.holds.get_mut(&group) else { return };
        if std::mem::take(&mut hold.paused) {
            actions.push(DeadmanAction::Continue(group));
        }
    }
}

fn next_kill(hold: &Hold) -> Option<Instant> {
    match (hold.armed, hold.killed_at) {
        (true, Some(at)) => Some(at + KILL_AGAIN_EVERY),
        (false, _) if hold.counted => None,
        _ => hold.kill_at(),
    }
}

fn expire(group: &GroupId, hold: &mut Hold, now: Instant, actions: &mut Vec<DeadmanAction>) {
    if !hold.expired(now) {
        return;
    }
    if !hold.armed {
        if !hold.counted {
            hold.would_have_killed += 1;
            hold.counted = true;
        }
        return;
    }
    if hold.killed_at.is_some_and(|at| now < at + KILL_AGAIN_EVERY) {
        return;
    }
    if crate::planted!(DeadmanKillsOnce) {
        if hold.killed_at.is_none() {
            actions.push(DeadmanAction::Kill(group.clone()));
        }
        hold.killed_at = Some(now);
        return;
    }
    // I4: killed by the deadline, and frozen, so that a late fork never runs.
    actions.push(DeadmanAction::Kill(group.clone()));
    if !hold.frozen {
        actions.push(DeadmanAction::Freeze(group.clone()));
    }
    hold.paused = false;
    hold.frozen = true;
    hold.killed_at = Some(now);
}

/// What was put into a frozen cgroup is killed before it could run.
fn thaw(group: &GroupId, hold: &mut Hold, actions: &mut Vec<DeadmanAction>) {
    if hold.frozen {
        actions.push(DeadmanAction::Kill(group.clone()));
        actions.push(DeadmanAction::Thaw(group.clone()));
        hold.frozen = false;
    }
}
