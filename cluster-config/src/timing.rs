//! Timers and the inequalities that they must keep. Knows durations; never a host or a clock.
//!
//! The core has the same table and checks it again; a test in `tests/` compares the two.

use crate::scalar::show_duration;
use crate::schema::Profile;
use std::time::Duration;

/// Longest fsync that the timers allow for.
const FSYNC_MAX: Duration = Duration::from_millis(20);
/// Least width of a voter's election window.
const WINDOW_MIN: Duration = Duration::from_millis(2);
/// Least F where a host lacks `cgroup.kill`.
const FENCE_WITHOUT_CGROUP_KILL_MIN: Duration = Duration::from_secs(6);

/// The timers in force for a group: those of the profile, with what the file overrides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// 99th percentile of the round trip between two voters.
    pub rtt: Duration,
    /// Raft heartbeat interval.
    pub heartbeat: Duration,
    /// Least Raft election timeout.
    pub election_min: Duration,
    /// Greatest Raft election timeout.
    pub election_max: Duration,
    /// r: an agent reports, and so renews, this often.
    pub renewal: Duration,
    /// F: the longest that a local fence may take.
    pub fence: Duration,
    /// L: length of a lease.
    pub lease: Duration,
    /// m: added to every wait for a dead lease.
    pub margin: Duration,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Profile {
    /// The timers of this profile.
    pub const fn timing(self) -> Timing {
        // rtt, heartbeat, election_min, election_max, r, F, L, m
        let [rtt, heartbeat, election_min, election_max, renewal, fence, lease, margin] = match self
        {
            Profile::Wan => [80, 300, 1200, 1800, 1000, 2000, 8000, 500],
            Profile::Regional => [25, 100, 500, 800, 500, 1500, 4500, 300],
            Profile::Metro => [5, 50, 250, 400, 300, 1000, 2500, 200],
        };
        Timing {
            rtt: ms(rtt),
            heartbeat: ms(heartbeat),
            election_min: ms(election_min),
            election_max: ms(election_max),
            renewal: ms(renewal),
            fence: ms(fence),
            lease: ms(lease),
            margin: ms(margin),
        }
    }
}

/// A broken inequality: the key to change, the rule with its numbers, the remedy.
pub(crate) struct Broken {
    pub(crate) key: &'static str,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

/// `a + b + …` with numbers, and its sum.
fn sum(terms: &[(u32, Duration)]) -> (String, Duration) {
    let text: Vec<String> = terms
        .iter()
        .map(|(count, each)| match count {
            1 => show_duration(*each),
            _ => format!("{count}·{}", show_duration(*each)),
        })
        .collect();
    (text.join(" + "), terms.iter().map(|(count, each)| *each * *count).sum())
}

impl Timing {
    /// How long after its last answer a leader may take a lease as dead: L(1+ρ) + m, ρ = 1 %.
    pub fn dead_after(&self) -> Duration {
        self.lease + self.lease / 100 + self.margin
    }

    /// How often Raft looks at its timers; a deadline is met up to this much late.
    fn tick(&self) -> Duration {
        ms(self.heartbeat.as_millis() as u64 * 13 / 64).max(ms(1))
    }

    /// The least election_max − election_min in which this many voters have windows of their own,
    /// each more than 2·rtt after the former.
    pub fn election_span_min(&self, voters: u32) -> Duration {
        let gap = 2 * self.rtt + self.tick() + ms(1);
        gap * voters.saturating_sub(1) + WINDOW_MIN * voters
    }

    /// What the timers of the Raft group break, for this many voters.
    pub(crate) fn broken_raft(&self, voters: u32) -> Vec<Broken> {
        let mut broken = Vec::new();
        let (limit, needed) = (self.heartbeat * 3 / 4, self.rtt + FSYNC_MAX);
        if limit <= needed {
            broken.push(Broken {
                key: "heartbeat",
                what: format!(
                    "0.75·heartbeat > rtt + fsync does not hold: 0.75·{} = {} ≤ {} + {} = {}",
                    show_duration(self.heartbeat),
                    show_duration(limit),
                    show_duration(self.rtt),
                    show_duration(FSYNC_MAX),
                    show_duration(needed),
                ),
                remedy: format!("raise heartbeat above {}", show_duration(needed * 4 / 3)),
            });
        }
        broken.extend(self.broken_windows(voters));
        if self.heartbeat * 2 > self.election_min {
            broken.push(Broken {
                key: "election_min",
                what: format!(
                    "2·heartbeat ≤ election_min does not hold: 2·{} > {}",
                    show_duration(self.heartbeat),
                    show_duration(self.election_min)
                ),
                remedy: "raise election_min: one late heartbeat must not begin an election".into(),
            });
        }
        broken
    }

    fn broken_windows(&self, voters: u32) -> Option<Broken> {
        let span = self.election_max.saturating_sub(self.election_min);
        let needed = self.election_span_min(voters);
        (span < needed).then(|| Broken {
            key: "election_max",
            what: format!(
                "election_max − election_min ≥ (voters − 1)·(2·rtt + tick + 1ms) + voters·2ms does \
                 not hold: {} − {} = {} < {}·(2·{} + {} + 1ms) + {voters}·2ms = {}",
                show_duration(self.election_max),
                show_duration(self.election_min),
                show_duration(span),
                voters.saturating_sub(1),
                show_duration(self.rtt),
                show_duration(self.tick()),
                show_duration(needed),
            ),
            remedy: format!(
                "raise election_max to at least {}: voters need election windows of their own",
                show_duration(self.election_min + needed)
            ),
        })
    }

    /// What the timers of the lease break.
    pub(crate) fn broken_lease(&self, cgroup_kill: bool) -> Vec<Broken> {
        let mut broken = Vec::new();
        let slack = self.lease.saturating_sub(self.fence);
        let right = format!(
            "{} − {} = {}",
            show_duration(self.lease),
            show_duration(self.fence),
            show_duration(slack)
        );
        let leader = [(1, self.renewal), (2, self.election_max), (5, self.rtt), (1, FSYNC_MAX)];
        let missed = [(3, self.renewal), (1, self.rtt)];
        for (rule, terms, why) in [
            (
                "r + 2·election_max + 5·rtt + fsync ≤ L − F",
                &leader[..],
                "losing the leader must fence nobody",
            ),
            ("3r + rtt ≤ L − F", &missed[..], "two lost renewals must fence nobody"),
        ] {
            let (left, total) = sum(terms);
            if total > slack {
                let total_text = show_duration(total);
                broken.push(Broken {
                    key: "lease",
                    what: format!("{rule} does not hold: {left} = {total_text} > {right}"),
                    remedy: format!(
                        "raise lease to at least {}, or lower renewal, election_max or fence: {why}",
                        show_duration(total + self.fence)
                    ),
                });
            }
        }
        if !cgroup_kill && self.fence < FENCE_WITHOUT_CGROUP_KILL_MIN {
            broken.push(Broken {
                key: "fence",
                what: format!(
                    "F ≥ 6s where cgroup.kill is missing does not hold: {} < 6s",
                    show_duration(self.fence)
                ),
                remedy: "raise fence to 6s, or run Linux 5.14 or newer and set \
                         cluster.cgroup_kill = true"
                    .into(),
            });
        }
        broken
    }
}
