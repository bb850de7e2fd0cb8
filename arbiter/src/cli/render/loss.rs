//! What a failover lost, transaction by transaction, or how much of a stream. Knows layout; counts
//! nothing.

use super::{Look, bytes, row};
use arbiter_proto::v1 as pb;
use std::fmt::Write;

/// Transactions shown as text; `--json` has all that are listed.
const SHOWN_MAX: usize = 20;

/// What was read on the old side, and how to look into what was kept there.
pub(super) fn losses(plan: &pb::Plan, look: Look) -> String {
    let mut out = String::new();
    for found in &plan.losses {
        if let Some(loss) = &found.loss {
            out.push_str(&one(found, loss, look));
        }
    }
    if plan.losses_awaited > 0 {
        let _ = writeln!(
            out,
            "lost exactly: not known until {} can be read again ({} to be read)",
            plan.source, plan.losses_awaited
        );
    }
    out
}

/// Of a kind that keeps no log of what was written when: how much of its stream is all there is.
fn uncounted(found: &pb::PlanLoss, loss: &pb::Loss) -> String {
    let (from, end) = (loss.from.unwrap_or_default(), loss.end.unwrap_or_default());
    let lacks = end.offset.saturating_sub(from.offset);
    let what = if from.timeline == end.timeline && lacks > 0 {
        let (from, end) = (from.offset, end.offset);
        format!("{} of its stream, from offset {from} to {end}", bytes(lacks))
    } else {
        format!("it ended at offset {}, and where it left the others is not known", end.offset)
    };
    let mut out = format!(
        "lost on {}: {what}; which changes these were, its server does not write down\n\
         all of its data is kept on its host in {}\n",
        found.instance, loss.kept
    );
    if found.kind == "redis" {
        out.push_str(
            "look into it: redis-server --port 6400 --dir A_COPY_OF_IT, with --appendonly yes where \
             it has an appendonlydir\n",
        );
    }
    out
}

fn one(found: &pb::PlanLoss, loss: &pb::Loss, look: Look) -> String {
    let instance = &found.instance;
    let Some(count) = loss.count else { return uncounted(found, loss) };
    if count == 0 {
        return format!("lost on {instance}: nothing\n");
    }
    let mut out = format!(
        "lost on {instance}: {count} transactions, committed from {} to {}\n\
         kept on its host in {}\n",
        loss.first, loss.last, loss.kept
    );
    if let Some(first) = loss.listed.first() {
        let from = loss.from.unwrap_or_default();
        let _ = writeln!(
            out,
            "look into it: pg_waldump -p {} -t {} -s {} -r Transaction",
            loss.kept, from.timeline, first.lsn
        );
    }
    let mut rows = vec![row(&["TRANSACTION", "COMMITTED", "LSN"])];
    for one in loss.listed.iter().take(SHOWN_MAX) {
        rows.push(row(&[&one.id.to_string(), &one.at, &one.lsn]));
    }
    out.push_str(&look.columns(&rows));
    let more = count.saturating_sub(loss.listed.len().min(SHOWN_MAX) as u64);
    if more > 0 {
        let _ = writeln!(out, "and {more} more, in {}/transactions.txt", loss.kept);
    }
    out
}
