//! `arbiter audit`: what people asked for and what became of it; and whether a copy is whole.

use super::connect::{Arbiters, Node, Where};
use super::exit::{Exit, Fail, say};
use super::render::guards as render;
use super::status::json;
use crate::audit_file::{self, Broken, Gap, Good, Line};
use crate::wire;
use arbiter_proto::v1 as pb;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Pause before the log is followed at another arbiter.
const AGAIN: Duration = Duration::from_millis(700);
/// Tries without an answer before a command stops following: an election passes within it.
const SILENT_MAX: u32 = 60;

/// Options of `arbiter audit`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    what: Option<AuditCommand>,
    #[command(flatten)]
    at: Where,
    /// Records later than this number; all that the arbiters keep otherwise.
    #[arg(long, value_name = "SEQ", default_value_t = 0, hide_default_value = true)]
    since: u64,
    /// Print each further record as it comes, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Print one JSON object a line, as copies have them.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum AuditCommand {
    /// Check a copy: that no line was changed, taken out or put in. Asks nobody.
    Verify(VerifyArgs),
}

#[derive(Args, Debug)]
struct VerifyArgs {
    #[command(flatten)]
    at: Where,
    /// The copy: a line of JSON a record.
    file: PathBuf,
    /// Also that it ends as the cluster's log does, or stands in it.
    #[arg(long)]
    against_cluster: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: AuditArgs) -> Result<Exit, Fail> {
    if let Some(AuditCommand::Verify(args)) = args.what {
        return verify(args).await;
    }
    let arbiters = Arbiters::find(&args.at)?;
    let (mut since, mut silent) = (args.since, 0);
    loop {
        match pages(&arbiters, &args, &mut since).await {
            Ok(()) if !args.follow => return Ok(Exit::Yes),
            Ok(()) => silent = 0,
            Err(fail) if !args.follow || silent >= SILENT_MAX => return Err(fail),
            Err(_) => silent += 1,
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Print pages until the stream ends; `since` goes along.
async fn pages(arbiters: &Arbiters, args: &AuditArgs, since: &mut u64) -> Result<(), Fail> {
    let request = pb::ListAuditRequest { since: *since, follow: args.follow };
    let call = |node: Node| async move { node.query().list_audit(request).await };
    let mut pages = arbiters.ask(call).await?;
    while let Some(page) = pages.message().await? {
        if page.missing_to > 0 {
            let (from, to) = (page.missing_from, page.missing_to);
            say(&match args.json {
                true => line(&Line::Gap { gap: Gap { from, to } })?,
                false => format!("records {from} to {to} are kept by copies only"),
            });
        }
        let none = page.records.is_empty();
        for record in page.records {
            say(&match args.json {
                true => line(&Line::Record(Box::new(wire::audit_from_proto(record))))?,
                false => render::record(&record),
            });
        }
        *since = page.head_seq.max(*since);
        if none && !args.follow && !args.json {
            say("no later record\nNEXT: arbiter status");
        }
    }
    Ok(())
}

/// A line as copies have it.
fn line(line: &Line) -> Result<String, Fail> {
    line.text().map_err(|error| Fail::error(error.to_string(), ""))
}

async fn verify(args: VerifyArgs) -> Result<Exit, Fail> {
    let file = args.file.display();
    let text = std::fs::read_to_string(&args.file).map_err(|error| {
        Fail::error(format!("{file} cannot be read: {error}"), "name a copy of the audit log")
    })?;
    let good = match audit_file::check(&text) {
        Ok(good) => good,
        Err(Broken { line, why }) => {
            if args.json {
                say(&json(&serde_json::json!({ "good": false, "line": line, "why": why }))?);
                return Ok(Exit::No);
            }
            let why = format!("line {line} of {file} is not as the cluster wrote it: {why}");
            let next = "compare with the copy of another arbiter, or: arbiter audit --json";
            return Err(Fail::refused("broken-chain", why, next));
        }
    };
    let cluster = match args.against_cluster {
        true => Some(against(&args.at, &good).await?),
        false => None,
    };
    if args.json {
        say(&json(&serde_json::json!({ "good": true, "copy": good, "cluster": cluster }))?);
        return Ok(Exit::Yes);
    }
    let mut out = format!(
        "{} records, {} to {}: each follows the one before",
        good.records, good.first, good.last
    );
    for gap in &good.gaps {
        out.push_str(&format!("\nrecords {} to {} are missing, and it says so", gap.from, gap.to));
    }
    match &cluster {
        Some(said) => out.push_str(&format!("\n{said}")),
        None => out.push_str("\nwhether it is the cluster's own: --against-cluster"),
    }
    say(&format!("{out}\nNEXT: arbiter audit"));
    Ok(Exit::Yes)
}

/// Whether the last record of a copy is one of the cluster's.
async fn against(at: &Where, good: &Good) -> Result<String, Fail> {
    let arbiters = Arbiters::find(at)?;
    let request = pb::ListAuditRequest { since: good.last.saturating_sub(1), follow: false };
    let call = |node: Node| async move { node.query().list_audit(request).await };
    let mut pages = arbiters.ask(call).await?;
    let page = pages.message().await?.unwrap_or_default();
    let other = |why: String| {
        let next = "compare with the copy of another arbiter, or: arbiter audit --json";
        Fail::refused("not-the-cluster", why, next)
    };
    if page.head_seq < good.last {
        let text =
            format!("the copy ends at {}, the cluster's log at {}", good.last, page.head_seq);
        return Err(other(format!("{text}: it is of another cluster")));
    }
    match page.records.iter().find(|record| record.seq == good.last) {
        _ if good.last == 0 => Ok(format!("the cluster has {} records", page.head_seq)),
        Some(record) if record.hash != good.hash => {
            Err(other(format!("record {} of the cluster has another hash", good.last)))
        }
        Some(_) => {
            let behind = page.head_seq - good.last;
            Ok(format!("it is the cluster's own; the cluster has {behind} later records"))
        }
        None => Err(other(format!("the cluster keeps record {} no more", good.last))),
    }
}
