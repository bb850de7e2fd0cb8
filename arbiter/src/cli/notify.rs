//! `arbiter notify`: whether those who are to know of events can be told.

use super::connect::{Arbiters, Node, Where};
use super::exit::{Exit, Fail, on_terminal, say};
use super::render::{Look, notify as notify_text};
use super::status::json;
use arbiter_proto::v1 as pb;
use clap::{Args, Subcommand};

/// Options of `arbiter notify`.
#[derive(Args, Debug)]
pub(super) struct NotifyArgs {
    #[command(subcommand)]
    what: NotifyCommand,
}

#[derive(Subcommand, Debug)]
enum NotifyCommand {
    /// Let the leader send one test event to each receiver, and say what became of each.
    Test(TestArgs),
}

#[derive(Args, Debug)]
struct TestArgs {
    #[command(flatten)]
    at: Where,
    /// Who asks; the test names it.
    #[arg(long, env = "USER", default_value = "operator")]
    by: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: NotifyArgs) -> Result<Exit, Fail> {
    let NotifyCommand::Test(args) = args.what;
    let arbiters = Arbiters::find(&args.at)?;
    test(&arbiters, &args.by, args.json).await
}

/// Yes when every receiver took it; refused where there is none.
pub(super) async fn test(arbiters: &Arbiters, by: &str, as_json: bool) -> Result<Exit, Fail> {
    let call = |node: Node| {
        let request = pb::TestNotifyRequest { by: by.to_owned() };
        async move { node.admin().test_notify(request).await }
    };
    let answer = arbiters.change(call).await?;
    if answer.deliveries.is_empty() {
        let why = format!(
            "the cluster file of {} has neither [webhook] nor [alertmanager]: nobody is told of \
             anything",
            answer.sent_by
        );
        let next = "arbiter config reference, which shows both";
        return Err(Fail::refused("no-receiver", why, next));
    }
    let look = Look { colour: on_terminal() };
    say(&if as_json { json(&answer)? } else { notify_text::tested(&answer, look) });
    let all = answer.deliveries.iter().all(|one| one.delivered);
    Ok(if all { Exit::Yes } else { Exit::No })
}
