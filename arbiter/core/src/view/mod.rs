//! What the leader last heard and saw, with its own clock. Never persisted.

mod note;

use crate::{
    AgentId, ArbiterId, Directive, DrillId, DrillPhase, GroupId, InstanceId, Instant, LagTrack,
    LeaseBook, PlanId, RENEWAL_GAP_DAYS, RegionId, Report, ResourceId, State, StepId, Token,
    WallMillis, decide::crossed, directive,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DAY_SECS: u64 = 24 * 60 * 60;

/// The leader's view, rebuilt from nothing at each election.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Term in which this arbiter leads.
    pub term: u64,
    /// When it was elected.
    pub elected: Instant,
    /// Last Report of each agent and when it arrived.
    pub reports: BTreeMap<AgentId, Heard>,
    /// What each arbiter sees of each probe.
    pub probes: BTreeMap<(ArbiterId, GroupId, String), Probed>,
    /// When each arbiter (vantage point) was last heard.
    pub vantages: BTreeMap<ArbiterId, Instant>,
    /// What each arbiter sees of a group's public name.
    pub service: BTreeMap<(ArbiterId, GroupId), ServiceSeen>,
    /// Answers given, per lease.
    pub leases: LeaseBook,
    /// When this leader first saw the row whose turn it is, and whether it was already halted.
    pub progress: BTreeMap<GroupId, (PlanId, StepId, u32, Instant)>,
    /// Since when each group's active region looks lost / its primary dead; for `detect_after`.
    pub suspected: BTreeMap<GroupId, Instant>,
    /// Since when each group's primary is reported dead.
    pub primary_dead: BTreeMap<GroupId, Instant>,
    /// External fence checks that came back true, per (group, region, fence token).
    pub powered_off: BTreeSet<(GroupId, RegionId, Token)>,
    /// Since when this leader knows that a hold-down runs.
    pub hold_down_since: BTreeMap<GroupId, Instant>,
    /// Since when the Reports of an agent show a lapsed lease.
    pub lapsed_since: BTreeMap<(GroupId, AgentId), Instant>,
    /// How far the standby side follows each resource.
    pub lag: BTreeMap<(GroupId, ResourceId), LagTrack>,
    /// How far each standby instance does: the one that is promoted is not always the furthest.
    pub received: BTreeMap<(GroupId, InstanceId), LagTrack>,
    /// Since when nobody that a strict primary waits for is seen to follow it.
    pub unfollowed: BTreeMap<(GroupId, ResourceId), Instant>,
    /// Since when this leader knows of a mode that was set for a time, and the entry that set it.
    pub mode_since: BTreeMap<GroupId, (u64, Instant)>,
    /// The same of a maintenance.
    pub maintained_since: BTreeMap<GroupId, (u64, Instant)>,
    /// Since when this leader knows what was overridden for an open plan: when each was given.
    pub overridden_since: BTreeMap<GroupId, ((PlanId, Vec<WallMillis>), Instant)>,
    /// Since when this leader knows of each request that takes a second person.
    pub asked_since: BTreeMap<u64, Instant>,
    /// Since when this leader has granted no lease longer than the policy's L, and the entry that
    /// set this L.
    pub short_since: BTreeMap<GroupId, (u64, Instant)>,
    /// The longest time without renewal of an agent, by day of this leader's clock: between two
    /// Reports of one life that this leader heard, and as the agent itself tells.
    pub renewal_gaps: BTreeMap<AgentId, BTreeMap<u64, Duration>>,
    /// Since when a drill is in its phase, with or without an open plan.
    pub drilling: BTreeMap<GroupId, ((DrillId, DrillPhase, bool), Instant)>,
    /// Since when the active region has been told to serve, and by which token. What spoke against
    /// it earlier says nothing.
    pub serving_since: BTreeMap<GroupId, (Token, Instant)>,
}

/// A Report and when it arrived.
#[derive(Clone, Debug)]
pub struct Heard {
    /// When, by the leader's clock.
    pub at: Instant,
    /// What.
    pub report: Report,
    /// A stream of this agent is open, here or through a relay.
    pub connected: bool,
}

/// The last result of one probe from one vantage point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// When it was seen, by the leader's clock.
    pub at: Instant,
    /// None: could not be read, so unknown (never healthy).
    pub up: Option<bool>,
    /// In words.
    pub detail: String,
    /// Since when it has this value.
    pub since: Instant,
}

/// What a vantage point sees of a group's public name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSeen {
    /// When it arrived at the leader.
    pub at: Instant,
    /// Region that the name leads to, if any of ours.
    pub region: Option<RegionId>,
    /// Token in the TXT record.
    pub token: Option<Token>,
    /// The address answered.
    pub reached: bool,
    /// In words.
    pub detail: String,
}

impl View {
    /// The view of a leader elected at `now` in `term`: it knows nothing, least of all answers it
    /// gave when it led before.
    pub fn elected(term: u64, now: Instant) -> Self {
        Self { term, elected: now, leases: LeaseBook::new(now), ..Self::default() }
    }

    /// A Report arrived. Says whether it is news: one that was overtaken by a later one of the same
    /// life tells nothing, though it may still be answered.
    pub fn hear(&mut self, report: Report, now: Instant) -> bool {
        let agent = report.agent.clone();
        let overtaken = self.reports.get(&agent).is_some_and(|heard| {
            heard.report.incarnation == report.incarnation
                && heard.report.sequence > report.sequence
        });
        if overtaken {
            return false;
        }
        let lapsed = |group: &GroupId| report.groups.get(group).is_some_and(|shown| shown.lapsed);
        // What it names no more is forgotten: no more is kept of an agent than one Report holds.
        self.lapsed_since.retain(|(group, of), _| *of != agent || lapsed(group));
        for group in report.groups.keys().filter(|group| lapsed(group)) {
            self.lapsed_since.entry((group.clone(), agent.clone())).or_insert(now);
        }
        self.gap(&report, now);
        self.reports.insert(agent, Heard { at: now, report, connected: true });
        true
    }

    /// How long its last Report was ago, where it is of the same life, and what it says itself:
    /// that outlives a change of leader. A week is remembered.
    fn gap(&mut self, report: &Report, now: Instant) {
        let before = self.reports.get(&report.agent);
        let before = before.filter(|h| h.report.incarnation == report.incarnation);
        let seen = before.map(|before| now.since(before.at));
        // No day is before the first: a host that leads may just have been started.
        let week = RENEWAL_GAP_DAYS as u64;
        let today = now.since(Instant::default()).as_secs() / DAY_SECS + week;
        let told = report.gaps.iter().enumerate().take(RENEWAL_GAP_DAYS);
        let told = told.map(|(ago, gap)| (today - ago as u64, *gap));
        let days = self.renewal_gaps.entry(report.agent.clone()).or_default();
        days.retain(|then, _| then + week > today);
        let all = seen.map(|gap| (today, gap)).into_iter().chain(told);
        for (day, gap) in all.filter(|(_, gap)| !gap.is_zero()) {
            let worst = days.entry(day).or_default();
            *worst = gap.max(*worst);
        }
    }

    /// The stream of `agent` ended; its last Report stays.
    pub fn disconnected(&mut self, agent: &AgentId) {
        if let Some(heard) = self.reports.get_mut(agent) {
            heard.connected = false;
        }
    }

    /// An arbiter told anything at all (this one tells itself). What it saw earlier makes it no
    /// older.
    pub fn vantage(&mut self, from: &ArbiterId, now: Instant) {
        let heard = self.vantages.entry(from.clone()).or_insert(now);
        *heard = now.max(*heard);
    }

    /// A result of one probe from one vantage point, looked for at `now`, by this leader's clock.
    /// `up` none: it could not be read.
    pub fn probe(
        &mut self,
        from: &ArbiterId,
        group: &GroupId,
        probe: &str,
        up: Option<bool>,
        detail: String,
        now: Instant,
    ) {
        self.vantage(from, now);
        let key = (from.clone(), group.clone(), probe.to_owned());
        let since = match self.probes.get(&key) {
            Some(before) if before.up == up => before.since,
            _ => now,
        };
        self.probes.insert(key, Probed { at: now, up, detail, since });
    }

    /// What a vantage point sees of a group's public name. `seen.at` is when it arrived here.
    pub fn service_seen(&mut self, from: &ArbiterId, group: &GroupId, seen: ServiceSeen) {
        self.vantage(from, seen.at);
        self.service.insert((from.clone(), group.clone()), seen);
    }

    /// An external fence check came back true for the fence goal `token`.
    pub fn powered_off(&mut self, group: &GroupId, region: &RegionId, token: Token) {
        self.powered_off.insert((group.clone(), region.clone(), token));
    }

    /// Keep the clocks of what State and Reports show: since when a row has its turn, a region
    /// looks lost, a primary is dead, a hold-down runs. Called after each Report and each change of
    /// State, before `lag_crossing` and `decide`.
    pub fn note(&mut self, state: &State, now: Instant) {
        note::note(self, state, now);
    }

    /// How long the row whose turn it is has run, by this leader's clock; for `took`.
    pub fn row_took(&self, group: &GroupId, now: Instant) -> Duration {
        self.progress.get(group).map_or(Duration::ZERO, |(_, _, _, since)| now.since(*since))
    }

    /// The answer to `report`, its leases written into the book first. The caller holds State and
    /// this view in one critical section (design §5), after a quorum round begun after `report`
    /// arrived. A group whose RPO it shows to be crossed has no part in it before State carries the
    /// mark: a new leader that never saw this Report decides by it. // I11
    pub fn answer(&mut self, state: &State, report: &Report, now: Instant) -> Directive {
        let mut answer = directive(state, self, report);
        for unmarked in crossed(state, self, report, now) {
            answer.groups.remove(&unmarked);
        }
        for (group, part) in &answer.groups {
            if let Some(lease) = part.lease {
                self.leases.answer(group, &report.agent, report.incarnation, now);
                note::granted(self, state, group, lease);
            }
        }
        answer
    }

    /// Planted: what was checked before is recorded and handed over only now.
    #[cfg(feature = "plant")]
    pub(crate) fn recorded(&mut self, of: &Report, checked: &Directive, now: Instant) -> Directive {
        for (group, _) in checked.groups.iter().filter(|(_, part)| part.lease.is_some()) {
            self.leases.answer(group, &of.agent, of.incarnation, now);
        }
        checked.clone()
    }
}
