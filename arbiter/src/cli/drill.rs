//! `arbiter drill`: run a plan on purpose and go back, or rehearse on copies; see how drills went.

use super::connect::{Arbiters, Common, Node, Why};
use super::control::done;
use super::exit::{Exit, Fail, on_terminal, say};
use super::plan::Steps;
use super::render::{Look, drill as render, page};
use super::show::write_page;
use super::status::json;
use arbiter_proto::v1 as pb;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// How often a drill is looked at while a command follows it.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);
/// Looks without an answer before a command stops following: an election passes within it.
const SILENT_LOOKS_MAX: u32 = 240;

/// Options of `arbiter drill`.
#[derive(Args, Debug)]
pub(super) struct DrillArgs {
    #[command(subcommand)]
    what: DrillCommand,
}

#[derive(Subcommand, Debug)]
enum DrillCommand {
    /// Begin a drill, and follow it to its end.
    Run(RunArgs),
    /// List drills, and when the next is due.
    List(ListArgs),
    /// Show how a drill went: measures against the objectives, and what to change.
    Show(ShowArgs),
    /// End the open drill. A plan of it that can still be undone is; nothing moves back by itself.
    Abort(AbortArgs),
}

#[derive(Args, Debug)]
struct RunArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    why: Why,
    /// rehearsal: copies of what stands by are promoted aside, checked and removed; nothing moves.
    /// switchover: to the other region and back, without loss.
    /// region-loss: a failover that skips the clean stop, and back. In async, commits first wait
    /// until the standby has all.
    #[arg(long, value_parser = ["rehearsal", "switchover", "region-loss"])]
    kind: String,
    /// region-loss in async: have no commit wait; what the standby has not received may be lost.
    #[arg(long)]
    accept_loss: bool,
    /// Return once it has begun, without following it.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    common: Common,
    /// How many.
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

#[derive(Args, Debug)]
struct ShowArgs {
    #[command(flatten)]
    common: Common,
    /// Its id; the newest drill otherwise.
    id: Option<u64>,
    /// Write it as a page into this file, with the time of each step of its plans drawn.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct AbortArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    why: Why,
}

pub(super) async fn run(args: DrillArgs) -> Result<Exit, Fail> {
    match args.what {
        DrillCommand::Run(args) => begin(args).await,
        DrillCommand::List(args) => list(args).await,
        DrillCommand::Show(args) => show(args).await,
        DrillCommand::Abort(args) => abort(args).await,
    }
}

async fn begin(args: RunArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let group = arbiters.group(&args.common.group).await?;
    let request = pb::RunDrillRequest {
        asked: Some(args.why.asked()?),
        group: args.common.group.clone(),
        kind: args.kind,
        accept_loss: args.accept_loss,
        expected_epoch: group.epoch,
    };
    let call = |node: Node| {
        let request = request.clone();
        async move { node.admin().run_drill(request).await }
    };
    let drill = arbiters.change(call).await?.drill.unwrap_or_default();
    let as_json = args.common.json;
    if !as_json {
        say(&render::title(&drill));
    }
    if !args.no_wait {
        return follow(&arbiters, &drill, as_json).await;
    }
    if as_json {
        say(&json(&drill)?);
    }
    Ok(Exit::Yes)
}

async fn ask(
    arbiters: &Arbiters,
    group: &str,
    id: u64,
    limit: u32,
) -> Result<pb::ListDrillsResponse, Fail> {
    let request = pb::ListDrillsRequest { group: group.to_owned(), id, limit };
    let call = |node: Node| {
        let request = request.clone();
        async move { node.query().list_drills(request).await }
    };
    arbiters.ask(call).await
}

/// Print each change until the drill ends, and how it went.
async fn follow(arbiters: &Arbiters, begun: &pb::Drill, as_json: bool) -> Result<Exit, Fail> {
    let look = Look { colour: on_terminal() };
    let (mut said, mut silent) = (String::new(), 0);
    let mut steps = Steps::default();
    loop {
        let found = ask(arbiters, &begun.group, begun.id, 1).await;
        let drill = match found.map(|answer| answer.drills.into_iter().next()) {
            Ok(Some(drill)) => drill,
            Err(fail) if silent >= SILENT_LOOKS_MAX => return Err(fail),
            Ok(None) | Err(_) => {
                silent += 1;
                tokio::time::sleep(FOLLOW_INTERVAL).await;
                // The one that answered may have been cut off.
                let _ = arbiters.status("").await;
                continue;
            }
        };
        silent = 0;
        for plan in [drill.plan_out, drill.plan_back].into_iter().filter(|plan| *plan != 0) {
            steps.show(arbiters, plan, as_json).await?;
        }
        let now = render::now(&drill);
        if now != said && drill.state == "open" {
            say(&if as_json { json(&drill)? } else { now.clone() });
            said = now;
        }
        if drill.state != "open" {
            return shown(&drill, as_json, look);
        }
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
}

fn shown(drill: &pb::Drill, as_json: bool, look: Look) -> Result<Exit, Fail> {
    say(&if as_json { json(drill)? } else { render::report(drill, look) });
    Ok(if matches!(drill.state.as_str(), "completed" | "open") { Exit::Yes } else { Exit::No })
}

async fn list(args: ListArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let answer = ask(&arbiters, &args.common.group, 0, args.limit).await?;
    let look = Look { colour: on_terminal() };
    say(&match args.common.json {
        true => json(&answer)?,
        false => render::list(&answer, &args.common.group, look),
    });
    Ok(Exit::Yes)
}

async fn show(args: ShowArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let id = args.id.unwrap_or(0);
    let found = ask(&arbiters, &args.common.group, id, 1).await?.drills.into_iter().next();
    let none = || {
        let why = match args.id {
            Some(id) => format!("no drill {id} of {} is kept", args.common.group),
            None => format!("{} was never drilled", args.common.group),
        };
        let next = format!("arbiter drill list --group {}", args.common.group);
        Fail::refused("no-drill", why, next)
    };
    let drill = found.ok_or_else(none)?;
    if let Some(file) = &args.html {
        let mut plans = Vec::new();
        for id in [drill.plan_out, drill.plan_back].into_iter().filter(|id| *id != 0) {
            match plan_of(&arbiters, id).await {
                Ok(plan) => plans.push(plan),
                // Drills are kept for longer than plans.
                Err(Fail::Refused { .. }) => {}
                Err(fail) => return Err(fail),
            }
        }
        write_page(file, &page::drill(&drill, &plans))?;
    }
    shown(&drill, args.common.json, Look { colour: on_terminal() })
}

async fn plan_of(arbiters: &Arbiters, id: u64) -> Result<pb::Plan, Fail> {
    let request = pb::GetPlanRequest { id };
    arbiters.ask(|node| async move { node.query().get_plan(request).await }).await
}

async fn abort(args: AbortArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let group = arbiters.group(&args.common.group).await?;
    let request = pb::GroupRequest {
        asked: Some(args.why.asked()?),
        group: args.common.group.clone(),
        expected_epoch: group.epoch,
    };
    let call = |node: Node| {
        let request = request.clone();
        async move { node.admin().abort_drill(request).await }
    };
    done(arbiters.change(call).await?, args.common.json)
}
