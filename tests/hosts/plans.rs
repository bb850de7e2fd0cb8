//! Plans that end as they were opened: switchover, failover by command, reboot, DNS away.

use super::stage::{LIMIT, Stage, check, other_boot_id, until, wrong};
use super::{Case, leader};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP};
use arbiter::lab::net::Way;
use arbiter::lab::postgres;
use arbiter::lab::process::{Process, Spec};
use arbiter_proto::v1;
use std::io;
use std::time::Duration;

/// Switchovers there and back.
const ROUNDS: u64 = 5;

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "switchover",
        "switchover under load, forth and back five times: no acknowledged write is lost or doubled",
        |stage| Box::pin(switchover(stage)),
    )
    .mode("manual"),
    Case::new(
        "failover-live",
        "an impaired region whose agent answers: failover by command loses no acknowledged write",
        |stage| Box::pin(failover_live(stage)),
    )
    .mode("manual"),
    Case::new(
        "region-killed",
        "every process of the active region is killed at once: the other serves",
        |stage| Box::pin(region_killed(stage)),
    ),
    Case::new(
        "dns-away",
        "the DNS server is down during failover: writes are accepted, traffic follows later",
        |stage| Box::pin(dns_away(stage)),
    ),
    Case::new(
        "rebooted",
        "the old region rebooted and PostgreSQL started by hand first: it stays fenced",
        |stage| Box::pin(rebooted(stage)),
    ),
];

async fn switchover(stage: &mut Stage) -> io::Result<()> {
    stage.pin("us-east")?;
    for round in 1..=ROUNDS {
        for target in ["us-east", "eu-west"] {
            stage.ready_to_move(target).await?;
            stage
                .moved_by("switchover", target)
                .await
                .map_err(|e| wrong(format!("round {round}: {e}")))?;
        }
    }
    stage.each_once("eu-west").await
}

/// The region is impaired for real: its arbiter is dead, and its database is cut off from the
/// clients outside and from the leader, so that its agent reports through a relay.
async fn failover_live(stage: &mut Stage) -> io::Result<()> {
    let leader = leader::host_of(&stage.leader_outside("eu-west").await?)?;
    stage.lab.arbiters.remove("arbiter-eu");
    stage.lab.net.cut_links("eu-db", &["client", leader], Way::Both)?;
    let cut = clock::now();
    until("the clients outside are cut off", LIMIT, async || {
        let last = stage.follower.last().map(|ack| ack.at).unwrap_or_default();
        clock::now().since(last.max(cut)) > Duration::from_secs(1)
    })
    .await?;
    let reports = |g: &v1::GroupStatus| agent(g, "agent-eu").is_some_and(|a| a.connected);
    stage.lab.operator.wait_group(GROUP, "the source's agent answers", LIMIT, reports).await?;
    stage.moved_by("failover", "us-east").await?;
    stage.nothing_lost("us-east").await?;
    let evidence = stage.newest_plan().await?.evidence;
    let kinds: Vec<&str> = evidence.iter().map(|e| e.kind.as_str()).collect();
    check(kinds == ["confirmed"], || format!("not its agent's own word: {evidence:?}"))?;
    stage.lab.net.heal()?;
    stage.lab.start_arbiter("arbiter-eu")?;
    stage.ready_to_move("eu-west").await
}

async fn region_killed(stage: &mut Stage) -> io::Result<()> {
    stage.lab.kill_region(EU)?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    stage.lab.start_arbiter("arbiter-eu")?;
    stage.lab.start_agent("agent-eu", None)?;
    stage.returned_as_no_primary("eu-west").await?;
    stage.follows("us-east").await
}

/// The plan waits for the DNS server.
pub fn switching_traffic(group: &v1::GroupStatus) -> bool {
    group.plan.as_ref().is_some_and(|plan| {
        plan.steps.iter().any(|s| s.name == "switch-traffic" && s.state == "running")
    })
}

async fn dns_away(stage: &mut Stage) -> io::Result<()> {
    stage.pin("us-east")?;
    stage.lab.bind.stop();
    stage.lab.net.cut_region(EU)?;
    let new = stage.server("us-east");
    let limit = stage.dead_after() + LIMIT;
    until("the new primary accepts writes without DNS", limit, || async {
        stage.pinned.iter().any(|(writer, server)| *server == new && writer.count() > 0)
    })
    .await?;
    let what = "switch-traffic waits";
    stage.lab.operator.wait_group(GROUP, what, LIMIT, switching_traffic).await?;
    stage.lab.bind.restart(&stage.lab.net)?;
    stage.serves("us-east", 2, LIMIT).await
}

async fn rebooted(stage: &mut Stage) -> io::Result<()> {
    stage.lab.kill_region(EU)?;
    stage.lab.net.cut_region(EU)?;
    let runtime = stage.lab.options.dir.join("run/agent-eu");
    std::fs::remove_dir_all(&runtime)?;
    let boot_id = other_boot_id(&stage.lab.options.dir)?;
    started_by_hand(stage)?;
    stage.lab.start_arbiter("arbiter-eu")?;
    stage.lab.start_agent("agent-eu", Some(boot_id))?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    let left = stage.postgres_processes("eu-db")?;
    check(left.is_empty(), || format!("PostgreSQL runs in the rebooted region: {left:?}"))?;
    stage.lab.net.heal()?;
    stage.returned_as_no_primary("eu-west").await
}

/// PostgreSQL is started by hand: its configuration must not let it, for the start file that is not
/// there. Read without the gate's line the same configuration is sound.
fn started_by_hand(stage: &Stage) -> io::Result<()> {
    let data = stage.lab.servers[0][0].data_dir.clone();
    let log = stage.lab.options.dir.join("by-hand.log");
    let run = |more: &[&str]| {
        let data = data.to_string_lossy().into_owned();
        let args = [&["-D", &data], more].concat();
        let mut spec = Spec::new(postgres::bin_dir()?.join("postgres"), &args, &log);
        spec.user = Some(postgres::owner()?);
        Process::run(&stage.lab.net, "eu-db", &spec)
    };
    check(run(&[]).is_err(), || "PostgreSQL could be started by hand".into())?;
    let said = std::fs::read_to_string(&log)?;
    check(said.contains("db-eu.start.conf"), || format!("it did not stop at the gate: {said}"))?;
    let open = data.with_file_name("ungated.conf");
    let text = std::fs::read_to_string(data.join("postgresql.conf"))?;
    let ungated = |line: &&str| !line.contains("db-eu.start.conf");
    let text: Vec<&str> = text.lines().filter(ungated).collect();
    std::fs::write(&open, text.join("\n") + "\n")?;
    let file = format!("config_file={}", open.display());
    run(&["-c", &file, "-C", "port"])
}

/// What status tells of an agent.
fn agent<'a>(group: &'a v1::GroupStatus, name: &str) -> Option<&'a v1::AgentStatus> {
    group.regions.iter().flat_map(|region| &region.agents).find(|agent| agent.agent == name)
}
