//! Lease and election arithmetic (design §5). Knows durations; never a clock, a host or a group.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Greatest rate difference between the clocks of two hosts, in parts per million (1 %).
pub const CLOCK_RATE_ERROR_PPM: u32 = 10_000;

/// Longest fsync that the timers allow for.
pub const FSYNC_MAX: Duration = Duration::from_millis(20);

/// The least K, the head start of the deadman over the deadline.
pub const DEADMAN_HEAD_START_MIN: Duration = Duration::from_millis(250);

/// Named timings for the distance between regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Round trips up to 80 ms.
    #[default]
    Wan,
    /// Round trips up to 25 ms.
    Regional,
    /// Round trips up to 5 ms.
    Metro,
}

/// The timers of a group and of the Raft group under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// 99th percentile of the round trip between two voters.
    pub rtt: Duration,
    /// Raft heartbeat interval; also the hard limit of every AppendEntries.
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
    /// The timers of this profile (design §5, table).
    pub const fn timing(self) -> Timing {
        match self {
            Profile::Wan => Timing {
                rtt: ms(80),
                heartbeat: ms(300),
                election_min: ms(1200),
                election_max: ms(1800),
                renewal: ms(1000),
                fence: ms(2000),
                lease: ms(8000),
                margin: ms(500),
            },
            Profile::Regional => Timing {
                rtt: ms(25),
                heartbeat: ms(100),
                election_min: ms(500),
                election_max: ms(800),
                renewal: ms(500),
                fence: ms(1500),
                lease: ms(4500),
                margin: ms(300),
            },
            Profile::Metro => Timing {
                rtt: ms(5),
                heartbeat: ms(50),
                election_min: ms(250),
                election_max: ms(400),
                renewal: ms(300),
                fence: ms(1000),
                lease: ms(2500),
                margin: ms(200),
            },
        }
    }
}

/// An inequality of design §5 that a configuration breaks, with the numbers in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimingFault {
    /// The inequality in symbols.
    pub rule: &'static str,
    /// The same with this configuration's numbers.
    pub numbers: String,
    /// What to change.
    pub remedy: &'static str,
}

impl fmt::Display for TimingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken: {}; {}", self.rule, self.numbers, self.remedy)
    }
}

impl Timing {
    /// How long after its last answer a leader may take a lease of length `lease` as dead:
    /// L(1+ρ) + m.
    pub fn dead_after(&self, lease: Duration) -> Duration {
        if crate::planted!(WaitedOnlyL) {
            return lease;
        }
        lease + lease * CLOCK_RATE_ERROR_PPM / 1_000_000 + self.margin
    }

    /// K: how long before the deadline the deadman kills, so that it too has finished by then.
    pub fn deadman_head_start(&self) -> Duration {
        (self.fence / 4).max(DEADMAN_HEAD_START_MIN)
    }

    /// Every inequality that these timers break; empty when they may be used.
    ///
    /// `cgroup_kill`: whether every host has `cgroup.kill`; without it F must be 6 s or more.
    pub fn faults(&self, cgroup_kill: bool) -> Vec<TimingFault> {
        let slack = self.lease.saturating_sub(self.fence);
        let losing_leader = self.renewal + 2 * self.election_max + 5 * self.rtt + FSYNC_MAX;
        let missing_renewals = 3 * self.renewal + self.rtt;
        let mut faults = Vec::new();
        let mut check = |holds: bool, rule, numbers: String, remedy| {
            if !holds {
                faults.push(TimingFault { rule, numbers, remedy });
            }
        };
        check(
            losing_leader <= slack,
            "r + 2*election_max + 5*rtt + fsync <= L - F",
            format!("{losing_leader:?} > {slack:?}"),
            "raise lease, or lower election_max or renewal: losing the leader must fence nobody",
        );
        check(
            missing_renewals <= slack,
            "3r + rtt <= L - F",
            format!("{missing_renewals:?} > {slack:?}"),
            "raise lease or lower renewal: two lost renewals must fence nobody",
        );
        check(
            self.heartbeat * 3 / 4 > self.rtt + FSYNC_MAX,
            "0.75*heartbeat > rtt + fsync",
            format!("{:?} <= {:?}", self.heartbeat * 3 / 4, self.rtt + FSYNC_MAX),
            "raise heartbeat: it is also the limit of every append",
        );
        check(
            self.election_min < self.election_max,
            "election_min < election_max",
            format!("{:?} >= {:?}", self.election_min, self.election_max),
            "raise election_max: voters need disjoint windows between the two",
        );
        check(
            self.fence < self.lease,
            "F < L",
            format!("{:?} >= {:?}", self.fence, self.lease),
            "raise lease above fence",
        );
        check(
            cgroup_kill || self.fence >= ms(6000),
            "F >= 6 s where cgroup.kill is missing",
            format!("{:?} < 6s", self.fence),
            "raise fence to 6s: PostgreSQL's own immediate stop may take 5 s",
        );
        faults
    }
}
