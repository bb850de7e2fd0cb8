//! Drills: as they run, as they ran, and what to change.

use super::{Look, bytes, next_line, or_dash, row, span, wall};
use arbiter_proto::v1 as pb;
use std::fmt::Write;

/// One line: what the drill is.
pub(in crate::cli) fn title(drill: &pb::Drill) -> String {
    let pb::Drill { id, group, kind, home, away, state, .. } = drill;
    let moves = match kind.as_str() {
        "rehearsal" => format!("on copies in {away}"),
        _ => format!("from {home} to {away} and back"),
    };
    format!("drill {id}: {kind} of {group} {moves}, {state}")
}

/// One line: where an open one stands.
pub(in crate::cli) fn now(drill: &pb::Drill) -> String {
    let at = format!("drill {} is at {}", drill.id, drill.phase);
    match drill.waits_for.as_str() {
        "" => at,
        why => format!("{at}, waits: {why}"),
    }
}

/// How it went.
pub(in crate::cli) fn report(drill: &pb::Drill, look: Look) -> String {
    let mut out = title(drill);
    let _ = write!(out, "\nbegan {} by {}", wall(drill.began_wall_ms), or_dash(&drill.began_by));
    if !drill.reason.is_empty() {
        let _ = write!(out, ": {}", drill.reason);
    }
    match drill.ended_wall_ms {
        0 => {
            let _ = write!(out, "\n{}", now(drill));
        }
        ended => {
            let _ = write!(out, "\nended {}", wall(ended));
        }
    }
    let why = if drill.why.is_empty() { String::new() } else { format!(": {}", drill.why) };
    let _ = writeln!(out, "\n{}{why}\n", look.paint(&drill.state));
    if drill.measured {
        out.push_str(&measures(drill, look));
        out.push('\n');
    }
    let mut said: Vec<_> = drill.parts.iter().map(|p| row(&[&p.name, "done", &p.said])).collect();
    said.extend(drill.faults.iter().map(|fault| row(&["-", "failed", fault])));
    if !said.is_empty() {
        said.insert(0, row(&["PART", "STATE", "WHAT"]));
        out.push_str(&look.columns(&said));
        out.push('\n');
    }
    for proposal in &drill.proposals {
        let _ = writeln!(out, "proposed: {proposal}");
    }
    out + &next_line(&next(drill))
}

fn next(drill: &pb::Drill) -> String {
    match (drill.state.as_str(), drill.plan_out) {
        ("open", _) => format!("arbiter status --group {} --watch", drill.group),
        (_, 0) => format!("arbiter drill list --group {}", drill.group),
        (_, out) => format!("arbiter report {out}"),
    }
}

/// What was measured, against the objectives.
fn measures(drill: &pb::Drill, look: Look) -> String {
    look.columns(&measured(drill))
}

/// It in rows, the first of them the head.
pub(super) fn measured(drill: &pb::Drill) -> Vec<Vec<String>> {
    let held = |within: bool| if within { "ok" } else { "failed" };
    let rto = drill.rto_ms;
    let (objective, word) = match rto {
        0 => ("-".to_owned(), "-"),
        _ => (span(rto), held(drill.recovery_ms <= rto)),
    };
    let mut rows = vec![row(&["MEASURE", "FOUND", "OBJECTIVE", "STATE"])];
    rows.push(row(&["recovery", &span(drill.recovery_ms), &objective, word]));
    rows.push(row(&["write outage", &span(drill.outage_ms), "-", "-"]));
    let (bound, rpo) = (loss(drill), span(drill.rpo_ms));
    let within = drill.loss_known && (drill.loss_bytes == 0 || drill.loss_age_ms <= drill.rpo_ms);
    rows.push(row(&["loss bound", &bound, &rpo, held(within)]));
    if drill.lost_counted {
        let lost = format!("{} transactions", drill.lost_transactions);
        rows.push(row(&["lost", &lost, "-", "-"]));
    }
    rows
}

fn loss(drill: &pb::Drill) -> String {
    match (drill.loss_known, drill.stalls) {
        (false, _) => "not known".to_owned(),
        (true, true) => format!("{}, none acknowledged", bytes(drill.loss_bytes)),
        (true, false) => format!("{}, {} old", bytes(drill.loss_bytes), span(drill.loss_age_ms)),
    }
}

/// Newest first, and when the next is due.
pub(in crate::cli) fn list(answer: &pb::ListDrillsResponse, group: &str, look: Look) -> String {
    let mut out = match answer.due.as_str() {
        "" => "policy asks for no drills\n".to_owned(),
        due => format!("the next drill is {due}\n"),
    };
    if !answer.drills.is_empty() {
        let head = ["DRILL", "KIND", "STATE", "BEGAN", "BY", "RECOVERY", "OUTAGE", "WHY"];
        let mut rows = vec![row(&head)];
        for drill in &answer.drills {
            let time = |ms| if drill.measured { span(ms) } else { "-".to_owned() };
            rows.push(vec![
                drill.id.to_string(),
                drill.kind.clone(),
                drill.state.clone(),
                wall(drill.began_wall_ms),
                or_dash(&drill.began_by),
                time(drill.recovery_ms),
                time(drill.outage_ms),
                or_dash(&drill.why),
            ]);
        }
        out.push('\n');
        out.push_str(&look.columns(&rows));
    }
    out.push('\n');
    let shown = answer.drills.first().map(|drill| format!("arbiter drill show {}", drill.id));
    let run = format!("arbiter drill run --kind rehearsal --group {group}");
    out + &next_line(&shown.unwrap_or(run))
}
