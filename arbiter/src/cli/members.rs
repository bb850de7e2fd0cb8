//! `arbiter members`: begin a cluster, list its voters, move leadership; the rest is in
//! `membership`.

use super::connect::{Arbiters, Node, Where, Why};
use super::control::done;
use super::exit::{Exit, Fail, on_terminal, say};
use super::membership;
use super::render::{Look, members};
use super::status::json;
use arbiter_proto::v1 as pb;
use clap::Subcommand;

/// Options of `arbiter members`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    what: MembersCommand,
}

#[derive(Subcommand, Debug)]
enum MembersCommand {
    /// Begin a cluster: once in its life, with every arbiter running. Needs --config.
    Initialize(ChangeArgs),
    /// List the arbiters, who leads, and when each was heard.
    List(ListArgs),
    /// Move leadership to an arbiter.
    Transfer(TransferArgs),
    /// Bring a new arbiter in, under a node id that none ever had.
    Add(membership::AddArgs),
    /// Bring a new arbiter in, in the place of another: one change, and never fewer voters.
    Replace(membership::ReplaceArgs),
    /// Take an arbiter out.
    Remove(membership::RemoveArgs),
}

#[derive(clap::Args, Debug)]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub(super) at: Where,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(clap::Args, Debug)]
struct ChangeArgs {
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    why: Why,
}

#[derive(clap::Args, Debug)]
struct TransferArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The arbiter that is to lead.
    #[arg(long, value_name = "ARBITER")]
    to: String,
}

pub(super) async fn run(args: Args) -> Result<Exit, Fail> {
    match args.what {
        MembersCommand::Initialize(args) => initialize(args).await,
        MembersCommand::List(args) => list(args).await,
        MembersCommand::Transfer(args) => transfer(args).await,
        MembersCommand::Add(args) => membership::add(args).await,
        MembersCommand::Replace(args) => membership::replace(args).await,
        MembersCommand::Remove(args) => membership::remove(args).await,
    }
}

async fn initialize(args: ChangeArgs) -> Result<Exit, Fail> {
    let Some(file) = &args.list.at.config else {
        let next = "arbiter members initialize --config FILE";
        return Err(Fail::error("the cluster file is needed to begin a cluster", next));
    };
    let config_toml = super::config::checked_text(file)?;
    let cluster_id = super::config::cluster_id(file)?;
    let arbiters = Arbiters::find(&args.list.at)?;
    let request = pb::InitializeRequest { asked: Some(args.why.asked()?), cluster_id, config_toml };
    // Any of them may take it: each would begin with the same voters.
    let call = |node: Node| {
        let request = request.clone();
        async move { node.admin().initialize(request).await }
    };
    done(arbiters.change(call).await?, args.list.json)
}

async fn list(args: ListArgs) -> Result<Exit, Fail> {
    let status = Arbiters::find(&args.at)?.status("").await?;
    let look = Look { colour: on_terminal() };
    say(&if args.json { json(&status.voters)? } else { members::members(&status, look) });
    Ok(if status.stale { Exit::No } else { Exit::Yes })
}

async fn transfer(args: TransferArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.change.list.at)?;
    let asked = Some(args.change.why.asked()?);
    let request = pb::TransferLeadershipRequest { asked, to: args.to };
    let call = |node: Node| {
        let request = request.clone();
        async move { node.admin().transfer_leadership(request).await }
    };
    done(arbiters.change(call).await?, args.change.list.json)
}
