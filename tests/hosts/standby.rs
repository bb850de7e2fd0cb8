//! Two instances of one resource in one region: a local standby beside the primary.

use super::Case;
use super::stage::{LIMIT, Stage, check};
use arbiter::lab::cluster::{EU, FIRST_PAIR, GROUP, Pair};
use arbiter_proto::v1;
use std::collections::BTreeSet;
use std::io;

/// The pair of every lab, with a local standby in eu-west.
const WITH_LOCAL: Pair = Pair { local_standby: Some("agent-eu2"), ..FIRST_PAIR };

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "local-standby",
        "a local standby beside the primary: after a switchover both follow the new one",
        |stage| Box::pin(all_follow(stage)),
    )
    .mode("manual")
    .pairs(&[WITH_LOCAL]),
    Case::new(
        "local-standby-cut",
        "a region with a local standby is cut off: evidence covers both instances",
        |stage| Box::pin(both_proven(stage)),
    )
    .pairs(&[WITH_LOCAL]),
];

async fn all_follow(stage: &mut Stage) -> io::Result<()> {
    stage.pin("us-east")?;
    stage.ready_to_move("us-east").await?;
    stage.moved_by("switchover", "us-east").await?;
    stage.nothing_lost("us-east").await?;
    let new = stage.server("us-east").to_string();
    let standbys = |g: &v1::GroupStatus| {
        let eu = g.regions.iter().filter(|r| r.region == "eu-west").flat_map(|r| &r.agents);
        let data = eu.flat_map(|a| &a.instances).filter(|i| i.kind == "postgres");
        let follows = |i: &v1::InstanceStatus| {
            let upstream = i.detail.get("upstream").is_some_and(|at| at.starts_with(&new));
            i.goal == "standby" && i.role == "replica" && i.condition == "healthy" && upstream
        };
        data.filter(|i| follows(i)).count()
    };
    let both = |g: &v1::GroupStatus| standbys(g) == 2;
    let what = "both instances in eu-west follow us-east";
    stage.lab.operator.wait_group(GROUP, what, LIMIT, both).await?;
    stage.arrives_at("us-east", &["eu-db", "eu-db2"]).await
}

async fn both_proven(stage: &mut Stage) -> io::Result<()> {
    stage.postmaster("eu-db2")?;
    stage.lab.net.cut_region(EU)?;
    for host in ["eu-db", "eu-db2"] {
        stage.postgres_gone(host, stage.timing().lease).await?;
    }
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    let evidence = stage.newest_plan().await?.evidence;
    let proven: BTreeSet<&str> = evidence.iter().map(|e| e.instance.as_str()).collect();
    check(proven == BTreeSet::from(["db-eu", "db-eu-local"]), || format!("{evidence:?}"))
}
