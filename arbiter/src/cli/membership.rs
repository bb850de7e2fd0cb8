//! `arbiter members add`, `remove` and `replace`: the same request again until it is done, and how
//! far it is meanwhile.

use super::connect::{Arbiters, Node, Why};
use super::exit::{Exit, Fail, say};
use super::members::ListArgs;
use super::status::json;
use crate::policy_file;
use arbiter_core::{ArbiterId, Voter};
use arbiter_proto::v1 as pb;
use std::time::Duration;

/// Between two looks at a new arbiter that catches up, and how many there are at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOKS_MAX: u32 = 240;

/// Who comes.
#[derive(clap::Args, Clone, Debug)]
struct Newcomer {
    /// Its node id, which no arbiter ever had [default: as in the cluster file].
    #[arg(long, value_name = "ID")]
    node_id: Option<u64>,
    /// The region it stands in [default: as in the cluster file].
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Where the others reach it [default: as in the cluster file].
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
}

/// Options of `arbiter members add`.
#[derive(clap::Args, Debug)]
pub(super) struct AddArgs {
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    why: Why,
    /// The new arbiter. It runs already, on an empty data directory: `arbiter node --join`.
    #[arg(value_name = "ARBITER")]
    name: String,
    #[command(flatten)]
    newcomer: Newcomer,
}

/// Options of `arbiter members replace`.
#[derive(clap::Args, Debug)]
pub(super) struct ReplaceArgs {
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    why: Why,
    /// The arbiter that leaves, in the same change in which the new one votes.
    #[arg(value_name = "ARBITER")]
    name: String,
    /// The new arbiter. It runs already, on an empty data directory: `arbiter node --join`.
    #[arg(long, value_name = "ARBITER")]
    with: String,
    #[command(flatten)]
    newcomer: Newcomer,
}

/// Options of `arbiter members remove`.
#[derive(clap::Args, Debug)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    why: Why,
    /// The arbiter that leaves.
    #[arg(value_name = "ARBITER")]
    name: String,
    /// Leave fewer than three voters, or a region without one.
    #[arg(long)]
    accept_fewer: bool,
}

pub(super) async fn add(args: AddArgs) -> Result<Exit, Fail> {
    bring_in(args.list, args.why, args.name, args.newcomer, String::new()).await
}

pub(super) async fn replace(args: ReplaceArgs) -> Result<Exit, Fail> {
    bring_in(args.list, args.why, args.with, args.newcomer, args.name).await
}

async fn bring_in(
    list: ListArgs,
    why: Why,
    name: String,
    newcomer: Newcomer,
    replaces: String,
) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&list.at)?;
    let of_file = in_file(&list, &name)?;
    let from_file = |pick: fn(&Voter) -> String| of_file.as_ref().map(pick).unwrap_or_default();
    let request = pb::AddNodeRequest {
        asked: Some(why.asked()?),
        node_id: newcomer.node_id.or(of_file.as_ref().map(|v| v.node_id)).unwrap_or(0),
        region: newcomer.region.unwrap_or_else(|| from_file(|v| v.region.0.clone())),
        address: newcomer.address.unwrap_or_else(|| from_file(|v| v.address.clone())),
        name,
        replaces,
    };
    until_done(list.json, || {
        arbiters.change(|node: Node| {
            let request = request.clone();
            async move { node.admin().add_node(request).await }
        })
    })
    .await
}

/// The arbiter as the cluster file has it, where there is a file and it has one.
fn in_file(list: &ListArgs, name: &str) -> Result<Option<Voter>, Fail> {
    let Some(file) = &list.at.config else { return Ok(None) };
    let cluster = policy_file::load(file)
        .map_err(|faults| Fail::error(faults.to_string(), "correct the cluster file"))?;
    Ok(policy_file::to_spec(&cluster).voters.get(&ArbiterId::from(name)).cloned())
}

pub(super) async fn remove(args: RemoveArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.list.at)?;
    let request = pb::RemoveNodeRequest {
        asked: Some(args.why.asked()?),
        name: args.name,
        accept_fewer: args.accept_fewer,
    };
    until_done(args.list.json, || {
        arbiters.change(|node: Node| {
            let request = request.clone();
            async move { node.admin().remove_node(request).await }
        })
    })
    .await
}

/// Each call does one stage; how far it is goes to standard error.
async fn until_done<F>(as_json: bool, call: impl Fn() -> F) -> Result<Exit, Fail>
where
    F: Future<Output = Result<pb::MemberChange, Fail>>,
{
    let mut shown = String::new();
    for _ in 0..LOOKS_MAX {
        let change = call().await?;
        if change.done {
            match as_json {
                true => say(&json(&change)?),
                false => say(&format!("{}\nNEXT: {}", change.message, change.next)),
            }
            return Ok(Exit::Yes);
        }
        if shown != change.message {
            eprintln!("{}", change.message);
            shown = change.message;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Fail::error(format!("not done yet: {shown}"), "ask again: it goes on where it is"))
}
