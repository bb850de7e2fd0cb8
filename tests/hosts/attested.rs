//! An operator's word where no evidence comes by itself: the region is cut off, what should kill
//! there is stopped, and its power switch does not answer.

use super::Case;
use super::command_line::{NO, YES, says};
use super::stage::{LIMIT, Stage, check, until};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP};
use arbiter_proto::v1;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;

/// The expiry of a lease is not enough for policy, and what would be does not come.
const NO_ANSWER: &str = "evidence_min = \"power-off\"
step_limit = \"3s\"
step_attempts_max = 1

[groups.default.external_fence.eu-west]
fence_command = \"/bin/true\"
fence_check = \"/bin/false\"
";

/// The cases of this file.
pub const CASES: &[Case] = &[Case::new(
    "attested",
    "no evidence that policy asks for: halted until an operator cut the power, and attests it",
    |stage| Box::pin(attested(stage)),
)
.group(NO_ANSWER)];

async fn attested(stage: &mut Stage) -> io::Result<()> {
    for pid in stage.processes_with("eu-db", "deadman")? {
        kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
    }
    stage.lab.agents["agent-eu"].signal(Signal::SIGSTOP);
    stage.lab.net.cut_region(EU)?;
    let open = |g: &v1::GroupStatus| g.plan.is_some();
    let opened = stage.lab.operator.wait_group(GROUP, "a plan", LIMIT, open).await?;
    let plan = opened.plan.map(|plan| plan.id).unwrap_or_default();
    let other = format!("attest db-eu --plan {} --reason unplugged", plan + 1);
    says(stage, &other, NO, &["refused (no-such-plan)", "NEXT:"])?;
    // Policy judges a region lost before its lease is dead, and a word never shortens that wait.
    says(stage, "attest db-eu --reason unplugged", NO, &["refused (lease-alive)", "NEXT:"])?;
    halted_while_it_writes(stage).await?;

    says(stage, "attest db-us --reason unplugged", NO, &["refused (unfenced)", "db-us", "NEXT:"])?;
    let other = "attest db-eu --token 1.1 --reason unplugged";
    says(stage, other, NO, &["refused (wrong-token)", "NEXT:"])?;
    says(stage, "plan show", YES, &["halted", "arbiter attest db-eu"])?;

    stage.lab.kill_region(EU)?;
    stage.postgres_gone("eu-db", LIMIT).await?;
    says(stage, "attest db-eu --reason unplugged", YES, &["db-eu is attested", "NEXT:"])?;
    stage.serves("us-east", 2, LIMIT).await?;
    let ended = stage.newest_plan().await?;
    check(ended.id == plan && ended.state == "completed", || format!("{ended:?}"))?;
    let kinds: Vec<(&str, &str)> =
        ended.evidence.iter().map(|e| (e.instance.as_str(), e.kind.as_str())).collect();
    check(kinds == [("db-eu", "attested")], || format!("evidence {kinds:?}"))?;
    let report = format!("report {plan}");
    says(stage, &report, YES, &["db-eu", "attested", "olga (unverified): unplugged", "completed"])?;

    stage.lab.net.heal()?;
    stage.lab.start_arbiter("arbiter-eu")?;
    stage.lab.start_agent("agent-eu", None)?;
    stage.returned_as_no_primary("eu-west").await?;
    stage.follows("us-east").await
}

/// The plan halts, and rightly: what nobody could reach is acknowledging all the while.
async fn halted_while_it_writes(stage: &Stage) -> io::Result<()> {
    let halted = |g: &v1::GroupStatus| g.plan.as_ref().is_some_and(|plan| plan.state == "halted");
    let limit = stage.dead_after() + LIMIT;
    let group = stage.lab.operator.wait_group(GROUP, "a halted plan", limit, halted).await?;
    check(group.active == "eu-west" && group.epoch == 1, || format!("{group:?}"))?;
    let from = clock::now();
    until("the old primary acknowledges", LIMIT, async || {
        stage.pinned[0].0.last().is_some_and(|ack| ack.sent > from)
    })
    .await
}
