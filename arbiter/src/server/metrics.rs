//! Metrics in OpenMetrics text, made from what is so at the moment of asking: no counter to forget.
//!
//! # Layout
//! - here: what every arbiter knows of itself and of State
//! - `calls`: what is asked of it
//! - `seen`: what only the leader sees; another arbiter has no line of it

mod calls;
mod seen;

use super::Face;
use super::status::measures;
use crate::clock;
use arbiter_core::{Due, LagMark, Mode, State, due};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Mutex;
use std::sync::PoisonError;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByGroup {
    group: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByRegion {
    group: String,
    region: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByCertificate {
    kind: &'static str,
    name: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByAgent {
    group: String,
    agent: String,
}

/// The gauges, and their registry.
pub struct Metrics {
    registry: Mutex<Registry>,
    term: Gauge,
    leads: Gauge,
    applied: Gauge,
    confirmed_age: Gauge<f64, std::sync::atomic::AtomicU64>,
    posted: Gauge,
    epoch: Family<ByGroup, Gauge>,
    active: Family<ByRegion, Gauge>,
    mode: Family<ByGroup, Gauge>,
    lag_mark: Family<ByGroup, Gauge>,
    plan_open: Family<ByGroup, Gauge>,
    plan_halted: Family<ByGroup, Gauge>,
    drill_open: Family<ByGroup, Gauge>,
    drill_due: Family<ByGroup, Gauge>,
    armed: Family<ByAgent, Gauge>,
    expires: Family<ByCertificate, Gauge>,
    calls: calls::Calls,
    seen: seen::Seen,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("arbiter");
        let made = Self {
            registry: Mutex::default(),
            term: Gauge::default(),
            leads: Gauge::default(),
            applied: Gauge::default(),
            confirmed_age: Gauge::default(),
            posted: Gauge::default(),
            epoch: Family::default(),
            active: Family::default(),
            mode: Family::default(),
            lag_mark: Family::default(),
            plan_open: Family::default(),
            plan_halted: Family::default(),
            drill_open: Family::default(),
            drill_due: Family::default(),
            armed: Family::default(),
            expires: Family::default(),
            calls: calls::Calls::registered(&mut registry),
            seen: seen::Seen::registered(&mut registry),
        };
        registry.register("raft_term", "Raft term", made.term.clone());
        registry.register("raft_leader", "1 when this arbiter leads", made.leads.clone());
        registry.register("raft_applied_index", "Last applied entry", made.applied.clone());
        registry.register(
            "confirmed_age_seconds",
            "Since a quorum confirmed what this arbiter knows",
            made.confirmed_age.clone(),
        );
        registry.register(
            "events_posted_index",
            "Last entry whose events the webhook took",
            made.posted.clone(),
        );
        registry.register("group_epoch", "Epoch", made.epoch.clone());
        registry.register("group_active", "1 for the active region", made.active.clone());
        let modes = "Mode: 0 observe, 1 manual, 2 automatic";
        registry.register("group_mode", modes, made.mode.clone());
        let mark = "Loss by the lag, against the RPO: 0 within, 1 over, 2 unknown";
        registry.register("group_lag_mark", mark, made.lag_mark.clone());
        registry.register("group_plan_open", "1 while a plan is open", made.plan_open.clone());
        let halted = "1 while a plan waits for an operator";
        registry.register("group_plan_halted", halted, made.plan_halted.clone());
        registry.register("group_drill_open", "1 while a drill is open", made.drill_open.clone());
        let due = "Drill: 0 not due, 1 due, 2 overdue";
        registry.register("group_drill_due", due, made.drill_due.clone());
        registry.register("agent_armed", "1 when State has it armed", made.armed.clone());
        let expires = "Until a certificate expires, below 0 since: kind own, ca, arbiter, agent";
        registry.register_with_unit(
            "certificate_expires",
            expires,
            Unit::Seconds,
            made.expires.clone(),
        );
        Self { registry: Mutex::new(registry), ..made }
    }
}

impl Metrics {
    /// What is so now, as text.
    pub fn render(&self, face: &Face) -> String {
        // One at a time: families are emptied and filled.
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        self.fill(face);
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &registry) {
            tracing::warn!(%error, "metrics cannot be written");
        }
        text
    }

    fn fill(&self, face: &Face) {
        let leadership = face.raft.leader().borrow().clone();
        self.term.set(signed(leadership.term));
        self.leads.set(i64::from(leadership.mine));
        self.applied.set(signed(face.raft.state().applied_index()));
        self.confirmed_age.set(face.confirmed_age().as_secs_f64());
        self.posted.set(signed(face.posted.load(std::sync::atomic::Ordering::Relaxed)));
        let drills = [&self.drill_open, &self.drill_due, &self.lag_mark];
        let groups = [&self.epoch, &self.mode, &self.plan_open, &self.plan_halted];
        groups.into_iter().chain(drills).for_each(|family| family.clear());
        self.active.clear();
        self.armed.clear();
        self.fill_certificates(face);
        self.calls.fill(&face.admission);
        let state = face.state();
        self.fill_drills(&state);
        self.seen.fill(&face.leader.look(measures).unwrap_or_default());
        for (id, group) in &state.groups {
            let labels = ByGroup { group: id.0.clone() };
            self.epoch.get_or_create(&labels).set(signed(group.epoch().0));
            self.mode.get_or_create(&labels).set(match group.mode {
                Mode::Observe => 0,
                Mode::Manual => 1,
                Mode::Automatic => 2,
            });
            self.lag_mark.get_or_create(&labels).set(match group.lag {
                LagMark::Within => 0,
                LagMark::Over => 1,
                LagMark::Unknown => 2,
            });
            let plan = group.plan.as_ref();
            let halted = plan.is_some_and(|plan| plan.halt.is_some());
            self.plan_open.get_or_create(&labels).set(i64::from(plan.is_some()));
            self.plan_halted.get_or_create(&labels).set(i64::from(halted));
            let regions = state.spec.groups.get(id).map(|spec| spec.regions()).unwrap_or_default();
            for region in regions {
                let labels = ByRegion { group: id.0.clone(), region: region.0.clone() };
                let is = group.active() == Some(region);
                self.active.get_or_create(&labels).set(i64::from(is));
            }
        }
        for (agent, binding) in &state.bindings {
            for group in binding.arming.keys() {
                let labels = ByAgent { group: group.0.clone(), agent: agent.0.clone() };
                self.armed.get_or_create(&labels).set(1);
            }
        }
    }

    /// An authority that has two certificates counts with the one that lasts.
    fn fill_certificates(&self, face: &Face) {
        self.expires.clear();
        let now = signed(clock::wall().0);
        for known in face.certificates() {
            let gauge =
                self.expires.get_or_create(&ByCertificate { kind: known.kind, name: known.name });
            gauge.set((signed(known.expires.0) - now).div_euclid(1_000));
        }
    }

    fn fill_drills(&self, state: &State) {
        for id in state.groups.keys() {
            let Some((spec, group)) = state.group(id) else { continue };
            let labels = ByGroup { group: id.0.clone() };
            self.drill_open.get_or_create(&labels).set(i64::from(group.drill.is_some()));
            self.drill_due.get_or_create(&labels).set(match due(spec, group, clock::wall()) {
                Due::Never | Due::Later(_) => 0,
                Due::NoneYet | Due::Due(..) => 1,
                Due::Overdue(_) => 2,
            });
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
