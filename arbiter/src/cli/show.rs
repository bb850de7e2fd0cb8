//! `arbiter explain`, `history`, `report`: why, what happened, how it went.

use super::connect::{Arbiters, Common, Node};
use super::exit::{Exit, Fail, on_terminal, say};
use super::render::{Look, explain as explain_text, history as history_text, page, plan};
use super::status::json;
use arbiter_proto::v1 as pb;
use clap::Args;
use std::path::{Path, PathBuf};

/// Options of `arbiter explain`.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    common: Common,
}

/// Options of `arbiter history`.
#[derive(Args, Debug)]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    common: Common,
    /// How many plans and events.
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

/// Options of `arbiter report`.
#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    common: Common,
    /// Its id; the newest plan otherwise.
    plan: Option<u64>,
    /// Write it as a page into this file, with the time of each step drawn.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) async fn explain(args: ExplainArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let request = pb::ExplainRequest { group: args.common.group.clone() };
    let call = |node: Node| {
        let request = request.clone();
        async move { node.query().explain(request).await }
    };
    let answer = arbiters.ask(call).await?;
    let look = Look { colour: on_terminal() };
    say(&if args.common.json { json(&answer)? } else { explain_text::explain(&answer, look) });
    Ok(Exit::Yes)
}

async fn list(arbiters: &Arbiters, group: &str, limit: u32) -> Result<pb::ListPlansResponse, Fail> {
    let request = pb::ListPlansRequest { group: group.to_owned(), limit };
    let call = |node: Node| {
        let request = request.clone();
        async move { node.query().list_plans(request).await }
    };
    arbiters.ask(call).await
}

pub(super) async fn history(args: HistoryArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let answer = list(&arbiters, &args.common.group, args.limit).await?;
    let look = Look { colour: on_terminal() };
    say(&if args.common.json { json(&answer)? } else { history_text::history(&answer, look) });
    Ok(Exit::Yes)
}

pub(super) async fn report(args: ReportArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let found = match args.plan {
        Some(id) => {
            let request = pb::GetPlanRequest { id };
            arbiters.ask(|node| async move { node.query().get_plan(request).await }).await?
        }
        None => {
            list(&arbiters, &args.common.group, 1).await?.plans.into_iter().next().ok_or_else(
                || Fail::refused("no-plan", "there was no plan yet", "arbiter explain"),
            )?
        }
    };
    let look = Look { colour: on_terminal() };
    if let Some(file) = &args.html {
        write_page(file, &page::page(&found))?;
    }
    say(&if args.common.json { json(&found)? } else { plan::report(&found, look) });
    Ok(Exit::Yes)
}

/// A report as a page, into a file.
pub(super) fn write_page(file: &Path, page: &str) -> Result<(), Fail> {
    let failed = |error| Fail::error(format!("{}: {error}", file.display()), "");
    std::fs::write(file, page).map_err(failed)
}
