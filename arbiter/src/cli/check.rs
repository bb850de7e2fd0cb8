//! `arbiter check`: every precondition of failing over now, each with its remedy, and how each
//! instance is. Asks what `explain` and `status` ask; renders it the other way round.

use super::connect::{Arbiters, Common, Node};
use super::exit::{Exit, Fail, on_terminal, say};
use super::render::{Look, check as render};
use super::status::json;
use arbiter_proto::v1 as pb;

/// Options of `arbiter check`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(args: Args) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let request = pb::ExplainRequest { group: args.common.group.clone() };
    let call = |node: Node| {
        let request = request.clone();
        async move { node.query().explain(request).await }
    };
    let answer = arbiters.ask(call).await?;
    let shown = arbiters.group(&args.common.group).await?;
    let found = render::Check::of(&answer, &shown);
    let look = Look { colour: on_terminal() };
    say(&if args.common.json { json(&found)? } else { render::check(&found, look) });
    Ok(if found.ready() { Exit::Yes } else { Exit::No })
}
