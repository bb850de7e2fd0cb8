//! What became of a plan's instances, and how long recovery took. Knows layout and words; measures
//! nothing.

use super::{Look, or_dash, row, span, wall};
use arbiter_proto::v1 as pb;

/// Rows of cells under a head, for text and pages alike.
pub(super) struct Table {
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    fn text(self, look: Look) -> String {
        let head = self.head.iter().map(|cell| cell.to_uppercase()).collect();
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(self.rows).collect();
        if rows.len() == 1 { String::new() } else { look.columns(&rows) }
    }
}

/// All of it as text; empty where nothing was written down.
pub(super) fn text(plan: &pb::Plan, look: Look) -> String {
    let mut parts = vec![instances(plan).text(look), recovered(plan).text(look)];
    let said: String = since(plan).into_iter().map(|line| line + "\n").collect();
    let joined = parts.pop().unwrap_or_default() + &said;
    parts.extend([joined, present(plan).text(look)]);
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.map(|part| part + "\n").collect()
}

/// A row an instance: those of the source by their fence, then what serves.
pub(super) fn instances(plan: &pb::Plan) -> Table {
    let rows = plan.instances.iter().map(|one| {
        let by = match (one.became.as_str(), one.until_wall_ms) {
            ("unfenced", 0) => format!("since {}: {}", wall(one.wall_ms), one.by),
            ("unfenced", until) => {
                format!("since {}, until {}: {}", wall(one.wall_ms), wall(until), one.by)
            }
            ("awaited", _) => String::new(),
            _ => one.by.clone(),
        };
        let after = after(plan.opened_wall_ms, one.wall_ms);
        vec![
            one.instance.clone(),
            or_dash(&one.kind),
            or_dash(&one.region),
            one.became.clone(),
            after,
            or_dash(&by),
        ]
    });
    let head = vec!["Instance", "Kind", "Region", "Became", "After", "By"];
    Table { head, rows: rows.collect() }
}

/// First write, and last client, from each of the beginnings that there are.
pub(super) fn recovered(plan: &pb::Plan) -> Table {
    let heard = plan.heard_wall_ms > 0;
    let mut head = vec!["Recovered", "After loss", "After opening", "After fence", "By"];
    let what = [("first write", &plan.first_write), ("last client", &plan.last_client)];
    let found = what.into_iter().filter_map(|(name, found)| Some((name, found.as_ref()?)));
    let rows = found.map(|(name, found)| {
        let bound = if found.at_most && found.wall_ms > 0 { "at most " } else { "" };
        let from = |begun: u64| format!("{bound}{}", after(begun, found.wall_ms));
        let mut cells = row(&[name, &from(plan.heard_wall_ms), &from(plan.opened_wall_ms)]);
        cells.extend([from(plan.fenced_wall_ms), found.by.clone()]);
        if !heard {
            cells.remove(1);
        }
        cells
    });
    let rows = rows.collect();
    if !heard {
        head.remove(1);
    }
    Table { head, rows }
}

/// What the beginnings are, and the objective, a sentence each.
pub(super) fn since(plan: &pb::Plan) -> Vec<String> {
    let Some(first) = &plan.first_write else { return Vec::new() };
    let mut said = Vec::new();
    let source = &plan.source;
    if plan.heard_wall_ms > 0 {
        let at = wall(plan.heard_wall_ms);
        said.push(format!("loss: {source} was last heard at {at}; it was lost no sooner"));
    }
    if plan.fenced_wall_ms > 0 {
        let at = wall(plan.fenced_wall_ms);
        said.push(format!("fence: proven at {at}; {source} wrote no later"));
    }
    let last = plan.last_client.as_ref().unwrap_or(first);
    let begun = if plan.heard_wall_ms > 0 { plan.heard_wall_ms } else { plan.opened_wall_ms };
    if plan.rto_ms > 0 && first.wall_ms > 0 {
        let took = last.wall_ms.saturating_sub(begun);
        let word = match last.wall_ms {
            0 => "not known yet",
            _ if took <= plan.rto_ms => "kept",
            _ => "missed",
        };
        said.push(format!("objective: {}, {word}", span(plan.rto_ms)));
    }
    said
}

/// How what is only watched, and the target's workloads, are now.
pub(super) fn present(plan: &pb::Plan) -> Table {
    let rows = plan.present.iter().map(|one| {
        let what = super::instance::particular(one);
        row(&[&one.instance, &one.kind, &one.condition, &or_dash(&what)])
    });
    Table { head: vec!["Now", "Kind", "State", "What"], rows: rows.collect() }
}

/// From one wall clock to another; a dash where either is not known.
fn after(begun: u64, at: u64) -> String {
    if begun == 0 || at == 0 { "-".to_owned() } else { span(at.saturating_sub(begun)) }
}
