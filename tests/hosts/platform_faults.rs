//! Each resource fails once, and each row of the plan once, in plans that move everything: `status`
//! says what holds the plan up, and once that is mended the plan completes and nothing is lost.

use super::Case;
use super::command_line::{NO, YES, says};
use super::holds::{Hold, LEASE, Move};
use super::leader::{Loss, another, bring_back, take_away};
use super::platform::{objects_have_arrived, stands};
use super::stage::{LIMIT, Stage, check, until, wrong};
use super::together::{self, REDIS, redis_in_place};
use arbiter::clock;
use arbiter::lab::cluster::GROUP;
use arbiter::lab::operator::reason;
use arbiter_core::StepId;
use arbiter_proto::v1;
use std::io;
use std::time::Duration;

/// How long a fault is left on after it was told of: the plan waits.
const HELD: Duration = Duration::from_millis(300);

/// The cases of this file.
pub const CASES: &[Case] = &[Case::new(
    "platform-faults",
    "each resource and row fails once while everything moves: status names it, the plan completes",
    |stage| Box::pin(faults(stage)),
)
.mode("manual")
.group(LEASE)
.with(REDIS, redis_in_place)
.with_services()];

/// A fault: what holds which row of which plan up, and what `status` says of it, where SIDE stands
/// for the target's.
struct Fault {
    hold: Hold,
    row: StepId,
    kind: &'static str,
    said: &'static str,
    /// Whether the plan waits for it.
    waits: bool,
    /// Whether the leader is lost too.
    leader: bool,
}

const fn fault(hold: Hold, row: StepId, said: &'static str) -> Fault {
    Fault { hold, row, kind: "switchover", said, waits: true, leader: false }
}

/// One after the other, there and back. No row but those of one entry of the log is left out.
const FAULTS: &[Fault] = &[
    Fault {
        kind: "failover",
        ..fault(Hold::SourceAgent, StepId::ProveFence, "db-SOURCE: no evidence; silent for")
    },
    fault(Hold::Redis, StepId::CatchUp, "sessions-SIDE: "),
    fault(Hold::Promotion, StepId::PromoteData, "db-SIDE: "),
    fault(Hold::Bucket(500), StepId::PromoteData, "orders-SIDE: "),
    // Refused for good, and best-effort: nothing is waited for, and what is missing is said.
    Fault { waits: false, ..fault(Hold::Bucket(403), StepId::PromoteData, "orders-SIDE: ") },
    fault(Hold::Kubernetes(500), StepId::ActivateWorkloads, "web-SIDE: "),
    fault(Hold::Kubernetes(409), StepId::ActivateWorkloads, "web-SIDE: "),
    Fault {
        leader: true,
        ..fault(Hold::Pods, StepId::ActivateWorkloads, "web-SIDE: Deployment web: 1 of 3 replicas")
    },
    fault(Hold::Writes, StepId::VerifyTarget, "db-SIDE: "),
    fault(Hold::Dns, StepId::SwitchTraffic, "dns-SIDE: "),
    fault(Hold::Vantage, StepId::VerifyService, "FOLLOWER sees"),
];

async fn faults(stage: &mut Stage) -> io::Result<()> {
    stage.pin("us-east")?;
    stands(stage, "eu-west", "us-east").await?;
    refused_for_want_of_room(stage).await?;
    let (mut here, mut there) = ("eu-west", "us-east");
    for fault in FAULTS {
        let leader = stage.leader_outside(here).await?;
        let ways = Move { here, there, leader };
        let held = held_up(stage, fault, &ways).await;
        let what = |error| wrong(format!("{:?} at {}: {error}", fault.hold, fault.row));
        held.map_err(what)?;
        (here, there) = (there, here);
    }
    let leader = stage.leader_outside(here).await?;
    for_good(stage, &Move { here, there, leader }).await?;
    objects_have_arrived(stage, "eu-west", "us-east").await?;
    objects_have_arrived(stage, "us-east", "eu-west").await
}

fn side(region: &str) -> &'static str {
    if region == "eu-west" { "eu" } else { "us" }
}

/// Row `preflight`: what would stall half-way does not open, and is named.
async fn refused_for_want_of_room(stage: &mut Stage) -> io::Result<()> {
    let cluster = &stage.services("us-east").cluster;
    let room = |cpu: &str| serde_json::json!({ "status": { "allocatable": { "cpu": cpu } } });
    cluster.change("v1", "nodes", "node", true, room("600m"));
    // Nodes are looked at once a minute, and by an agent that starts at once.
    looks_anew(stage, "agent-us")?;
    let words = ["web-us", "more pods", "fit on the 1 nodes"];
    until("a switchover is refused for want of room", LIMIT, async || {
        let asked = stage.lab.dry_run(GROUP, "us-east").await;
        asked.is_ok_and(|said| words.iter().all(|word| said.contains(word)))
    })
    .await?;
    let opened = stage.lab.open_plan(GROUP, "switchover", "us-east").await;
    let why = opened.map_err(|status| reason(&status).to_owned());
    check(why.is_err(), || format!("it opened: {why:?}"))?;
    says(stage, "plan switchover --to us-east", NO, &words)?;
    let cluster = &stage.services("us-east").cluster;
    cluster.change("v1", "nodes", "node", true, room("8"));
    looks_anew(stage, "agent-us")
}

fn looks_anew(stage: &mut Stage, agent: &str) -> io::Result<()> {
    stage.lab.agents.remove(agent);
    stage.lab.start_agent(agent, None)
}

/// Open a plan, hold it up at its row, see what is said, and let it go on.
async fn held_up(stage: &mut Stage, fault: &Fault, ways: &Move) -> io::Result<()> {
    let (here, there, began) = (ways.here, ways.there, clock::now());
    let prefix = format!("{:?}", fault.row);
    together::write(stage.server(here), &prefix).await?;
    stage.ready_to_move(there).await?;
    let epoch = stage.group().await?.epoch;
    open_and_put_on(stage, fault, ways).await?;
    let said = fault.said.replace("SIDE", side(there)).replace("SOURCE", side(here));
    let said = said.replace("FOLLOWER", ways.follower()?);
    said_by_status(stage, fault, &said).await?;
    if fault.leader {
        take_away(stage, &ways.leader, Loss::Killed)?;
        another(stage, &ways.leader).await?;
        bring_back(stage, &ways.leader, Loss::Killed)?;
    }
    if fault.waits {
        tokio::time::sleep(HELD).await;
        let open = stage.group().await?.plan;
        check(open.is_some_and(|plan| plan.halt_reason.is_empty()), || "it did not wait".into())?;
        fault.hold.take_off(stage, ways).await?;
        stage.serves(there, epoch + 1, LIMIT).await?;
    } else {
        stage.serves(there, epoch + 1, LIMIT).await?;
        said_by_status(stage, fault, &said).await?;
        fault.hold.take_off(stage, ways).await?;
    }
    let plan = stage.newest_plan().await?;
    check(plan.state == "completed", || format!("plan {} is {}", plan.id, plan.state))?;
    stage.nothing_lost(there).await?;
    together::serves(stage.server(there), &prefix).await?;
    stands(stage, there, here).await?;
    let took = clock::now().since(began).as_secs_f64();
    eprintln!("   {:18} {took:4.1} s  {:?}: {said:?}", fault.row.as_str(), fault.hold);
    Ok(())
}

/// The target's agent stands still until the plan has come to it, and the fault is on.
async fn open_and_put_on(stage: &mut Stage, fault: &Fault, ways: &Move) -> io::Result<()> {
    if fault.row < StepId::CatchUp {
        fault.hold.put_on(stage, ways).await?;
        return opened(stage, fault.kind, ways.there).await;
    }
    Hold::TargetAgent.put_on(stage, ways).await?;
    opened(stage, fault.kind, ways.there).await?;
    reached(stage, StepId::CatchUp).await?;
    fault.hold.put_on(stage, ways).await?;
    Hold::TargetAgent.take_off(stage, ways).await
}

async fn opened(stage: &Stage, kind: &str, target: &str) -> io::Result<()> {
    let opened = stage.lab.open_plan(GROUP, kind, target).await;
    opened.map(drop).map_err(|status| wrong(format!("{kind} to {target}: {status}")))
}

/// Wait until a row runs.
async fn reached(stage: &Stage, row: StepId) -> io::Result<()> {
    let runs = |group: &v1::GroupStatus| {
        let mut steps = group.plan.iter().flat_map(|plan| &plan.steps);
        steps.any(|step| step.name == row.as_str() && step.state == "running")
    };
    stage.lab.operator.wait_group(GROUP, row.as_str(), LIMIT, runs).await.map(drop)
}

/// What an operator reads: in the first line the row that waits and what it waits for; of what is
/// not waited for, a line of its own.
async fn said_by_status(stage: &Stage, fault: &Fault, said: &str) -> io::Result<()> {
    let text = || says(stage, "status", YES, &[]).unwrap_or_default();
    let at = format!("is at {}: ", fault.row);
    let tells = |text: &str| match fault.waits {
        true => text.lines().next().is_some_and(|line| line.contains(&at) && line.contains(said)),
        false => text.contains(said),
    };
    let what = format!("status says {said:?}");
    let told = until(&what, LIMIT, async || tells(&text())).await;
    told.map_err(|error| wrong(format!("{error}; it says:\n{}", text())))
}

/// What no retry helps halts the plan, as the table says; mended and resumed, it completes.
async fn for_good(stage: &mut Stage, ways: &Move) -> io::Result<()> {
    let hold = Hold::Kubernetes(403);
    stage.ready_to_move(ways.there).await?;
    let epoch = stage.group().await?.epoch;
    hold.put_on(stage, ways).await?;
    opened(stage, "switchover", ways.there).await?;
    let halted = |group: &v1::GroupStatus| group.health == "halted";
    stage.lab.operator.wait_group(GROUP, "the plan is halted", LIMIT, halted).await?;
    let id = format!("web-{}", side(ways.there));
    let words = ["is halted at activate-workloads", &id, "403", "NEXT: arbiter plan resume"];
    says(stage, "status", YES, &words)?;
    hold.take_off(stage, ways).await?;
    says(stage, &format!("plan resume --group {GROUP} --reason mended"), YES, &["NEXT:"])?;
    stage.serves(ways.there, epoch + 1, LIMIT).await?;
    stage.nothing_lost(ways.there).await?;
    stands(stage, ways.there, ways.here).await
}
