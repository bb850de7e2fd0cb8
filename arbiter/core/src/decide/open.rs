//! Whether a failover opens by itself. Knows the judgement and the gates; runs no plan.

use super::context::Context;
use super::judge::{Judgement, failed_primary, judge, primary_lost};
use super::preflight::{OpenRequest, preflight};
use crate::{Command, Mode, PlanKind, Reason};

/// Open a failover, or write down what would be done and what blocks it.
pub(super) fn open(context: &Context) -> Option<Command> {
    let active = context.group.active()?;
    if context.group.plan.is_some() {
        return None;
    }
    let judgement = judge(context);
    let region = judgement.is_lost(context);
    if !region && !primary_lost(context) {
        let gone = context.group.judged_lost && !judgement.is_suspect();
        return gone.then(|| recorded(context, String::new()));
    }
    let why = if region { signs(&judgement) } else { dead_primary(context) };
    let request = OpenRequest::plain(context.id, PlanKind::Failover, true);
    let blocked = match preflight(context.state, context.view, context.now, &request) {
        Ok(open) => return Some(Command::OpenPlan(open)),
        Err(reasons) => codes(&reasons),
    };
    if context.group.judged_lost {
        return None;
    }
    let would = match context.group.mode {
        Mode::Automatic => "a failover is blocked",
        Mode::Manual => "an operator should decide on a failover",
        Mode::Observe => "a failover would have opened",
    };
    Some(recorded(context, format!("{would} from {active}: {why}; gates closed: {blocked}")))
}

fn recorded(context: &Context, would_have: String) -> Command {
    Command::RecordJudgement { group: context.id.clone(), would_have }
}

/// Why the region is lost, in the words of its signals.
pub(super) fn signs(judgement: &Judgement) -> String {
    let agreeing = judgement.signals.iter().filter(|signal| signal.since.is_some());
    let kinds: Vec<&str> = agreeing.map(|signal| signal.kind).collect();
    format!("region lost by {}", kinds.join(" and "))
}

fn dead_primary(context: &Context) -> String {
    match failed_primary(context) {
        Some((id, condition)) => format!("primary {id} is {condition:?}").to_lowercase(),
        None => "the primary is lost".to_owned(),
    }
}

fn codes(reasons: &[Reason]) -> String {
    let mut codes: Vec<&str> = reasons.iter().map(|reason| reason.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes.join(", ")
}
