//! The leader lost in steady state: killed, frozen, cut.

use super::Case;
use super::proofs::longest_gap;
use super::stage::{LIMIT, Stage, check, wrong};
use arbiter::clock;
use arbiter::lab::cluster::ARBITERS;
use arbiter_core::Timing;
use arbiter_proto::v1;
use nix::sys::signal::Signal;
use std::io;
use std::time::Duration;

/// Losses of each kind in steady state.
const LOSSES: u32 = 5;
/// What a loaded machine may add to an election, the looks at it included.
const SLACK: Duration = Duration::from_millis(800);

/// How a leader is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// SIGKILL.
    Killed,
    /// SIGSTOP.
    Frozen,
    /// Its links cut.
    Cut,
}

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "leader-loss",
        "the leader killed, frozen and cut, five times each at 80 ms: no fence, no missed write, no split vote",
        |stage| Box::pin(leader_loss(stage, LOSSES)),
    )
    .profile("wan")
    .delay_ms(80),
];

/// Host of an arbiter.
pub fn host_of(arbiter: &str) -> io::Result<&'static str> {
    Ok(ARBITERS[index_of(arbiter)?].1)
}

/// Number of an arbiter among the operator's endpoints.
pub fn index_of(arbiter: &str) -> io::Result<usize> {
    let found = ARBITERS.iter().position(|known| known.0 == arbiter);
    found.ok_or_else(|| wrong(format!("no arbiter {arbiter:?}")))
}

/// Lose the leader, wait for another, and bring it back; the status that named the other.
///
/// # Errors
/// If no other leads, or it does not come back.
async fn lose(stage: &mut Stage, leader: &str, loss: Loss) -> io::Result<v1::Status> {
    take_away(stage, leader, loss)?;
    let during = another(stage, leader).await?;
    bring_back(stage, leader, loss)?;
    Ok(during)
}

/// Wait until an arbiter other than `lost` leads, as the others tell: the lost one would cost a
/// time limit at each look.
pub async fn another(stage: &Stage, lost: &str) -> io::Result<v1::Status> {
    let others = stage.lab.operator.without(index_of(lost)?);
    let other = |s: &v1::Status| !s.stale && !s.leader.is_empty() && s.leader != lost;
    others.wait("another leader", LIMIT, other).await
}

/// Lose the leader now.
pub fn take_away(stage: &mut Stage, leader: &str, loss: Loss) -> io::Result<()> {
    match loss {
        Loss::Killed => drop(stage.lab.arbiters.remove(leader)),
        Loss::Frozen => stage.lab.arbiters[leader].signal(Signal::SIGSTOP),
        Loss::Cut => stage.lab.net.cut_host(host_of(leader)?)?,
    }
    Ok(())
}

/// Undo [`take_away`].
pub fn bring_back(stage: &mut Stage, leader: &str, loss: Loss) -> io::Result<()> {
    match loss {
        Loss::Killed => stage.lab.start_arbiter(leader)?,
        Loss::Frozen => stage.lab.arbiters[leader].signal(Signal::SIGCONT),
        Loss::Cut => stage.lab.net.heal_host(host_of(leader)?)?,
    }
    Ok(())
}

/// Wait for the steady state: every voter is heard, the leader stands outside the active region,
/// and the lease of the active region was renewed lately.
async fn settled(stage: &Stage) -> io::Result<v1::Status> {
    let timing = stage.timing();
    let fresh = (timing.lease - timing.renewal - 2 * timing.rtt).as_millis() as u64;
    let all = |s: &v1::Status| {
        let outside = s.voters.iter().any(|v| v.name == s.leader && v.region != "eu-west");
        let regions = s.groups.iter().flat_map(|group| &group.regions);
        let mut agents = regions.filter(|r| r.region == "eu-west").flat_map(|r| &r.agents);
        !s.stale
            && outside
            && s.voters.iter().all(|v| v.role != "unreachable")
            && agents.all(|agent| agent.lease_left_ms >= fresh)
    };
    let what = "three voters, led from outside the active region, its lease renewed";
    stage.lab.operator.wait(what, LIMIT, all).await
}

/// How long after the loss another may lead: the others wait until the lost one's lease of
/// leadership has ended, then for one election window, and one round elects. Design §5 lets an
/// agent's lease last through exactly that; the rest is this machine's own slowness, and less than
/// a second window.
pub fn led_within(timing: &Timing) -> Duration {
    2 * timing.election_max + 5 * timing.rtt + SLACK
}

/// Lose the leader `times` times in each way; figures `losses`, `terms_gained`, `next_leader_ms`,
/// `longest_gap_ms` and `errors`.
///
/// # Errors
/// At a fence, a missed write or a split vote.
pub async fn leader_loss(stage: &mut Stage, times: u32) -> io::Result<()> {
    let (errors, from) = (stage.follower.errors(), clock::now());
    let (mut losses, mut gained, mut longest) = (0u32, 0, Duration::ZERO);
    for loss in [Loss::Killed, Loss::Frozen, Loss::Cut] {
        for round in 1..=times {
            let (terms, took) = lose_one(stage, loss)
                .await
                .map_err(|error| wrong(format!("{loss:?}, {round} of {times}: {error}")))?;
            losses += 1;
            gained += terms;
            longest = longest.max(took);
        }
    }
    let missed = stage.follower.errors() - errors;
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let gap = longest_gap(&stage.follower, from, clock::now());
    for (name, value) in [
        ("losses", f64::from(losses)),
        ("terms_gained", gained as f64),
        ("next_leader_ms", ms(longest)),
        ("longest_gap_ms", ms(gap)),
        ("errors", missed as f64),
    ] {
        stage.figure(name, value);
    }
    eprintln!(
        "   {losses} losses, {gained} terms gained, another leader after {longest:.1?} at most, \
         longest gap {gap:.1?}, {missed} writes missed"
    );
    Ok(())
}

/// Lose the leader once; the terms gained, and how long nobody led.
async fn lose_one(stage: &mut Stage, loss: Loss) -> io::Result<(u64, Duration)> {
    let before = settled(stage).await?;
    let postmaster = stage.postmaster("eu-db")?;
    let (errors, from) = (stage.follower.errors(), clock::now());
    let during = lose(stage, &before.leader, loss).await?;
    let took = clock::now().since(from);
    let gained = during.term - before.term;
    check(gained == 1, || format!("term {} after {}: a split vote", during.term, before.term))?;
    let after = settled(stage).await?;
    // It may hand over, out of the active region; the one that was lost may not disturb it.
    check(after.leader != during.leader || after.term == during.term, || {
        format!("{} was elected again, in term {}", after.leader, after.term)
    })?;
    let missed = stage.follower.errors() - errors;
    check(missed == 0, || format!("{missed} writes missed"))?;
    stage.no_gap("eu-west", from, Duration::from_secs(1))?;
    no_fence(&after)?;
    let now = stage.postmaster("eu-db")?;
    check(now == postmaster, || format!("postmaster {now} after {postmaster}: a fence"))?;
    Ok((gained, took))
}

/// No agent fenced itself for want of a lease.
fn no_fence(status: &v1::Status) -> io::Result<()> {
    let regions = status.groups.iter().flat_map(|group| &group.regions);
    let lapsed = regions.flat_map(|region| &region.agents).find(|agent| agent.lapsed);
    check(lapsed.is_none(), || format!("a lease lapsed: {lapsed:?}"))
}
