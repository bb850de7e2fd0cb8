//! `arbiter plan`, `switchover`, `failover`: open plans, follow them, undo them.

use super::connect::{Arbiters, Common, Node, Why};
use super::exit::{Exit, Fail, on_terminal, say};
use super::render::{Look, plan as render};
use super::status::json;
use arbiter_proto::v1 as pb;
use clap::{Args, Subcommand};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a plan is looked at while a command follows it.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(150);
/// After so many looks an arbiter that a quorum confirms is sought anew: the one that answers may
/// have been cut off, with an old view of the plan.
const LOOKS_PER_ARBITER: u32 = 20;
/// Looks without an answer before a command stops following: an election passes within it.
const SILENT_LOOKS_MAX: u32 = 400;

/// Options of `arbiter plan`.
#[derive(Args, Debug)]
pub(super) struct PlanArgs {
    #[command(subcommand)]
    what: PlanCommand,
}

#[derive(Subcommand, Debug)]
enum PlanCommand {
    /// Show what a switchover would do, and whether it would open. Changes nothing.
    Switchover(DryArgs),
    /// Show what a failover would do, and whether it would open. Changes nothing.
    Failover(DryArgs),
    /// Show where a plan stands.
    Show(IdArgs),
    /// Undo a plan before its point of no return; the source is resumed.
    Abort(ChangeArgs),
    /// Let a halted plan go on.
    Resume(ResumeArgs),
}

#[derive(Args, Debug)]
struct DryArgs {
    #[command(flatten)]
    common: Common,
    /// The region to activate.
    #[arg(long, value_name = "REGION")]
    to: String,
    /// Failover: skip the clean stop.
    #[arg(long)]
    immediate: bool,
    /// Failover: over the RPO too.
    #[arg(long)]
    accept_loss: bool,
    #[command(flatten)]
    through: Through,
}

/// Closed gates that an operator goes through.
#[derive(Args, Clone, Debug, Default)]
struct Through {
    /// Go through this closed gate, by its code as arbiter explain prints it; repeatable. Recorded
    /// with your name, for this plan, for an hour.
    #[arg(long = "override", value_name = "GATE")]
    gates: Vec<String>,
}

#[derive(Args, Debug)]
struct IdArgs {
    #[command(flatten)]
    common: Common,
    /// Its id; the open plan otherwise.
    id: Option<u64>,
}

#[derive(Args, Debug)]
struct ChangeArgs {
    #[command(flatten)]
    which: IdArgs,
    #[command(flatten)]
    why: Why,
}

#[derive(Args, Debug)]
struct ResumeArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// Go on though the loss may be over the RPO.
    #[arg(long)]
    accept_loss: bool,
    #[command(flatten)]
    through: Through,
}

/// Options of `arbiter switchover`.
#[derive(Args, Debug)]
pub(super) struct SwitchoverArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    through: Through,
    /// The region to activate.
    #[arg(long, value_name = "REGION")]
    to: String,
    /// Return once the plan is open, without following it.
    #[arg(long)]
    no_wait: bool,
}

/// Options of `arbiter failover`.
#[derive(Args, Debug)]
pub(super) struct FailoverArgs {
    #[command(flatten)]
    move_to: SwitchoverArgs,
    /// Skip the clean stop of a source that still answers.
    #[arg(long)]
    immediate: bool,
    /// Go on though the loss may be over the RPO: every gate about loss. Recorded with your name.
    #[arg(long)]
    accept_loss: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Switchover,
    Failover,
}

pub(super) async fn plan(args: PlanArgs) -> Result<Exit, Fail> {
    match args.what {
        PlanCommand::Switchover(args) => dry_run(Kind::Switchover, args).await,
        PlanCommand::Failover(args) => dry_run(Kind::Failover, args).await,
        PlanCommand::Show(args) => show(args).await,
        PlanCommand::Abort(args) => abort(args).await,
        PlanCommand::Resume(args) => resume(args).await,
    }
}

pub(super) async fn switchover(args: SwitchoverArgs) -> Result<Exit, Fail> {
    open(Kind::Switchover, args, false, false).await
}

pub(super) async fn failover(args: FailoverArgs) -> Result<Exit, Fail> {
    open(Kind::Failover, args.move_to, args.immediate, args.accept_loss).await
}

async fn call_open(
    node: Node,
    kind: Kind,
    request: pb::OpenPlanRequest,
) -> Result<tonic::Response<pb::OpenPlanResponse>, tonic::Status> {
    match kind {
        Kind::Switchover => node.admin().switchover(request).await,
        Kind::Failover => node.admin().failover(request).await,
    }
}

async fn dry_run(kind: Kind, args: DryArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let group = arbiters.group(&args.common.group).await?;
    let why = Why { reason: String::new(), by: "dry-run".to_owned() };
    let request = pb::OpenPlanRequest {
        asked: Some(why.asked()?),
        group: args.common.group.clone(),
        target: args.to,
        expected_epoch: group.epoch,
        immediate: args.immediate,
        accept_loss: args.accept_loss,
        dry_run: true,
        overrides: args.through.gates,
    };
    let answer = arbiters.ask(|node| call_open(node, kind, request.clone())).await?;
    let plan = answer.plan.clone().unwrap_or_default();
    let look = Look { colour: on_terminal() };
    say(&match args.common.json {
        true => json(&answer)?,
        false => render::dry_run(&plan, &answer.refused_because, look),
    });
    Ok(if answer.refused_because.is_empty() { Exit::Yes } else { Exit::No })
}

async fn open(
    kind: Kind,
    args: SwitchoverArgs,
    immediate: bool,
    accept_loss: bool,
) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let group = arbiters.group(&args.common.group).await?;
    let request = pb::OpenPlanRequest {
        asked: Some(args.why.asked()?),
        group: args.common.group.clone(),
        target: args.to,
        expected_epoch: group.epoch,
        immediate,
        accept_loss,
        dry_run: false,
        overrides: args.through.gates.clone(),
    };
    let answer = arbiters.change(|node| call_open(node, kind, request.clone())).await?;
    let plan = answer.plan.unwrap_or_default();
    if !args.common.json {
        say(&render::title(&plan));
    }
    if args.no_wait {
        if args.common.json {
            say(&json(&plan)?);
        }
        return Ok(Exit::Yes);
    }
    follow(&arbiters, plan.id, args.common.json).await
}

async fn get_plan(arbiters: &Arbiters, id: u64) -> Result<pb::Plan, Fail> {
    let request = pb::GetPlanRequest { id };
    arbiters.ask(|node| async move { node.query().get_plan(request).await }).await
}

/// What was printed of the steps of plans.
#[derive(Default)]
pub(super) struct Steps(BTreeMap<(u64, String), String>);

impl Steps {
    /// Print what changed in plan `id`; where nobody answers, nothing.
    pub(super) async fn show(
        &mut self,
        arbiters: &Arbiters,
        id: u64,
        as_json: bool,
    ) -> Result<(), Fail> {
        match get_plan(arbiters, id).await {
            Ok(plan) => self.of(&plan, as_json),
            Err(_) => Ok(()),
        }
    }

    fn of(&mut self, plan: &pb::Plan, as_json: bool) -> Result<(), Fail> {
        let look = Look { colour: on_terminal() };
        if !as_json && self.0.keys().all(|(id, _)| *id != plan.id) && !self.0.is_empty() {
            say(&render::title(plan));
        }
        for step in plan.steps.iter().filter(|step| step.state != "pending") {
            let before = self.0.insert((plan.id, step.name.clone()), step.state.clone());
            if before.as_ref() != Some(&step.state) {
                say(&match as_json {
                    true => json(&serde_json::json!({ "plan": plan.id, "step": step }))?,
                    false => render::step_line(step, look),
                });
            }
        }
        Ok(())
    }
}

/// Print each change of a step until the plan ends or halts.
async fn follow(arbiters: &Arbiters, id: u64, as_json: bool) -> Result<Exit, Fail> {
    let mut shown = Steps::default();
    let mut silent = 0;
    for look_number in 1u32.. {
        if look_number.is_multiple_of(LOOKS_PER_ARBITER) {
            let _ = arbiters.status("").await;
        }
        let plan = match get_plan(arbiters, id).await {
            Ok(plan) => plan,
            Err(fail) if silent >= SILENT_LOOKS_MAX => return Err(fail),
            Err(_) => {
                silent += 1;
                tokio::time::sleep(FOLLOW_INTERVAL).await;
                continue;
            }
        };
        silent = 0;
        shown.of(&plan, as_json)?;
        if plan.state != "open" {
            return ended(arbiters, &plan, as_json).await;
        }
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
    Ok(Exit::No)
}

/// Say how a plan ended: done, or what the operator is to do.
async fn ended(arbiters: &Arbiters, plan: &pb::Plan, as_json: bool) -> Result<Exit, Fail> {
    if as_json {
        say(&json(plan)?);
    }
    let next = match plan.halt_next.as_str() {
        "" => format!("arbiter report {}", plan.id),
        next => next.to_owned(),
    };
    match plan.state.as_str() {
        "completed" => {
            if !as_json {
                let active = arbiters.group(&plan.group).await.map(|group| group.verdict);
                say(&format!("{}\n{}", render::title(plan), active.unwrap_or_default()));
                say(&format!("NEXT: arbiter report {}", plan.id));
            }
            Ok(Exit::Yes)
        }
        "halted" => Err(Fail::refused("halted", plan.halt_reason.clone(), next)),
        state => {
            let why = format!("plan {} was {state}: {}", plan.id, plan.end_note);
            Err(Fail::refused(state, why, next))
        }
    }
}

/// The plan that is meant: by id, else the open one.
async fn meant(arbiters: &Arbiters, args: &IdArgs) -> Result<(pb::Plan, u64), Fail> {
    let group = arbiters.group(&args.common.group).await?;
    let epoch = group.epoch;
    match (args.id, group.plan) {
        (Some(id), Some(plan)) if plan.id == id => Ok((plan, epoch)),
        (None, Some(plan)) => Ok((plan, epoch)),
        (Some(id), _) => Ok((get_plan(arbiters, id).await?, epoch)),
        (None, None) => {
            let why = format!("no plan is open for {}", args.common.group);
            Err(Fail::refused("no-plan", why, "arbiter history"))
        }
    }
}

async fn show(args: IdArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.common.at)?;
    let (plan, _) = meant(&arbiters, &args).await?;
    let look = Look { colour: on_terminal() };
    say(&if args.common.json { json(&plan)? } else { render::report(&plan, look) });
    Ok(Exit::Yes)
}

async fn change_request(
    arbiters: &Arbiters,
    args: &ChangeArgs,
    accept_loss: bool,
) -> Result<pb::PlanRequest, Fail> {
    let (plan, expected_epoch) = meant(arbiters, &args.which).await?;
    let asked = Some(args.why.asked()?);
    let (group, plan) = (plan.group, plan.id);
    let overrides = Vec::new();
    Ok(pb::PlanRequest { asked, group, plan, expected_epoch, accept_loss, overrides })
}

async fn abort(args: ChangeArgs) -> Result<Exit, Fail> {
    let arbiters = Arbiters::find(&args.which.common.at)?;
    let request = change_request(&arbiters, &args, false).await?;
    let call = |node: Node| {
        let request = request.clone();
        async move { node.admin().abort_plan(request).await }
    };
    super::control::done(arbiters.change(call).await?, args.which.common.json)
}

async fn resume(args: ResumeArgs) -> Result<Exit, Fail> {
    let common = &args.change.which.common;
    let arbiters = Arbiters::find(&common.at)?;
    let mut request = change_request(&arbiters, &args.change, args.accept_loss).await?;
    request.overrides = args.through.gates;
    let call = |node: Node| {
        let request = request.clone();
        async move { node.admin().resume_plan(request).await }
    };
    super::control::done(arbiters.change(call).await?, common.json)?;
    follow(&arbiters, request.plan, common.json).await
}
