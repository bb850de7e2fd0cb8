//! The gates of a plan: each one predicate, said in words whether it is open. Knows what must be
//! so before a plan opens; opens none.

use super::compared;
use super::context::Context;
use super::judge::signal_kinds;
use super::lag;
use super::preflight::{OpenRequest, topic};
use super::restored::unsettled;
use super::strength::strongest_available;
use crate::{
    Condition, Durability, EvidenceKind, Fact, InstanceId, LagMark, Layer, Mode, OVERRIDABLE, Plan,
    PlanKind, Reason, RegionId, RegionKind, ResourceId, Role,
    apply::{mode_word, unarmed_in},
    of_loss,
};

/// Gates of one request, in the order in which they are shown.
struct Gates<'a> {
    context: &'a Context<'a>,
    request: &'a OpenRequest,
    /// The plan past its point of no return that would be superseded.
    superseded: Option<&'a Plan>,
    found: Vec<Reason>,
}

/// Every gate of `request`, open and closed.
pub(crate) fn gates(
    context: &Context,
    request: &OpenRequest,
    superseded: Option<&Plan>,
) -> Vec<Reason> {
    let mut gates = Gates { context, request, superseded, found: Vec::new() };
    gates.activated();
    gates.epoch();
    gates.no_other_plan();
    gates.mode();
    gates.settled();
    if let Some(target) = gates.target() {
        gates.target_agents(&target);
        gates.target_armed(&target);
        gates.target_data(&target);
        match request.kind {
            PlanKind::Switchover => gates.source_can_drain(&target),
            PlanKind::Failover => gates.loss(&target),
        }
    }
    if request.by_policy && request.kind == PlanKind::Failover {
        gates.signals();
        gates.evidence();
    }
    if request.by_policy {
        gates.hold_down();
    }
    gates.found
}

/// The target asked for, else the only other region with data of the group.
pub(super) fn target_of(context: &Context, request: &OpenRequest) -> Option<RegionId> {
    let active = context.group.active()?;
    request.target.clone().or_else(|| context.spec.standby_regions(active).next().cloned())
}

impl Gates<'_> {
    fn gate(&mut self, code: &str, open: bool, text: String, next: String) {
        let overridden = !open && self.goes_through(code);
        let open = open || overridden;
        let text = if overridden { format!("{text}: overridden") } else { text };
        let next = if open { String::new() } else { next };
        let code = code.to_owned();
        self.found.push(Reason { topic: topic(self.request), code, open, overridden, text, next });
    }

    /// The operator overrides this gate, by its name or as one of those about a loss.
    fn goes_through(&self, code: &str) -> bool {
        let named = OVERRIDABLE.contains(&code) && self.request.overrides.contains(code);
        named || self.request.accept_loss && of_loss(code)
    }

    fn name(&self) -> &str {
        self.context.id.as_str()
    }

    /// The command that shows `what`.
    fn shows(&self, what: &str) -> String {
        format!("arbiter status --group {}, which shows {what}", self.name())
    }

    fn failover_to(&self, target: &RegionId) -> String {
        format!("arbiter failover --group {} --to {target}", self.name())
    }

    fn activated(&mut self) {
        let (open, text) = match self.context.group.active() {
            Some(active) => (true, format!("{active} is active")),
            None => (false, "no region is active yet".to_owned()),
        };
        self.gate("not-activated", open, text, self.shows("what is missing"));
    }

    fn epoch(&mut self) {
        let epoch = self.context.group.epoch();
        let Some(expected) = self.request.expected_epoch else { return };
        let text = format!("the group is at epoch {epoch}, asked for is {expected}");
        let next = format!("arbiter status --group {}, then ask again", self.name());
        self.gate("wrong-epoch", epoch == expected, text, next);
    }

    fn no_other_plan(&mut self) {
        let plan = self.context.group.plan.as_ref();
        let (open, text) = match (plan, self.superseded) {
            (None, _) => (true, "no plan is open".to_owned()),
            (Some(plan), Some(_)) => (true, format!("plan {} would be superseded", plan.id)),
            (Some(plan), None) => (false, format!("plan {} is open", plan.id)),
        };
        let name = self.name();
        let next =
            format!("arbiter plan show --group {name}, or arbiter plan abort --group {name}");
        self.gate("plan-open", open, text, next);
    }

    fn mode(&mut self) {
        let mode = self.context.group.mode;
        let open = mode == Mode::Automatic || (mode == Mode::Manual && !self.request.by_policy);
        let wanted = if self.request.by_policy { "automatic" } else { "manual" };
        let next = format!("arbiter mode {wanted} --group {}", self.name());
        self.gate("mode", open, format!("the mode is {}", mode_word(mode)), next);
    }

    /// After a restore nothing serves yet that could drain, and policy judges by nothing it knows.
    /// An operator may take the fence into his own hands.
    fn settled(&mut self) {
        let by_hand = self.request.kind == PlanKind::Failover && !self.request.by_policy;
        let Some((text, next)) = unsettled(self.context).filter(|_| !by_hand) else { return };
        self.gate("not-settled", false, text, next);
    }

    fn target(&mut self) -> Option<RegionId> {
        let Some(target) = target_of(self.context, self.request) else {
            let text = "the group has data in one region only".to_owned();
            self.gate("unknown-region", false, text, "arbiter config check FILE".to_owned());
            return None;
        };
        let kind = self.context.state.spec.regions.get(&target);
        let has_data = self.context.spec.regions().contains(&target);
        let (code, open, text) = match kind {
            None => ("unknown-region", false, format!("there is no region {target}")),
            Some(RegionKind::Witness) => {
                ("witness", false, format!("{target} is a witness and is never active"))
            }
            Some(_) if self.context.group.active() == Some(&target) => {
                ("already-active", false, format!("{target} is active already"))
            }
            Some(_) if !has_data => {
                ("unknown-region", false, format!("{target} holds nothing of this group"))
            }
            Some(_) => ("target", true, format!("{target} can be the target")),
        };
        self.gate(code, open, text, self.shows("the regions"));
        open.then_some(target)
    }

    fn target_agents(&mut self, target: &RegionId) {
        let required = self.context.spec.required_resources();
        let chosen = required.into_iter().filter_map(|r| self.context.furthest(r, target));
        let silent = self.context.silent_candidate(chosen.map(|(id, _)| id));
        let text = match &silent {
            None => format!("the agents beside what would be promoted in {target} report"),
            Some(agent) => format!("agent {agent} in {target} does not report"),
        };
        let next = "start it, or see its log: arbiter status".to_owned();
        self.gate("target-silent", silent.is_none(), text, next);
    }

    fn target_armed(&mut self, target: &RegionId) {
        let unarmed = unarmed_in(self.context.state, self.context.id, target);
        let text = match &unarmed {
            None => format!("{target} is armed"),
            Some(agent) => format!("agent {agent} in {target} is not armed"),
        };
        let next = format!("arbiter arm --group {}", self.name());
        self.gate("not-armed", unarmed.is_none(), text, next);
    }

    fn target_data(&mut self, target: &RegionId) {
        for resource in self.context.spec.required_resources() {
            let found = self.context.furthest(resource, target);
            let fact = found.and_then(|(id, _)| self.context.live_fact(id));
            let fault = match fact {
                None => Some("nothing is known of it".to_owned()),
                Some(fact) => self.unfit(resource, fact),
            };
            let text = match &fault {
                None => format!("{resource} in {target} is ready"),
                Some(fault) => format!("{resource} in {target}: {fault}"),
            };
            let next = self.shows("the instance");
            self.gate("target-not-ready", fault.is_none(), text, next);
            self.obstacles(found.map(|(id, _)| id));
        }
    }

    /// What an instance says stands in the way, a gate each.
    fn obstacles(&mut self, id: Option<&InstanceId>) {
        let Some((id, fact)) = id.and_then(|id| Some((id, self.context.live_fact(id)?))) else {
            return;
        };
        for obstacle in &fact.obstacles {
            let next = "remove the obstacle, then ask again".to_owned();
            self.gate("obstacle", false, format!("{id}: {obstacle}"), next);
        }
    }

    /// Why an instance cannot be promoted.
    fn unfit(&self, resource: &ResourceId, fact: &Fact) -> Option<String> {
        if self.context.holds_other_data(resource, fact) {
            return Some("it holds other data than the primary".to_owned());
        }
        if let Some(plan) = self.superseded {
            return unfit_to_return(plan, resource, fact);
        }
        if fact.condition != Condition::Healthy {
            return Some(format!("its condition is {:?}", fact.condition).to_lowercase());
        }
        if fact.role == Role::Primary || fact.writable {
            return Some("it is a primary, not a replica".to_owned());
        }
        None
    }

    /// Nothing would stall a switchover half-way: its source answers and its standby follows.
    fn source_can_drain(&mut self, target: &RegionId) {
        let Some(active) = self.context.group.active() else { return };
        let agents = self.context.spec.fencing_agents(active);
        let silent = agents.into_iter().find(|agent| !self.context.is_live(agent));
        let text = match silent {
            None => format!("every agent in {active} reports"),
            Some(agent) => format!("agent {agent} in {active} does not report"),
        };
        self.gate("source-silent", silent.is_none(), text, self.failover_to(target));
        self.source_confirms(active, target);
        for resource in self.context.spec.required_resources() {
            self.source_healthy(resource, target);
            self.follows(resource, target);
        }
        self.compared(target);
        // A failover goes on without its services rather than not at all; nothing presses here.
        for (id, _) in self.context.spec.instances_of(target, Layer::Workload) {
            self.obstacles(Some(id));
        }
    }

    /// A switchover ends with the source's own word only.
    fn source_confirms(&mut self, active: &RegionId, target: &RegionId) {
        let mut needing = self.context.spec.needing_evidence(active);
        let mute = needing.find(|(_, i)| i.own_word() != Some(EvidenceKind::Confirmed));
        let text = match mute {
            None => format!("what stops in {active} can confirm it"),
            Some((id, i)) => format!("{id}, of kind {}, can never confirm that it stopped", i.kind),
        };
        self.gate("never-confirmed", mute.is_none(), text, self.failover_to(target));
    }

    fn source_healthy(&mut self, resource: &ResourceId, target: &RegionId) {
        let primary = self.context.primary(resource);
        let condition = primary.map_or(Condition::Unknown, |id| self.context.condition(id));
        let text = format!("the primary of {resource} is {condition:?}").to_lowercase();
        let next = self.failover_to(target);
        self.gate("source-not-healthy", condition == Condition::Healthy, text, next);
        self.obstacles(primary);
    }

    fn follows(&mut self, resource: &ResourceId, target: &RegionId) {
        let found = self.context.furthest(resource, target);
        let fact = found.and_then(|(id, _)| self.context.live_fact(id));
        // A kind without a stream has nothing to follow.
        let streaming =
            fact.is_some_and(|fact| fact.upstream.map_or(fact.position.is_none(), |u| u.streaming));
        let text = if streaming {
            format!("{resource} follows its primary")
        } else {
            format!("{resource} does not follow its primary now")
        };
        self.gate("not-streaming", streaming, text, self.shows("the lag"));
        let over = self.context.group.lag == LagMark::Over;
        let text = format!("the lag is marked {:?} the RPO", self.context.group.lag).to_lowercase();
        self.gate("lag", !over, text, "wait until it has caught up".to_owned());
    }

    /// What the user has compared is alike on both sides.
    fn compared(&mut self, target: &RegionId) {
        for found in compared::in_region(self.context, target) {
            self.gate("checksum", found.alike, found.text, compared::REMEDY.to_owned());
        }
    }

    /// The loss is bounded by what was committed before; a position too old is unknown, and unknown
    /// is out of RPO.
    fn loss(&mut self, target: &RegionId) {
        let rpo = self.context.spec.policy.rpo;
        let next = format!("{} --accept-loss", self.failover_to(target));
        let group = self.context.group;
        let drill = group.drill.as_ref().is_some_and(|drill| self.request.by_drill && drill.stalls);
        if drill || self.context.spec.policy.durability == Durability::Strict {
            self.strict(target, &next);
            return;
        }
        let mark = self.context.group.lag;
        let text = match mark {
            LagMark::Within => format!("the loss would be within the RPO of {rpo:?}"),
            LagMark::Over => format!("the loss would be over the RPO of {rpo:?}"),
            LagMark::Unknown => format!("the loss is unknown, which is over the RPO of {rpo:?}"),
        };
        self.gate("rpo", mark == LagMark::Within, text, next.clone());
        for resource in self.context.spec.required_resources() {
            let known = self.context.source_end(resource);
            let (open, text) = match known {
                None => (false, format!("no position of {resource} is known")),
                Some(known) => {
                    let age = known.age;
                    (age <= rpo, format!("the position of {resource} is {age:.1?} old"))
                }
            };
            self.gate("position-unknown", open, text, next.clone());
            self.candidate(resource, target, next.clone());
        }
    }

    /// I11: a standby in the target is counted in the synchronous set of each resource.
    fn strict(&mut self, target: &RegionId, next: &str) {
        for resource in self.context.spec.required_resources() {
            let here = self.context.spec.needing_evidence(target);
            let mut here = here.filter(|(_, i)| i.resource == *resource).map(|(id, _)| id);
            let counted = here.find(|id| self.context.is_counted(resource, id));
            let text = match counted {
                Some(id) => format!("{id} has every acknowledged write of {resource}"),
                None => {
                    format!(
                        "nothing shows that {resource} in {target} has every acknowledged write"
                    )
                }
            };
            self.gate("strict", counted.is_some(), text, next.to_owned());
        }
    }

    /// I11: the mark is of the furthest standby; the one to be promoted may be behind it.
    fn candidate(&mut self, resource: &ResourceId, target: &RegionId, next: String) {
        let Some((id, _)) = self.context.furthest(resource, target) else { return };
        let Some(behind) = lag::behind(self.context, resource, id) else { return };
        let text = format!("{id} is {behind:.1?} behind the newest word of its source");
        let open = behind <= self.context.spec.policy.rpo;
        self.gate("candidate-behind", open, text, next);
    }

    /// In each region as many kinds of signal can come as must agree that it is lost.
    fn signals(&mut self) {
        let wanted = usize::from(self.context.spec.policy.signal_kinds_min.max(1));
        for region in self.context.spec.regions() {
            let kinds = signal_kinds(self.context, region);
            let text =
                format!("{kinds} kinds of signal can tell that {region} is lost, {wanted} needed");
            let next = format!("add a probe of {region}, then: arbiter config apply FILE");
            self.gate("too-few-signals", kinds >= wanted, text, next);
        }
    }

    fn hold_down(&mut self) {
        let holds = self.context.group.holding_down;
        let limit = self.context.spec.policy.hold_down;
        let left = self.context.view.hold_down_since.get(self.context.id);
        let left = left.map(|since| limit.saturating_sub(self.context.now.since(*since)));
        let text = match (holds, left) {
            (false, _) => "no hold-down runs".to_owned(),
            (true, Some(left)) => format!("the hold-down lasts {left:.0?} more"),
            (true, None) => format!("the hold-down of {limit:?} runs"),
        };
        let target = target_of(self.context, self.request);
        let now = target.map(|target| match self.request.kind {
            PlanKind::Failover => self.failover_to(&target),
            PlanKind::Switchover => {
                format!("arbiter switchover --group {} --to {target}", self.name())
            }
        });
        let next = now.unwrap_or_else(|| self.shows("the regions"));
        self.gate("hold-down", !holds, text, next);
    }

    fn evidence(&mut self) {
        let least = self.context.spec.policy.evidence_min;
        let best = strongest_available(self.context);
        let word = best.map_or("none", |kind| kind.as_str());
        let text = format!("the strongest evidence that can come is {word}, {least} is needed");
        let next = format!("arbiter arm --group {}", self.name());
        self.gate("evidence", best.is_some_and(|kind| kind >= least), text, next);
    }
}

/// The old source as a target again: fenced or standing by, its position known and not before the
/// fork.
fn unfit_to_return(plan: &Plan, resource: &ResourceId, fact: &Fact) -> Option<String> {
    if fact.writable {
        return Some("it is not fenced".to_owned());
    }
    if !matches!(fact.condition, Condition::Healthy | Condition::Stopped) {
        return Some(format!("its condition is {:?}", fact.condition).to_lowercase());
    }
    plan.unfit_to_return(resource, fact.position)
}
