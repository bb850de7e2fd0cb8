//! `arbiter status`. Works without quorum: then each arbiter's own view is shown, marked STALE.

use super::connect::{Arbiters, Heard, Where, failures};
use super::exit::{Exit, Fail, on_terminal, say};
use super::render::{Look, status};
use arbiter_proto::v1 as pb;
use std::time::Duration;

/// How often `--watch` asks.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Clears a terminal.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Options of `arbiter status`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    at: Where,
    /// One failover group; all of them otherwise.
    #[arg(long, default_value = "", hide_default_value = true)]
    group: String,
    /// Print JSON: one object, or with --watch one a line.
    #[arg(long)]
    json: bool,
    /// Ask again each second until interrupted.
    #[arg(long, short)]
    watch: bool,
}

pub(super) async fn run(args: Args) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.at)?;
    let terminal = on_terminal();
    loop {
        let shown = once(&arbiters, &args, terminal).await;
        if !args.watch {
            let (text, exit) = shown?;
            say(&text);
            return Ok(exit);
        }
        let text = match shown {
            Ok((text, _)) => text,
            Err(Fail::Refused { why, .. }) => why,
            Err(Fail::Error { what, .. }) => what,
        };
        say(&format!("{}{text}", if terminal && !args.json { CLEAR } else { "" }));
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

async fn once(arbiters: &Arbiters, args: &Args, colour: bool) -> Result<(String, Exit), Fail> {
    let heard = arbiters.statuses(&args.group).await;
    let look = Look { colour };
    if let Some(confirmed) = confirmed(&heard) {
        let text = if args.json { json(confirmed)? } else { status::status(confirmed, look) };
        return Ok((text, Exit::Yes));
    }
    let mut answers = heard.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    match answers.next() {
        None => return Err(failures(&heard)),
        // Nobody has begun: there is nothing that a quorum could confirm.
        Some(first)
            if first.cluster_id.is_empty() && answers.all(|view| view.cluster_id.is_empty()) =>
        {
            let text = if args.json { json(first)? } else { status::status(first, look) };
            return Ok((text, Exit::No));
        }
        Some(_) => {}
    }
    let text = if args.json { json(&views(&heard))? } else { status::views(&heard, look) };
    Ok((text, Exit::No))
}

fn confirmed(heard: &[Heard]) -> Option<&pb::Status> {
    heard.iter().filter_map(|(_, answer)| answer.as_ref().ok()).find(|status| !status.stale)
}

/// Without quorum: what each arbiter says, or why it says nothing.
fn views(heard: &[Heard]) -> serde_json::Value {
    let each = heard.iter().map(|(endpoint, answer)| match answer {
        Ok(status) => serde_json::json!({ "endpoint": endpoint, "status": status }),
        Err(error) => serde_json::json!({ "endpoint": endpoint, "error": error }),
    });
    serde_json::json!({ "stale": true, "views": each.collect::<Vec<_>>() })
}

/// A message as one line of JSON.
pub(super) fn json<T: serde::Serialize>(message: &T) -> Result<String, Fail> {
    serde_json::to_string(message).map_err(|error| Fail::error(error.to_string(), ""))
}
