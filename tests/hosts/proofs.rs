//! What the writers' logs show, and what a server has of them.

use super::stage::{Stage, check};
use arbiter::clock;
use arbiter::lab::demo::{doubled, ids};
use arbiter::lab::writer::{Ack, Writer};
use arbiter_core::Instant;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

impl Stage {
    /// Every acknowledgement of every writer, in the order in which they arrived.
    pub fn acks(&self) -> Vec<Ack> {
        let pinned = self.pinned.iter().flat_map(|(writer, _)| writer.acks());
        let mut acks: Vec<Ack> = self.follower.acks().into_iter().chain(pinned).collect();
        acks.sort_by_key(|ack| ack.at);
        acks
    }

    /// Never two servers at once: from the first acknowledgement by a server, to any writer, nobody
    /// is acknowledged by another until the active region changes. So the acknowledgements of all
    /// change their server exactly as often as the epoch rose. A case that moves back pins a writer
    /// in each region: then each window is seen from its first possible write.
    ///
    /// # Errors
    /// With the windows.
    pub async fn no_overlap(&self) -> io::Result<()> {
        let acks = self.acks();
        // A restore alone changes no region.
        let rises = self.group().await?.epoch.saturating_sub(1) % arbiter_core::EPOCH_JUMP;
        let mut windows: Vec<(IpAddr, usize)> = Vec::new();
        for ack in &acks {
            match windows.last_mut() {
                Some((server, count)) if *server == ack.server => *count += 1,
                _ => windows.push((ack.server, 1)),
            }
        }
        check(windows.len() as u64 == rises + 1, || {
            format!("the epoch rose {rises} times, and acknowledged was by turns {windows:?}")
        })
    }

    /// First acknowledgement by the server of `region` after `from`, to any writer.
    pub fn first_ack(&self, region: &str, from: Instant) -> Option<Instant> {
        let server = self.server(region);
        self.acks().iter().find(|ack| ack.server == server && ack.at > from).map(|ack| ack.at)
    }

    /// The follower was acknowledged by `region` from `from` until now without a gap above `gap`.
    ///
    /// # Errors
    /// With the longest gap.
    pub fn no_gap(&self, region: &str, from: Instant, gap: Duration) -> io::Result<()> {
        let acks = self.follower.acks();
        let server = self.server(region);
        let elsewhere = acks.iter().find(|ack| ack.at > from && ack.server != server);
        check(elsewhere.is_none(), || format!("the follower was acknowledged: {elsewhere:?}"))?;
        let longest = longest_gap(&self.follower, from, clock::now());
        check(longest <= gap, || format!("no write was acknowledged for {longest:?}"))
    }

    /// The first pinned writer was acknowledged from `from` until now without a gap above `gap`.
    ///
    /// # Errors
    /// With the longest gap.
    pub fn no_pinned_gap(&self, from: Instant, gap: Duration) -> io::Result<()> {
        let longest = longest_gap(&self.pinned[0].0, from, clock::now());
        check(longest <= gap, || format!("the pinned writer was not acknowledged for {longest:?}"))
    }

    /// Acknowledged ids that the server of `region` does not have.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn lost(&self, region: &str) -> io::Result<Vec<i64>> {
        // First what was acknowledged: the writers go on while the table is read.
        let acks = self.acks();
        let present = ids(self.server(region)).await?;
        Ok(acks.iter().map(|a| a.id).filter(|id| !present.contains(id)).collect())
    }

    /// The server of `region` has every acknowledged id.
    ///
    /// # Errors
    /// With those that are lost, or if it does not answer.
    pub async fn nothing_lost(&self, region: &str) -> io::Result<()> {
        let lost = self.lost(region).await?;
        check(lost.is_empty(), || format!("{} acknowledged writes are lost: {lost:?}", lost.len()))
    }

    /// The server of `region` has every acknowledged id exactly once.
    ///
    /// # Errors
    /// With those that are lost or doubled, or if it does not answer.
    pub async fn each_once(&self, region: &str) -> io::Result<()> {
        self.nothing_lost(region).await?;
        let doubled = doubled(self.server(region)).await?;
        check(doubled.is_empty(), || {
            format!("{} ids are not there once: {doubled:?}", doubled.len())
        })
    }
}

/// The longest time from `from` until `to` in which `writer` was not acknowledged.
pub fn longest_gap(writer: &Writer, from: Instant, to: Instant) -> Duration {
    let (mut last, mut longest) = (from, Duration::ZERO);
    for ack in writer.acks().iter().filter(|ack| ack.at > from && ack.at <= to) {
        longest = longest.max(ack.at.since(last));
        last = ack.at;
    }
    longest.max(to.since(last))
}
