//! `arbiter history`: what happened, newest first.

use super::{Look, next_line, or_dash, row, wall};
use arbiter_proto::v1 as pb;

pub(in crate::cli) fn history(answer: &pb::ListPlansResponse, look: Look) -> String {
    let mut out = String::new();
    if answer.plans.is_empty() && answer.events.is_empty() {
        return format!("nothing happened yet\n{}", next_line(""));
    }
    if !answer.plans.is_empty() {
        let mut rows = vec![row(&["PLAN", "KIND", "GROUP", "FROM", "TO", "STATE", "OPENED", "BY"])];
        for plan in &answer.plans {
            rows.push(vec![
                plan.id.to_string(),
                plan.kind.clone(),
                plan.group.clone(),
                plan.source.clone(),
                plan.target.clone(),
                plan.state.clone(),
                wall(plan.opened_wall_ms),
                or_dash(&plan.opened_by),
            ]);
        }
        out.push_str(&look.columns(&rows));
        out.push('\n');
    }
    let mut rows = vec![row(&["WHEN", "EVENT", "GROUP", "WHAT"])];
    for event in &answer.events {
        let cells = [wall(event.wall_ms), event.kind.clone(), or_dash(&event.group)];
        rows.push(cells.into_iter().chain([event.message.clone()]).collect());
    }
    out.push_str(&look.columns(&rows));
    out.push('\n');
    let newest = answer.plans.first().map(|plan| format!("arbiter report {}", plan.id));
    out + &next_line(&newest.unwrap_or_default())
}
