//! Plans that are turned: aborted and opened again, superseded.

use super::Case;
use super::plans::switching_traffic;
use super::stage::{LIMIT, Stage, check, until, wrong};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP, US};
use arbiter::lab::operator::{Operator, reason};
use arbiter_proto::v1;
use nix::sys::signal::Signal;
use std::io;

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "aborted-then-again",
        "a failover aborted and its source resumed: the next one waits for its own evidence",
        |stage| Box::pin(aborted(stage)),
    )
    .mode("manual"),
    Case::new(
        "superseded",
        "the target is lost after the point of no return: superseded, the old source serves again",
        |stage| Box::pin(superseded(stage)),
    )
    .mode("manual"),
];

/// Ask for the open plan to be aborted.
async fn abort(stage: &Stage, plan: u64) -> Result<(), tonic::Status> {
    let request = v1::PlanRequest {
        asked: Operator::asked("a case aborts"),
        group: GROUP.into(),
        plan,
        expected_epoch: 1,
        accept_loss: false,
        overrides: Vec::new(),
    };
    let call = async |mut client: v1::admin_client::AdminClient<_>, request| {
        client.abort_plan(request).await
    };
    stage.lab.operator.admin(request, call).await.map(drop)
}

async fn aborted(stage: &mut Stage) -> io::Result<()> {
    // The target's agent does not answer, so the plan stops short of the point of no return.
    stage.lab.agents["agent-us"].signal(Signal::SIGSTOP);
    let plan = stage.lab.open_plan(GROUP, "failover", "us-east").await.map_err(io::Error::other)?;
    let proven = |g: &v1::GroupStatus| {
        g.plan.as_ref().is_some_and(|p| p.evidence.iter().any(|e| e.kind == "confirmed"))
    };
    let first = stage.lab.operator.wait_group(GROUP, "evidence", LIMIT, proven).await?;
    abort(stage, plan).await.map_err(io::Error::other)?;
    stage.serves("eu-west", 1, LIMIT).await?;
    stage.lab.agents["agent-us"].signal(Signal::SIGCONT);
    stage.ready_to_move("us-east").await?;
    stage.lab.net.cut_region(EU)?;
    let cut = clock::now();
    stage.lab.open_plan(GROUP, "failover", "us-east").await.map_err(io::Error::other)?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    let second = stage.newest_plan().await?;
    let old_token = first.plan.map(|p| p.fence_token).unwrap_or_default();
    let [proof] = &second.evidence[..] else {
        return Err(wrong(format!("not one evidence: {:?}", second.evidence)));
    };
    // Its own, and the whole wait: the source was renewed again after it was resumed.
    let dead = stage.dead_after();
    let own = proof.token == second.fence_token && proof.token != old_token;
    let waited = u128::from(proof.waited_ms) >= dead.as_millis();
    check(own && waited && proof.kind == "lease-expired", || {
        format!("{proof:?}, the first plan's fence was {old_token}")
    })?;
    let served = stage.first_ack("us-east", cut).map(|first| first.since(cut));
    let least = dead.saturating_sub(2 * stage.timing().renewal);
    check(served.is_some_and(|served| served >= least), || {
        format!("us-east acknowledged {served:?} after the cut, before {least:?}")
    })
}

async fn superseded(stage: &mut Stage) -> io::Result<()> {
    stage.pin("us-east")?;
    // The DNS server is away, so the plan waits behind the point of no return.
    stage.lab.bind.stop();
    let first =
        stage.lab.open_plan(GROUP, "failover", "us-east").await.map_err(io::Error::other)?;
    stage.lab.operator.wait_group(GROUP, "past it", LIMIT, switching_traffic).await?;
    until("the target accepts writes", LIMIT, async || {
        stage.first_ack("us-east", stage.began).is_some()
    })
    .await?;
    stage.lab.net.cut_region(US)?;
    stage.lab.bind.restart(&stage.lab.net)?;
    // What the lost target wrote after the fork is the loss: it has to be accepted by name.
    let refused = stage.lab.open_plan(GROUP, "failover", "eu-west").await;
    let why = refused.as_ref().err().map(reason);
    check(why == Some("rpo"), || format!("not refused for the loss: {refused:?}"))?;
    let back = stage.lab.open_plan_accepting(GROUP, "failover", "eu-west", true).await;
    let second = back.map_err(io::Error::other)?;
    stage.serves("eu-west", 3, stage.dead_after() + LIMIT).await?;
    let request = v1::ListPlansRequest { group: GROUP.into(), limit: 0 };
    let plans = stage.lab.operator.plans(request).await;
    let ids: Vec<u64> = plans.iter().map(|plan| plan.id).collect();
    check(ids == [second, first], || format!("plans {ids:?}, not {second} after {first}"))?;
    let (state, note) = (&plans[1].state, &plans[1].end_note);
    check(state == "superseded" && note.contains(&second.to_string()), || {
        format!("plan {first} ended {state}: {note}")
    })
}
