//! `arbiter mode`, `arm`, `disarm`, `attest`, `traffic`: what an operator sets.

use super::connect::{Arbiters, Common, Node, Why};
use super::exit::{Exit, Fail, say};
use super::status::json;
use arbiter_proto::v1 as pb;
use clap::{Args, Subcommand};
use std::time::Duration;

/// Options of `arbiter mode`.
#[derive(Args, Debug)]
pub(super) struct ModeArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    why: Why,
    /// The mode to set; the present one is shown otherwise.
    /// observe: judges and records, orders nothing, and kills nothing unless the group is armed: it
    /// stays so, and the deadman still fences, until `arbiter disarm`.
    /// manual: operators open plans. automatic: the leader opens failovers as well.
    #[arg(value_parser = ["observe", "manual", "automatic"])]
    mode: Option<String>,
    /// For this long, such as 2h; then it goes back to the present mode by itself.
    #[arg(long = "for", value_name = "TIME", value_parser = super::guards::time)]
    lasts: Option<Duration>,
}

/// Options of `arbiter arm` and `arbiter disarm`.
#[derive(Args, Debug)]
pub(super) struct ArmArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    why: Why,
}

/// Options of `arbiter attest`.
#[derive(Args, Debug)]
pub(super) struct AttestArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    why: Why,
    /// The instance that is fenced: it cannot write, and nothing will start it.
    #[arg(required_unless_present = "agent")]
    instance: Option<String>,
    /// After a restore: an agent of the former cluster whose host is gone for good, instead of an
    /// instance. No plan needs to be open.
    #[arg(long, value_name = "AGENT", conflicts_with_all = ["instance", "plan", "token"])]
    agent: Option<String>,
    /// The plan that it counts for; the open one otherwise.
    #[arg(long)]
    plan: Option<u64>,
    /// The plan's fence token, epoch.revision; that of the open plan otherwise.
    #[arg(long)]
    token: Option<String>,
}

/// Options of `arbiter traffic`.
#[derive(Args, Debug)]
pub(super) struct TrafficArgs {
    #[command(subcommand)]
    what: TrafficCommand,
}

#[derive(Subcommand, Debug)]
enum TrafficCommand {
    /// Show which region DNS names, and whether somebody else changed it.
    Show(Common),
    /// Let the next change take over what stands in a zone now.
    Adopt(AdoptArgs),
}

#[derive(Args, Debug)]
struct AdoptArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    why: Why,
    /// The zone, such as example.com.
    zone: String,
}

/// Print what became of a change.
pub(super) fn done(outcome: pb::Outcome, as_json: bool) -> Result<Exit, Fail> {
    if as_json {
        say(&json(&outcome)?);
    } else {
        let next = if outcome.next.is_empty() { "arbiter status" } else { &outcome.next };
        say(&format!("{}\nNEXT: {next}", outcome.message));
    }
    Ok(Exit::Yes)
}

pub(super) async fn mode(args: ModeArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let group = arbiters.group(&args.common.group).await?;
    let Some(mode) = args.mode else {
        say(&match args.common.json {
            true => json(&serde_json::json!({
                "group": group.group, "mode": group.mode, "in_effect": group.mode_in_effect,
                "blocked_by": group.mode_blocked_by, "until": group.mode_until,
            }))?,
            false => super::render::status::mode(&group),
        });
        return Ok(if group.mode_in_effect { Exit::Yes } else { Exit::No });
    };
    let request = pb::SetModeRequest {
        asked: Some(args.why.asked()?),
        group: args.common.group.clone(),
        mode,
        expected_epoch: group.epoch,
        for_ms: args.lasts.map_or(0, super::guards::millis),
    };
    let call = |node: Node| {
        let request = request.clone();
        async move { node.admin().set_mode(request).await }
    };
    done(arbiters.change(call).await?, args.common.json)
}

pub(super) async fn arm(args: ArmArgs, armed: bool) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let group = arbiters.group(&args.common.group).await?;
    let request = pb::GroupRequest {
        asked: Some(args.why.asked()?),
        group: args.common.group.clone(),
        expected_epoch: group.epoch,
    };
    let call = |node: Node| {
        let request = request.clone();
        async move {
            match armed {
                true => node.admin().arm(request).await,
                false => node.admin().disarm(request).await,
            }
        }
    };
    done(arbiters.change(call).await?, args.common.json)
}

pub(super) async fn attest(args: AttestArgs) -> Result<Exit, Fail> {
    if args.why.reason.is_empty() {
        let why = "an attestation needs a reason: how do you know that it is fenced?";
        let next = "ask again with --reason \"…\"";
        return Err(Fail::refused("no-reason", why, next));
    }
    let arbiters = Arbiters::find(&args.common.at)?;
    let instance = match (args.instance, args.agent) {
        (Some(instance), _) => instance,
        (None, agent) => {
            let asked = Some(args.why.asked()?);
            let request = pb::AttestAgentRequest { asked, agent: agent.unwrap_or_default() };
            let call = |node: Node| {
                let request = request.clone();
                async move { node.admin().attest_agent(request).await }
            };
            return done(arbiters.change(call).await?, args.common.json);
        }
    };
    let group = arbiters.group(&args.common.group).await?;
    let Some(plan) = group.plan else {
        let why = format!("no plan is open for {}", args.common.group);
        let next = format!("arbiter explain --group {}", args.common.group);
        return Err(Fail::refused("no-plan", why, next));
    };
    let request = pb::AttestFencedRequest {
        asked: Some(args.why.asked()?),
        group: args.common.group.clone(),
        plan: args.plan.unwrap_or(plan.id),
        instance,
        token: args.token.unwrap_or(plan.fence_token),
        expected_epoch: group.epoch,
    };
    let call = |node: Node| {
        let request = request.clone();
        async move { node.admin().attest_fenced(request).await }
    };
    done(arbiters.change(call).await?, args.common.json)
}

pub(super) async fn traffic(args: TrafficArgs) -> Result<Exit, Fail> {
    match args.what {
        TrafficCommand::Show(common) => show(common).await,
        TrafficCommand::Adopt(args) => adopt(args).await,
    }
}

async fn show(common: Common) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&common.at)?;
    let group = arbiters.group(&common.group).await?;
    let Some(traffic) = &group.traffic else {
        let why = format!("{} manages no traffic", common.group);
        return Err(Fail::refused("no-traffic", why, "arbiter status"));
    };
    let good = traffic.drift.is_empty() && traffic.names == group.active;
    say(&match common.json {
        true => json(traffic)?,
        false => super::render::status::traffic(&group),
    });
    Ok(if good { Exit::Yes } else { Exit::No })
}

async fn adopt(args: AdoptArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let group = arbiters.group(&args.common.group).await?;
    let request = pb::AdoptTrafficRequest {
        asked: Some(args.why.asked()?),
        group: args.common.group.clone(),
        zone: args.zone,
        expected_epoch: group.epoch,
    };
    let call = |node: Node| {
        let request = request.clone();
        async move { node.admin().adopt_traffic(request).await }
    };
    done(arbiters.change(call).await?, args.common.json)
}
