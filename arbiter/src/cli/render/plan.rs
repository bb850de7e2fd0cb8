//! Plans: as they would run, as they run, as they ran.

use super::{Look, bytes, next_line, or_dash, row, span, wall};
use arbiter_proto::v1 as pb;
use std::fmt::Write;

/// Shown before the row from which there is no way back.
const NO_RETURN: &str = "-- point of no return: until here the source can be resumed --";

/// One line: what the plan is.
pub(in crate::cli) fn title(plan: &pb::Plan) -> String {
    let pb::Plan { id, group, kind, source, target, state, .. } = plan;
    format!("plan {id}: {kind} of {group} from {source} to {target}, {state}")
}

/// What a plan would do; nothing is changed.
pub(in crate::cli) fn dry_run(plan: &pb::Plan, refused: &[pb::Reason], look: Look) -> String {
    let pb::Plan { group, kind, target, .. } = plan;
    let source = or_dash(&plan.source);
    let mut out =
        format!("would be a {kind} of {group} from {source} to {target}; nothing is changed\n\n");
    let mut rows = vec![row(&["STEP", "ON", "MAKES TRUE", "IF IT FAILS"])];
    for step in &plan.steps {
        rows.push(row(&[&step.name, &step.on, &step.makes_true, &step.on_failure]));
    }
    out.push_str(&marked(&plan.steps, &look.columns(&rows)));
    out.push('\n');
    if refused.is_empty() {
        let _ = writeln!(out, "it would open now");
        return out + &next_line(&format!("arbiter {kind} --group {group} --to {target}"));
    }
    let _ = writeln!(out, "it would not open now:");
    for reason in refused {
        let _ = writeln!(out, "  {}: {}", reason.code, reason.text);
    }
    let next = refused.iter().map(|reason| reason.next.as_str()).find(|next| !next.is_empty());
    out + &next_line(next.unwrap_or("arbiter explain"))
}

/// Where a plan stands: a row a line, one state word each.
pub(in crate::cli) fn progress(plan: &pb::Plan, look: Look) -> String {
    let mut out = title(plan);
    out.push('\n');
    out.push_str(&steps(plan, look));
    if !plan.halt_reason.is_empty() {
        let _ = writeln!(out, "{}: {}", look.paint("halted"), plan.halt_reason);
    }
    out
}

/// A step's line while a command follows its plan.
pub(in crate::cli) fn step_line(step: &pb::PlanStep, look: Look) -> String {
    let took = if step.state == "running" { String::new() } else { took(step.took_ms) };
    let state = format!("{:10}", step.state).replace(&step.state, &look.paint(&step.state));
    let line = format!("{:18} {state} {took:>8}  {}", step.name, note(step));
    line.trim_end().to_owned()
}

/// What a plan did.
pub(in crate::cli) fn report(plan: &pb::Plan, look: Look) -> String {
    let mut out = title(plan);
    let _ = write!(out, "\nopened {} by {}", wall(plan.opened_wall_ms), or_dash(&plan.opened_by));
    if !plan.reason.is_empty() {
        let _ = write!(out, ": {}", plan.reason);
    }
    let options: Vec<&str> = [(plan.immediate, "immediate"), (plan.accept_loss, "accepts loss")]
        .iter()
        .filter_map(|(set, word)| set.then_some(*word))
        .collect();
    if !options.is_empty() {
        let _ = write!(out, " ({})", options.join(", "));
    }
    for given in &plan.overrides {
        let _ = write!(out, "\noverrides {} by {}", given.gate, given.by);
        let notes = [(!given.needed, "it was not needed"), (given.lapsed, "lapsed")];
        for (_, note) in notes.iter().filter(|(holds, _)| *holds) {
            let _ = write!(out, ", {note}");
        }
    }
    let advanced = plan.steps.iter().any(|step| step.point_of_no_return && step.state == "done");
    let epoch = if advanced {
        format!("{} → {}", plan.epoch, plan.epoch + 1)
    } else {
        plan.epoch.to_string()
    };
    let _ = writeln!(out, "\nepoch {epoch}   open for {}\n", span(plan.took_ms));
    out.push_str(&steps(plan, look));
    out.push('\n');
    out.push_str(&evidence(plan, look));
    out.push('\n');
    out.push_str(&super::recovered::text(plan, look));
    let _ = writeln!(out, "loss bound: {}", loss(plan));
    out.push_str(&super::loss::losses(plan, look));
    if !plan.end_note.is_empty() {
        let _ = writeln!(out, "ended: {}", plan.end_note);
    }
    if !plan.halt_reason.is_empty() {
        let _ = writeln!(out, "{}: {}", look.paint("halted"), plan.halt_reason);
    }
    out + &next_line(&plan.halt_next)
}

/// The bytes are as last heard. What an unheard source acknowledged until its fence comes on top.
fn loss(plan: &pb::Plan) -> String {
    if !plan.loss_known {
        return "not known".to_owned();
    }
    let heard = bytes(plan.loss_bytes);
    let unheard = plan.evidence.iter().any(|evidence| evidence.kind != "confirmed");
    if plan.kind != "failover" || !unheard {
        return heard;
    }
    let age = span(plan.loss_age_ms);
    format!(
        "{heard} as last heard, {age} before the decision, and what the source acknowledged from \
         then until its fence"
    )
}

fn steps(plan: &pb::Plan, look: Look) -> String {
    let mut rows = vec![row(&["STEP", "ON", "STATE", "TOOK", "NOTE"])];
    for step in &plan.steps {
        let waits = matches!(step.state.as_str(), "pending" | "running");
        let took = if waits { "-".to_owned() } else { took(step.took_ms) };
        rows.push(row(&[&step.name, &step.on, &step.state, &took, &note(step)]));
    }
    marked(&plan.steps, &look.columns(&rows))
}

/// How long a step took; most take less than a tenth of a second.
fn took(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { span(ms) }
}

fn note(step: &pb::PlanStep) -> String {
    match (step.attempts, step.note.as_str()) {
        (0 | 1, note) => note.to_owned(),
        (attempts, note) => format!("attempt {attempts}: {note}"),
    }
}

/// The table with the line that marks the point of no return.
fn marked(steps: &[pb::PlanStep], table: &str) -> String {
    let mut out = String::new();
    for (at, line) in table.lines().enumerate() {
        let marks = at > 0 && steps.get(at - 1).is_some_and(|step| step.point_of_no_return);
        if marks {
            let _ = writeln!(out, "{NO_RETURN}");
        }
        let _ = writeln!(out, "{line}");
    }
    out
}

fn evidence(plan: &pb::Plan, look: Look) -> String {
    if plan.evidence.is_empty() {
        return "no evidence was recorded\n".to_owned();
    }
    let mut rows = vec![row(&["INSTANCE", "EVIDENCE", "AGENT", "TOKEN", "WAITED", "NOTE"])];
    for found in &plan.evidence {
        let waited = match found.waited_ms {
            0 => "-".to_owned(),
            ms => span(ms),
        };
        let cells =
            [&found.instance, &found.kind, &found.agent, &found.token, &waited, &found.note];
        rows.push(cells.into_iter().cloned().collect());
    }
    look.columns(&rows)
}
