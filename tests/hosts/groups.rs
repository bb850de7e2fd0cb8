//! Several groups: on one agent, over two hosts, active in different regions.

use super::Case;
use super::stage::{LIMIT, Stage, check, until};
use arbiter::clock;
use arbiter::lab::cluster::{EU, FIRST_PAIR, GROUP, Pair};
use arbiter::lab::writer::{Aim, Writer};
use arbiter_proto::v1;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// A second resource of the group `default`, on a second host in each region.
const SECOND_HOST: Pair = Pair {
    group: GROUP,
    resource: "ledger",
    port: 5434,
    agents: ["agent-eu2", "agent-us2"],
    ..FIRST_PAIR
};
/// Another group, active in us-east, beside the group `default` on the same agents.
const OTHER: Pair =
    Pair { group: "reports", resource: "reports-db", port: 5433, active: "us-east", ..FIRST_PAIR };

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "group-over-two-hosts",
        "one group over two hosts in each region moves as one, with evidence for each",
        |stage| Box::pin(over_two_hosts(stage)),
    )
    .pairs(&[FIRST_PAIR, SECOND_HOST]),
    Case::new(
        "two-groups-one-agent",
        "two groups on one agent, active in different regions: a cut moves only the one it took",
        |stage| Box::pin(two_groups(stage)),
    )
    .pairs(&[FIRST_PAIR, OTHER]),
];

async fn over_two_hosts(stage: &mut Stage) -> io::Result<()> {
    stage.lab.net.cut_region(EU)?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    let plan = stage.newest_plan().await?;
    let proven: Vec<&str> = plan.evidence.iter().map(|e| e.instance.as_str()).collect();
    check(proven.contains(&"db-eu") && proven.contains(&"ledger-eu"), || format!("{proven:?}"))?;
    for host in ["eu-db", "eu-db2"] {
        let left = stage.postgres_processes(host)?;
        check(left.is_empty(), || format!("{host}: {left:?}"))?;
    }
    let ledger = SocketAddr::new(stage.lab.address("us-db2"), SECOND_HOST.port);
    writes(stage, ledger).await
}

async fn two_groups(stage: &mut Stage) -> io::Result<()> {
    stage.lab.arm(OTHER.group, "automatic").await?;
    let reports = SocketAddr::new(stage.lab.address("us-db"), OTHER.port);
    writes(stage, reports).await?;
    stage.lab.net.cut_region(EU)?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    let stays = |g: &v1::GroupStatus| g.active == "us-east" && g.epoch == 1 && g.plan.is_none();
    let what = "the other group stays";
    stage.lab.operator.wait_group(OTHER.group, what, LIMIT, stays).await?;
    writes(stage, reports).await
}

/// A fresh writer is acknowledged by the server at `address`.
async fn writes(stage: &Stage, address: SocketAddr) -> io::Result<()> {
    let from = clock::now().0 / 1_000_000 * 1_000_000;
    let netns = stage.lab.net.namespace_path("client");
    let writer = Writer::start("group", netns, Aim::Pinned(address), from)?;
    let writing = async || writer.count() > 10;
    until(&format!("{address} accepts writes"), Duration::from_secs(20), writing).await
}
