//! `arbiter maintain`, `approvals`, `approve`: guard rails for people.

use super::connect::{Arbiters, Common, Node, Where, Why};
use super::control::done;
use super::exit::{Exit, Fail, say};
use super::render::guards as render;
use super::status::json;
use arbiter_proto::v1 as pb;
use clap::Args;
use std::time::Duration;

/// Options of `arbiter maintain`.
#[derive(Args, Debug)]
pub(super) struct MaintainArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    why: Why,
    /// How long, such as 1h, at most 12h; then leases are as policy says again, by themselves.
    #[arg(long = "for", value_name = "TIME", value_parser = time, required_unless_present = "end")]
    lasts: Option<Duration>,
    /// Leases meanwhile, at most 10m: arbiters and agents may be silent for nearly that long, and a
    /// failover without a word of the lost region waits that long.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "60s")]
    lease: Duration,
    /// End it now.
    #[arg(long, conflicts_with = "lasts")]
    end: bool,
}

/// Options of `arbiter approvals`.
#[derive(Args, Debug)]
pub(super) struct ApprovalsArgs {
    #[command(flatten)]
    at: Where,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `arbiter approve`.
#[derive(Args, Debug)]
pub(super) struct ApproveArgs {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    why: Why,
    /// The request, as arbiter approvals lists it.
    id: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A time with its unit.
///
/// # Errors
/// A sentence.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    cluster_config::duration(text)
        .ok_or_else(|| format!("{text:?} is no time with a unit, such as 30m or 2h, up to 7 days"))
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) async fn maintain(args: MaintainArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let group = arbiters.group(&args.common.group).await?;
    let asked = Some(args.why.asked()?);
    let (name, expected_epoch) = (args.common.group.clone(), group.epoch);
    let outcome = if args.end {
        let request = pb::GroupRequest { asked, group: name, expected_epoch };
        let call = |node: Node| {
            let request = request.clone();
            async move { node.admin().end_maintenance(request).await }
        };
        arbiters.change(call).await?
    } else {
        let request = pb::MaintainRequest {
            asked,
            group: name,
            for_ms: args.lasts.map_or(0, millis),
            lease_ms: millis(args.lease),
            expected_epoch,
        };
        let call = |node: Node| {
            let request = request.clone();
            async move { node.admin().maintain(request).await }
        };
        arbiters.change(call).await?
    };
    done(outcome, args.common.json)
}

pub(super) async fn approvals(args: ApprovalsArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.at)?;
    let call =
        |node: Node| async move { node.query().list_approvals(pb::ListApprovalsRequest {}).await };
    let found = arbiters.ask(call).await?;
    say(&if args.json { json(&found)? } else { render::approvals(&found) });
    Ok(Exit::Yes)
}

pub(super) async fn approve(args: ApproveArgs) -> Result<Exit, Fail> {
    if args.why.reason.is_empty() {
        let why = "an approval needs a reason: what did you check?";
        let next = format!("arbiter approve {} --reason \"…\"", args.id);
        return Err(Fail::refused("no-reason", why, next));
    }
    let arbiters = Arbiters::find(&args.at)?;
    let request = pb::ApproveRequest { asked: Some(args.why.asked()?), id: args.id };
    let call = |node: Node| {
        let request = request.clone();
        async move { node.admin().approve(request).await }
    };
    done(arbiters.change(call).await?, args.json)
}
