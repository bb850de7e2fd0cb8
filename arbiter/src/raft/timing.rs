//! Raft's timers from the cluster's. Knows durations; never a clock.

use arbiter_core::{ClusterSpec, RegionKind, Timing};
use openraft::{Config, SnapshotPolicy};
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;

/// Entries applied since the last snapshot before the next is built; also the most that a restart
/// applies again.
pub const SNAPSHOT_EVERY_ENTRIES: u64 = 2_000;
/// Entries kept after a snapshot, so that a follower that was away briefly needs none.
pub const ENTRIES_KEPT_AFTER_SNAPSHOT: u64 = 1_000;
/// A follower further behind gets a snapshot. Above [`SNAPSHOT_EVERY_ENTRIES`], or it would not
/// help.
pub const LAG_FOR_SNAPSHOT_ENTRIES: u64 = 5_000;
/// Entries in one AppendEntries.
pub const APPEND_ENTRIES_MAX: u64 = 64;
/// Sending and installing a snapshot.
pub const SNAPSHOT_LIMIT: Duration = Duration::from_secs(60);
/// Least width of a voter's election window.
const WINDOW_MIN: Duration = Duration::from_millis(2);

/// A voter, as far as timers go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterAt {
    /// Its configured name.
    pub name: String,
    /// Raft node id.
    pub node_id: u64,
    /// `host:port` of its gRPC face.
    pub address: String,
    /// Stands in a witness region.
    pub witness: bool,
}

/// The voters of `spec`.
pub fn voters(spec: &ClusterSpec) -> Vec<VoterAt> {
    spec.voters
        .iter()
        .map(|(name, voter)| VoterAt {
            name: name.0.clone(),
            node_id: voter.node_id,
            address: voter.address.clone(),
            witness: spec.regions.get(&voter.region) == Some(&RegionKind::Witness),
        })
        .collect()
}

/// From when to when a voter that hears no leader may campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionWindow {
    /// Inclusive.
    pub min: Duration,
    /// Exclusive.
    pub max: Duration,
}

/// The windows do not fit between `election_min` and `election_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{voters} election windows, each more than 2*rtt + tick = {gap:?} after the former, need \
     {needed:?}, and election_max - election_min is {span:?}; raise election_max"
)]
pub struct WindowsDoNotFit {
    voters: usize,
    gap: Duration,
    needed: Duration,
    span: Duration,
}

/// How often openraft looks at its timers; a deadline is met up to this much late.
fn tick(timing: &Timing) -> Duration {
    Duration::from_millis(timing.heartbeat.as_millis() as u64 * 13 / 64)
        .max(Duration::from_millis(1))
}

/// The least election_max − election_min in which `voters` have windows of their own.
pub fn election_span_min(timing: &Timing, voters: u32) -> Duration {
    gap(timing) * voters.saturating_sub(1) + WINDOW_MIN * voters
}

/// From the end of one voter's window to the begin of the next.
fn gap(timing: &Timing) -> Duration {
    2 * timing.rtt + tick(timing) + Duration::from_millis(1)
}

/// Disjoint election windows inside [election_min, election_max], more than 2·rtt apart so that
/// the first candidate has won before the next one asks; the witness first, since it is never
/// active and so leads without being in the way (design §5).
///
/// # Errors
/// [`WindowsDoNotFit`].
pub fn election_windows(
    timing: &Timing,
    voters: &[VoterAt],
) -> Result<BTreeMap<u64, ElectionWindow>, WindowsDoNotFit> {
    let mut order: Vec<&VoterAt> = voters.iter().collect();
    order.sort_by_key(|voter| (!voter.witness, voter.node_id));
    let count = order.len().max(1) as u32;
    let gap = gap(timing);
    let span = timing.election_max.saturating_sub(timing.election_min);
    let needed = election_span_min(timing, count);
    if span < needed {
        return Err(WindowsDoNotFit { voters: order.len(), gap, needed, span });
    }
    let width = Duration::from_millis(((span - gap * (count - 1)) / count).as_millis() as u64);
    let mut min = timing.election_min;
    let mut windows = BTreeMap::new();
    for voter in order {
        windows.insert(voter.node_id, ElectionWindow { min, max: min + width });
        min += width + gap;
    }
    Ok(windows)
}

/// openraft's configuration (facts of the decision record 0001): pre-vote on, no leadership
/// without an election after a restart, no log reversion, and a way out for a connected majority
/// that an old leader's heartbeats block.
pub fn config(cluster: &str, timing: &Timing, window: ElectionWindow) -> Config {
    let ms = |duration: Duration| duration.as_millis() as u64;
    Config {
        cluster_name: cluster.to_owned(),
        heartbeat_interval: ms(timing.heartbeat),
        election_timeout_min: ms(window.min),
        election_timeout_max: ms(window.max),
        install_snapshot_timeout: ms(SNAPSHOT_LIMIT),
        max_payload_entries: APPEND_ENTRIES_MAX,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY_ENTRIES),
        max_in_snapshot_log_to_keep: ENTRIES_KEPT_AFTER_SNAPSHOT,
        replication_lag_threshold: LAG_FOR_SNAPSHOT_ENTRIES,
        purge_batch_size: 64,
        // The channels are allocated in blocks as they fill; the limits only bound them.
        api_channel_size: Some(4_096),
        notification_channel_size: Some(4_096),
        // Followers write while the leader does, not after it.
        broadcast_submitted_on_append: Some(true),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        allow_log_reversion: Some(false),
        quorum_loss_probe_interval: Some(2 * ms(timing.election_max)),
        backoff: format!("{0}ms {0}ms {0}ms ...{0}ms", ms(timing.heartbeat)),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::Profile;

    fn three() -> Vec<VoterAt> {
        let voter = |name: &str, node_id, witness| VoterAt {
            name: name.to_owned(),
            node_id,
            address: format!("127.0.0.1:{node_id}"),
            witness,
        };
        vec![voter("eu", 1, false), voter("us", 2, false), voter("w", 3, true)]
    }

    #[test]
    fn windows_are_disjoint_far_apart_inside_and_the_witness_is_first() {
        for profile in [Profile::Wan, Profile::Regional, Profile::Metro] {
            let timing = profile.timing();
            let windows = election_windows(&timing, &three()).expect("the profiles fit");
            let mut sorted: Vec<(u64, ElectionWindow)> = windows.into_iter().collect();
            sorted.sort_by_key(|(_, window)| window.min);
            assert_eq!(sorted[0].0, 3, "{profile:?}");
            assert!(sorted[0].1.min >= timing.election_min);
            assert!(sorted[2].1.max <= timing.election_max, "{profile:?} {sorted:?}");
            for pair in sorted.windows(2) {
                assert!(pair[0].1.min < pair[0].1.max);
                assert!(pair[1].1.min > pair[0].1.max + 2 * timing.rtt, "{profile:?} {sorted:?}");
            }
            for (_, window) in sorted {
                config("test", &timing, window).validate().expect("openraft accepts it");
            }
        }
    }

    #[test]
    fn a_span_without_room_is_refused_with_the_numbers() {
        let mut timing = Profile::Wan.timing();
        timing.election_max = timing.election_min + 3 * timing.rtt;
        let error = election_windows(&timing, &three()).expect_err("no room");
        assert!(error.to_string().contains("raise election_max"), "{error}");
    }
}
