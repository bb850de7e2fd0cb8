//! The arbiters themselves: one replaced while everything goes on, and two lost for good.

use super::Case;
use super::command_line::{NO, YES, says, says_as};
use super::stage::{LIMIT, Stage, check, until};
use arbiter::clock;
use arbiter::lab::cluster::ARBITERS;
use arbiter_proto::v1;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What clients may notice of a change of members: less than a renewal is late by.
const GAP_MAX: Duration = Duration::from_secs(1);
/// The new witness.
const NEW: &str = "arbiter-witness-2";

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "membership",
        "a voter replaced under load: no write late, no fence, and its old disk is refused",
        |stage| Box::pin(membership(stage)),
    ),
    Case::new(
        "break-glass",
        "two arbiters lost for good: a new cluster goes on from the third's disk, agents fenced",
        |stage| Box::pin(break_glass(stage)),
    ),
];

/// A cluster file like the lab's, changed.
fn file(stage: &Stage, name: &str, change: impl Fn(String) -> String) -> io::Result<PathBuf> {
    let path = stage.lab.options.dir.join(name);
    std::fs::write(&path, change(std::fs::read_to_string(stage.lab.config())?))?;
    Ok(path)
}

fn log_of(stage: &Stage, name: &str) -> String {
    let path = stage.lab.options.dir.join(format!("{name}.log"));
    std::fs::read_to_string(path).unwrap_or_default()
}

/// From now on a change of members takes a second person, once for each.
fn two_persons(stage: &Stage, change: &str) -> io::Result<()> {
    let two = file(stage, "two.toml", |text| {
        text.replace("[cluster]\n", "[cluster]\ntwo_person = true\n")
    })?;
    says(stage, &format!("config apply {} --reason safer", two.display()), YES, &["NEXT:"])?;
    let refused = says(stage, change, NO, &["needs-approval", "another person: arbiter approve "])?;
    let waits = refused.split("arbiter approve ").nth(1).and_then(|rest| rest.split(' ').next());
    let approve = format!("approve {} --reason seen", waits.unwrap_or_default());
    says(stage, &approve, NO, &["same-person", "NEXT:"])?;
    says(stage, change, NO, &["needs-approval"])?;
    says_as("ada", stage, &approve, YES, &["olga", "once, within the hour"]).map(drop)
}

async fn membership(stage: &mut Stage) -> io::Result<()> {
    let witness = stage.lab.address("witness");
    let new = file(stage, "second.toml", |text| {
        text.replace(
            "arbiters.arbiter-witness]\nnode_id = 3",
            &format!("arbiters.{NEW}]\nnode_id = 4"),
        )
        .replace(&format!("{witness}:7400"), &format!("{witness}:7420"))
        .replace(&format!("{witness}:7401"), &format!("{witness}:7421"))
    })?;
    let at = new.display().to_string();
    let from = clock::now();
    stage.lab.start_other("witness", NEW, &new, &format!("data/{NEW}"), true)?;
    says(stage, "members transfer --to arbiter-us", YES, &[])?;
    until("version 2 is in force", LIMIT, async || {
        stage.lab.operator.status().await.is_some_and(|status| status.state_version == 2)
    })
    .await?;
    let bad = format!("members add {NEW} --config {at} --node-id 2");
    says(stage, &bad, NO, &["node-id-used", "node id 4"])?;
    says(stage, "members remove arbiter-witness", NO, &["too-few", "members replace"])?;
    let replace =
        format!("members replace arbiter-witness --with {NEW} --config {at} --reason old");
    two_persons(stage, &replace)?;
    says(stage, &replace, YES, &["votes", "NEXT:"])?;
    let changed = |s: &v1::Status| {
        let names: Vec<&str> = s.voters.iter().map(|voter| voter.name.as_str()).collect();
        !s.stale && names == ["arbiter-eu", "arbiter-us", NEW]
    };
    stage.lab.operator.wait("the new voters", LIMIT, changed).await?;
    says(stage, "members list", YES, &[NEW, "differs: ", "arbiter-witness (node 3) is none"])?;
    // The old disk comes back, under the old file.
    drop(stage.lab.arbiters.remove("arbiter-witness"));
    stage.lab.start_arbiter("arbiter-witness")?;
    until("its old disk is refused", LIMIT, async || {
        log_of(stage, "arbiter-witness").contains("node 3 is no member of cluster")
    })
    .await?;
    drop(stage.lab.arbiters.remove("arbiter-witness"));
    // The new one is a quorum with either of the others.
    drop(stage.lab.arbiters.remove("arbiter-us"));
    let led = |s: &v1::Status| !s.stale && !s.leader.is_empty() && s.leader != "arbiter-us";
    stage.lab.operator.wait("a leader of the new quorum", LIMIT, led).await?;
    stage.lab.start_arbiter("arbiter-us")?;
    stage.no_gap("eu-west", from, GAP_MAX)?;
    check(stage.group().await?.epoch == 1, || "nothing moved".to_owned())
}

async fn break_glass(stage: &mut Stage) -> io::Result<()> {
    let dir = stage.lab.options.dir.clone();
    let backup = dir.join("backup").display().to_string();
    says(stage, &format!("backup --out {backup}"), YES, &["eu-west is active at epoch 1"])?;
    says(stage, &format!("backup verify {backup}"), YES, &["state version"])?;
    for (name, _, _, _) in ARBITERS {
        drop(stage.lab.arbiters.remove(name));
    }
    for lost in ["arbiter-us", "arbiter-witness"] {
        std::fs::remove_dir_all(dir.join("data").join(lost))?;
    }
    let old = stage.lab.options.prefix.clone();
    let second = format!("{old}-2");
    let id = |name: &str| format!("[cluster]\nid = \"{name}\"");
    let new = file(stage, "second.toml", |text| text.replace(&id(&old), &id(&second)))?;
    for (name, host, _, _) in ARBITERS {
        stage.lab.start_other(host, name, &new, &format!("data-2/{name}"), false)?;
    }
    let (at, survivor) = (new.display().to_string(), dir.join("data/arbiter-eu"));
    let survivor = survivor.display();
    let restore = format!("restore --config {at} --data-dir {survivor}");
    let same = format!("{restore} --new-cluster-id {old} --reason gone");
    says(stage, &same, NO, &["wrong-cluster"])?;
    let began = clock::now();
    says(stage, &format!("{restore} --new-cluster-id {second} --reason gone"), YES, &["begun"])?;
    until("the service comes back", LIMIT, async || stage.first_ack("eu-west", began).is_some())
        .await?;
    let group = stage.group().await?;
    check(group.epoch == 1 + arbiter_core::EPOCH_JUMP, || format!("epoch {}", group.epoch))?;
    for agent in ["agent-eu", "agent-us"] {
        let log = log_of(stage, agent);
        check(log.contains(&second), || format!("{agent} did not change over:\n{log}"))?;
    }
    says(stage, "members list", YES, &["restored from a backup of"])?;
    stage.ready_to_move("us-east").await
}
