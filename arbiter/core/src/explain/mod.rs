//! `explain`: each gate of `decide` in words, with the numbers. Shares its predicates; decides
//! nothing.

mod degraded;
mod fault;
mod objective;
mod readiness;
mod signals;
mod waiting;
mod writes;

pub use objective::{Predicted, drill_due, predicted};
pub use signals::{SignalSeen, SignalValue, signals};

use crate::{
    GroupId, Health, Instant, OnPrimaryFailure, OpenRequest, PlanKind, Reason, RegionId,
    SignalKind, State, Topic, View,
    decide::{
        Context, failback, gates, judge::failed_primary, judge::judge, judge::primary_lost,
        judge::provider_status, session_limit,
    },
};

/// Every gate of every group.
pub fn explain(state: &State, view: &View, now: Instant) -> Vec<(GroupId, Reason)> {
    let reasons = |id: &GroupId| explain_group(state, view, now, id);
    let groups = state.groups.keys();
    groups.flat_map(|id| reasons(id).into_iter().map(|r| (id.clone(), r))).collect()
}

/// Every gate of one group, by topic.
pub fn explain_group(state: &State, view: &View, now: Instant, group: &GroupId) -> Vec<Reason> {
    let Some(context) = Context::new(state, view, now, group) else { return Vec::new() };
    let mut found = region_lost(&context);
    found.push(primary(&context));
    for (kind, by_policy) in
        [(PlanKind::Failover, true), (PlanKind::Switchover, false), (PlanKind::Failover, false)]
    {
        found.extend(gates(&context, &OpenRequest::plain(group, kind, by_policy), None));
    }
    if let Some(request) = failback::request(&context).filter(|request| request.by_policy) {
        found.extend(gates(&context, &request, None));
    }
    found.extend(waiting::waiting(&context));
    found.extend(degraded::degraded(&context));
    found.extend(readiness::readiness(&context));
    found.extend(objective::objectives(&context));
    found.extend(writes::writes(&context));
    debug_assert!(found.iter().all(has_remedy), "{found:?}");
    found
}

/// What is wrong with a group that serves is never told without what to do about it.
fn has_remedy(reason: &Reason) -> bool {
    let fault = !reason.open && matches!(reason.topic, Topic::Degraded | Topic::Readiness);
    !fault || !reason.next.is_empty()
}

pub(crate) fn reason(topic: Topic, code: &str, open: bool, text: String, next: String) -> Reason {
    Reason { topic, code: code.to_owned(), open, overridden: false, text, next }
}

/// Each kind of signal, what speaks against them, and how long they must hold.
fn region_lost(context: &Context) -> Vec<Reason> {
    if context.group.active().is_none() {
        return Vec::new();
    }
    let judgement = judge(context);
    let topic = Topic::RegionLost;
    let signals = judgement.signals.iter();
    let mut found: Vec<Reason> = signals
        .map(|s| reason(topic, s.kind, s.since.is_some(), s.text.clone(), String::new()))
        .collect();
    let (open, text) = match &judgement.vetoed_by {
        Some(id) => (false, format!("a live agent reports {id} healthy")),
        None => (true, "no live agent reports healthy data".to_owned()),
    };
    found.push(reason(topic, "live-agent", open, text, String::new()));
    let policy = &context.spec.policy;
    let agree = judgement.signals.iter().filter(|signal| signal.since.is_some()).count();
    let wanted = usize::from(policy.signal_kinds_min.max(1));
    let text = format!("{agree} kinds of signal agree, {wanted} needed");
    found.push(reason(topic, "signal-kinds", agree >= wanted, text, String::new()));
    let held = judgement.since.map_or(std::time::Duration::ZERO, |s| context.now.since(s));
    let text = format!("they have agreed for {held:.1?}, {:?} needed", policy.detect_after);
    found.push(reason(topic, "detect-after", judgement.is_lost(context), text, String::new()));
    let provider = provider_status(context);
    let code = SignalKind::Provider.as_str();
    found.extend(provider.map(|(said, text)| reason(topic, code, said, text, String::new())));
    found
}

fn primary(context: &Context) -> Reason {
    let policy = &context.spec.policy;
    let since = context.view.primary_dead.get(context.id);
    let lasts = since.map_or(std::time::Duration::ZERO, |since| context.now.since(*since));
    let text = match (failed_primary(context), policy.on_primary_failure) {
        (None, _) => "no live agent reports a dead primary".to_owned(),
        (Some((id, condition)), OnPrimaryFailure::Restart) => {
            format!("{id} is {condition:?} for {lasts:.1?}; policy restarts it where it is")
        }
        (Some((id, condition)), _) => {
            format!("{id} is {condition:?} for {lasts:.1?}, {:?} allowed", policy.start_limit)
        }
    };
    let lost = primary_lost(context);
    reason(Topic::PrimaryLost, "primary", lost, text, String::new())
}

/// Health of `region` as far as `group` is concerned: of the active one all signs count, of another
/// one whether its agents report.
pub fn region_health(
    state: &State,
    view: &View,
    now: Instant,
    group: &GroupId,
    region: &RegionId,
) -> Health {
    let Some(context) = Context::new(state, view, now, group) else { return Health::Suspect };
    if context.group.active() == Some(region) {
        let judgement = judge(&context);
        return match (judgement.is_lost(&context), judgement.is_suspect()) {
            (true, _) => Health::Unreachable,
            (false, true) => Health::Suspect,
            (false, false) => Health::Healthy,
        };
    }
    let agents = context.spec.agents_in(region);
    let silent = agents.iter().filter(|agent| !context.is_live(agent)).count();
    if silent == 0 {
        return Health::Healthy;
    }
    let long = session_limit(&context.spec.policy.timing) + context.spec.policy.detect_after;
    let heard =
        |agent: &&&crate::AgentId| view.reports.get(**agent).map_or(view.elected, |heard| heard.at);
    let recent = agents.iter().filter(|agent| now.since(heard(agent)) <= long).count();
    if recent == 0 { Health::Unreachable } else { Health::Suspect }
}
