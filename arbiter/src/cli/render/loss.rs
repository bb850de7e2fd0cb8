//! What a failover lost, transaction by transaction and object by object. Knows layout; counts
//! nothing.

use super::{Look, bytes, row, wall};
use arbiter_proto::v1 as pb;
use std::fmt::Write;

/// Transactions, or objects, shown as text; `--json` has all that are listed.
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

fn one(found: &pb::PlanLoss, loss: &pb::Loss, look: Look) -> String {
    let instance = &found.instance;
    if let Some(late) = &loss.late {
        return objects(instance, &loss.kept, late, look);
    }
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

/// What is known without a log: from where to where in its stream.
fn uncounted(found: &pb::PlanLoss, loss: &pb::Loss) -> String {
    let instance = &found.instance;
    let (from, end) = (loss.from.unwrap_or_default(), loss.end.unwrap_or_default());
    let known = from.timeline == end.timeline && end.offset > from.offset;
    let span = format!(
        "{} of its stream, from {} to {}",
        bytes(end.offset.saturating_sub(from.offset)),
        place(from),
        place(end)
    );
    if loss.kept.is_empty() {
        let known = if known { format!(" exactly, at least {span}") } else { String::new() };
        return format!(
            "lost on {instance}: not known{known}; what brought it back kept nothing for the \
             arbiter\nlook there: the log of its manager, and the archive of its WAL, where it has \
             one, on the old timeline\n"
        );
    }
    let what = if known { span } else { "from where to where is not known".to_owned() };
    let how = match found.kind.as_str() {
        "redis" => {
            "redis-server --port 6400 --dir A_COPY_OF_IT, with --appendonly yes where it has an \
             appendonlydir"
        }
        _ => "start a server on a copy of it",
    };
    format!(
        "lost on {instance}: {what}; which writes those were no log tells\nkept on its host in {}\n\
         look into it: {how}\n",
        loss.kept
    )
}

/// A log without timelines counts bytes.
fn place(at: pb::StreamPosition) -> String {
    match at.timeline {
        0 => at.offset.to_string(),
        timeline => format!("{timeline}:{:X}/{:X}", at.offset >> 32, at.offset as u32),
    }
}

/// What was written to a bucket too late.
fn objects(instance: &str, kept: &str, late: &pb::LateObjects, look: Look) -> String {
    let since = wall(late.since_wall_ms);
    let count = late.listed.len();
    let mut out = match count {
        0 if late.whole && late.unknown == 0 => {
            format!("written late on {instance}: nothing, since {since}\n")
        }
        0 => format!("written late on {instance}: nothing of what was looked at, since {since}\n"),
        count => format!(
            "written late on {instance}: {count} objects, since {since}, when epoch {} began \
             elsewhere\nthey lie in {kept}\nlook into one: {}\n",
            late.epoch, late.read
        ),
    };
    let mut rows = vec![row(&["WRITTEN", "KEY"])];
    for one in late.listed.iter().take(SHOWN_MAX) {
        rows.push(row(&[&wall(one.at_wall_ms), &one.key]));
    }
    if count > 0 {
        out.push_str(&look.columns(&rows));
    }
    if count > SHOWN_MAX {
        let _ = writeln!(out, "and {} more, which --json lists", count - SHOWN_MAX);
    }
    if late.unknown > 0 {
        let _ = writeln!(
            out,
            "and more than these: {} others were changed since, by a write or by replication",
            late.unknown
        );
    }
    if !late.whole {
        out.push_str("and perhaps more than these: it holds more objects than were listed\n");
    }
    out
}
