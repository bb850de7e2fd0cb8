//! One request asked twice, its leader lost in between: done once, answered the same.

use super::Case;
use super::leader::{Loss, another, bring_back, index_of, take_away};
use super::stage::{LIMIT, LOOK_PAUSE, Stage, check, wrong};
use arbiter::clock;
use arbiter::lab::cluster::GROUP;
use arbiter::lab::operator::Operator;
use arbiter_proto::v1;
use arbiter_proto::v1::admin_client::AdminClient;
use std::io;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

/// The cases of this file.
pub const CASES: &[Case] = &[Case::new(
    "asked-twice",
    "one request asked of a leader, then, when it is lost, of the next: done once, same answer",
    |stage| Box::pin(asked_twice(stage)),
)
.mode("manual")];

async fn asked_twice(stage: &mut Stage) -> io::Result<()> {
    stage.pin("us-east")?;
    a_mode(stage).await?;
    a_plan(stage).await
}

/// Ask `request` of `operator` until a leader answers.
async fn ask<R: Clone, T>(
    operator: &Operator,
    request: &R,
    call: impl AsyncFn(AdminClient<Channel>, R) -> Result<Response<T>, Status>,
) -> io::Result<T> {
    let started = clock::now();
    loop {
        match operator.admin(request.clone(), &call).await {
            Ok(answer) => return Ok(answer),
            Err(status)
                if !matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
                    || clock::now().since(started) > LIMIT =>
            {
                return Err(wrong(format!("asked again: {status}")));
            }
            Err(_) => tokio::time::sleep(LOOK_PAUSE).await,
        }
    }
}

/// Ask the leader, kill it, and ask the others the same: both answers. The leader is back then.
async fn over_a_loss<R: Clone, T>(
    stage: &mut Stage,
    request: &R,
    call: impl AsyncFn(AdminClient<Channel>, R) -> Result<Response<T>, Status>,
) -> io::Result<(T, T)> {
    let leader = stage.leader().await?;
    let index = index_of(&leader)?;
    let first = ask(&stage.lab.operator.only(index), request, &call).await?;
    take_away(stage, &leader, Loss::Killed)?;
    let again = ask(&stage.lab.operator.without(index), request, &call).await?;
    another(stage, &leader).await?;
    bring_back(stage, &leader, Loss::Killed)?;
    Ok((first, again))
}

/// A mode is set once, and what was set since stands when it is asked for again.
async fn a_mode(stage: &mut Stage) -> io::Result<()> {
    let request = v1::SetModeRequest {
        asked: Operator::asked("asked twice"),
        group: GROUP.into(),
        mode: "automatic".into(),
        expected_epoch: 0,
        for_ms: 0,
    };
    let call = async |mut client: AdminClient<Channel>, request| client.set_mode(request).await;
    let (first, again) = over_a_loss(stage, &request, call).await?;
    check(first == again, || format!("answered {first:?}, then {again:?}"))?;
    stage.lab.set_mode(GROUP, "manual").await?;
    let late = ask(&stage.lab.operator, &request, call).await?;
    check(first == late, || format!("answered {first:?}, then {late:?}"))?;
    let mode = stage.group().await?.mode;
    check(mode == "manual", || format!("asked again, it was done again: {mode}"))
}

/// A plan opens once. Asked again when its target is active, and when another plan led back, the
/// request would be refused, or open a second one, if it were taken for a new one.
async fn a_plan(stage: &mut Stage) -> io::Result<()> {
    stage.leader_outside("eu-west").await?;
    stage.ready_to_move("us-east").await?;
    let request = v1::OpenPlanRequest {
        asked: Operator::asked("asked twice"),
        group: GROUP.into(),
        target: "us-east".into(),
        expected_epoch: 0,
        immediate: false,
        accept_loss: false,
        dry_run: false,
        overrides: Vec::new(),
    };
    let call = async |mut client: AdminClient<Channel>, request| client.switchover(request).await;
    let (first, again) = over_a_loss(stage, &request, call).await?;
    let id = |answer: &v1::OpenPlanResponse| answer.plan.as_ref().map(|plan| plan.id);
    let plan = id(&first).ok_or_else(|| wrong("no plan was opened"))?;
    check(id(&again) == Some(plan), || format!("plan {plan}, then {again:?}"))?;
    stage.serves("us-east", 2, LIMIT).await?;
    stage.ready_to_move("eu-west").await?;
    stage.moved_by("switchover", "eu-west").await?;
    stage.ready_to_move("us-east").await?;
    let late = ask(&stage.lab.operator, &request, call).await?;
    check(id(&late) == Some(plan), || format!("plan {plan}, then {late:?}"))?;
    let plans = stage.plans().await;
    check(plans.len() == 2 && plans[1] == plan, || format!("plans {plans:?}, {plan} the first"))?;
    let group = stage.group().await?;
    check(group.epoch == 3 && group.plan.is_none(), || format!("{group:?}"))?;
    stage.each_once("eu-west").await
}
