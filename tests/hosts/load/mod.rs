//! One arbiter, the leader, with a thousand watchers and two hundred agents, and everything that a
//! client can do wrong at once, while the active region is lost.

mod abuse;
mod client;
mod crowd;

use super::Case;
use super::certificates::{TLS, pki};
use super::leader::index_of;
use super::processes::memory;
use super::stage::{LIMIT, Stage, check, wrong};
use abuse::Abuse;
use arbiter::clock;
use arbiter::lab::cluster::{EU, Lab, OPERATOR};
use client::Clients;
use crowd::Crowd;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

/// Agents beside the two that hold a database, and watchers.
const AGENTS: usize = 198;
const WATCHERS: usize = 1000;
/// Groups that the agents are of: each has as many in either region.
const GROUPS: usize = 9;
/// How long the abuse goes on before the region is lost.
const ABUSED_FOR: Duration = Duration::from_secs(5);
/// Most memory of one arbiter, in bytes: several times what it holds in peace.
const MEMORY_MAX: u64 = 512 << 20;
/// How soon an arbiter answers again once the abuse has ended.
const CALM_WITHIN: Duration = Duration::from_secs(2);

/// The cases of this file.
pub const CASES: &[Case] = &[Case::new(
    "load",
    "1,000 watchers, 200 agents and every abuse at once, and a region lost: no renewal is starved",
    |stage| Box::pin(load(stage)),
)
.with(TLS, in_place)];

/// Name and side of an agent of the crowd.
fn agent(number: usize) -> (String, &'static str) {
    (format!("crowd-{number}"), if number.is_multiple_of(2) { "eu-west" } else { "us-east" })
}

/// More agents in the cluster's file, each with an instance that is nothing, and certificates.
fn in_place(lab: &Lab) -> io::Result<()> {
    let mut text = std::fs::read_to_string(lab.config())?;
    for group in 0..GROUPS {
        let _ = write!(
            text,
            "[groups.crowd-{group}]\ninitial_active = \"eu-west\"\nallow_automatic = false\n\
             [groups.crowd-{group}.resources.none-{group}]\nkind = \"command\"\n\
             command = \"/bin/true\"\n"
        );
    }
    for number in 0..AGENTS {
        let ((name, region), group) = (agent(number), number / 2 % GROUPS);
        let _ = write!(
            text,
            "[agents.{name}]\nregion = \"{region}\"\n\
             [groups.crowd-{group}.resources.none-{group}.instances.i-{number}]\n\
             agent = \"{name}\"\n"
        );
    }
    std::fs::write(lab.config(), text)?;
    let dir = lab.options.dir.join("tls").to_string_lossy().into_owned();
    let config = lab.config().to_string_lossy().into_owned();
    let of = ["--config", &config, "--dir", &dir];
    pki(lab, &["init"], &["--dir", &dir])?;
    pki(lab, &["issue", "--admin", OPERATOR, "--viewer", "app"], &of)?;
    pki(lab, &["issue"], &of).map(drop)
}

async fn load(stage: &mut Stage) -> io::Result<()> {
    let leader = stage.lab.operator.status().await.map(|status| status.leader);
    let leader = leader.ok_or_else(|| wrong("no arbiter leads"))?;
    let index = index_of(&leader)?;
    let clients = Clients::of(&stage.lab, index);
    let crowd = Crowd::gather(&clients, stage.timing().renewal).await?;
    let peace = memory(stage.lab.arbiters[&leader].pid())?;
    let from = clock::now();
    let abuse = Abuse::begin(&clients);
    tokio::time::sleep(ABUSED_FOR).await;
    stage.no_gap("eu-west", from, stage.timing().renewal)?;
    // An operator, by another name than who abuses, is answered; and so is a failover's every step.
    let asked = stage.lab.operator.only(index).status().await;
    check(asked.is_some(), || "the abused arbiter answers no operator".into())?;
    stage.lab.net.cut_region(EU)?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    let (abused, took) = (memory(stage.lab.arbiters[&leader].pid())?, clock::now().since(from));
    let told = abuse.end().await?;
    let calm = clock::now();
    let asked = stage.lab.operator.only(index).status().await;
    let answered = clock::now().since(calm);
    check(asked.is_some_and(|s| !s.stale), || "what was abused does not recover".into())?;
    check(answered < CALM_WITHIN, || format!("calm again, it answered after {answered:?}"))?;
    let seen = crowd.end().await?;
    println!("   abuse for {took:.1?}: {told}");
    println!("   {seen}; {} MiB in peace, {} MiB abused", peace >> 20, abused >> 20);
    stage.figure("renewal_ms", seen.slowest.as_secs_f64() * 1e3);
    stage.figure("mib", (abused >> 20) as f64);
    check(abused < MEMORY_MAX, || format!("{} MiB", abused >> 20))?;
    // Whoever holds a lease is answered long before it ends.
    let limit = stage.timing().lease - stage.timing().renewal;
    check(seen.slowest < limit, || format!("{seen}"))?;
    check(seen.ended == 0, || format!("streams of agents ended: {seen}"))?;
    check(seen.told == WATCHERS, || format!("not every watcher was told of the failover: {seen}"))
}
