//! What a run of the model looks at: which faults it has, how many of each, and the bug that may
//! be planted. Within its numbers a run is exhaustive.

use arbiter_core::plant::Plant;

/// How often each thing may happen on one path; every order and every moment is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Left {
    /// Steps of time, each to the next moment that matters (see `World::moments`).
    pub waits: u8,
    /// Reports of agents that are played message by message.
    pub reports: u8,
    /// Rounds of Report and answer with an agent that is played as a whole.
    pub exchanges: u8,
    /// Another arbiter becomes leader.
    pub elections: u8,
    /// Failovers that an operator opens.
    pub opens: u8,
    /// Plans that an operator undoes.
    pub aborts: u8,
    /// Plans past their point of no return that an operator supersedes.
    pub supersedes: u8,
    /// Orders to disarm.
    pub disarms: u8,
    /// Agents that die and start again.
    pub restarts: u8,
    /// Hosts whose power fails, and comes back.
    pub reboots: u8,
    /// Deadmen that are killed.
    pub killed: u8,
}

/// A bug of the core, or of what the model stands for outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Compiled into the core (`arbiter/core/src/plant.rs`).
    Core(Plant),
    /// The deadman never wakes: nothing kills when the agent hangs.
    DeadmanSleeps,
    /// A clock slower than ρ allows.
    ClockBeyondRho,
    /// The zone takes a write at any token.
    ZoneTakesAll,
    /// The agent's disk loses the token that was stored last.
    TokenNotKept,
}

/// The rate of the source's clock against the arbiters', in millionths.
pub type Rate = u64;

/// Slower by ρ: 1/1.01, rounded towards what is allowed.
pub const SLOW: Rate = 990_100;
/// As fast as the arbiters'.
pub const EVEN: Rate = 1_000_000;
/// Slower than ρ allows.
pub const BEYOND: Rate = 970_000;

/// One run.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Budgets of a short run and of a full one.
    pub short: Left,
    /// See `short`.
    pub full: Left,
    /// Whether the group has a zone.
    pub traffic: bool,
    /// Agents that are played message by message: each may be slow, lost, doubled or overtaken.
    pub fine: [bool; 2],
    /// Quorum rounds take time, and other things happen meanwhile.
    pub rounds: bool,
    /// Steps of a path in a short run at most.
    pub depth: usize,
    /// Rates of the first region's clock, each an initial state; a short run has the first.
    pub rates: &'static [Rate],
    /// What must be seen to happen.
    pub sees: &'static [&'static str],
}

const BASE: Left = Left {
    waits: 0,
    reports: 0,
    exchanges: 0,
    elections: 0,
    opens: 0,
    aborts: 0,
    supersedes: 0,
    disarms: 0,
    restarts: 0,
    reboots: 0,
    killed: 0,
};

/// Every scope.
pub const SCOPES: &[Scope] = &[
    Scope {
        name: "lease",
        about: "one failover; Reports and answers late, lost, doubled, overtaken; the agent hangs",
        short: Left { waits: 2, reports: 1, exchanges: 2, opens: 1, ..BASE },
        full: Left { waits: 4, reports: 3, exchanges: 3, opens: 1, ..BASE },
        traffic: false,
        fine: [true, false],
        rounds: true,
        depth: 9,
        rates: &[SLOW, EVEN],
        sees: &["a failover completes", "a lease runs out", "a source confirms"],
    },
    Scope {
        name: "election",
        about: "leaders are deposed while they answer, and lead again",
        short: Left { waits: 2, reports: 1, exchanges: 2, elections: 2, opens: 1, ..BASE },
        full: Left { waits: 4, reports: 2, exchanges: 3, elections: 3, opens: 1, ..BASE },
        traffic: false,
        fine: [true, false],
        rounds: true,
        depth: 8,
        rates: &[SLOW],
        sees: &["a failover completes", "a lease runs out"],
    },
    Scope {
        name: "abort",
        about: "plans are undone, the source is resumed, and another is opened",
        short: Left { waits: 2, reports: 2, exchanges: 2, opens: 2, aborts: 1, ..BASE },
        full: Left { waits: 3, reports: 3, exchanges: 3, opens: 2, aborts: 2, ..BASE },
        traffic: false,
        fine: [true, false],
        rounds: false,
        depth: 9,
        rates: &[SLOW],
        sees: &["a failover completes", "a source confirms", "an abort resumes"],
    },
    Scope {
        name: "restart",
        about: "agents, hosts and deadmen die under a plan",
        short: Left {
            waits: 1,
            reports: 1,
            exchanges: 2,
            opens: 1,
            restarts: 1,
            reboots: 1,
            ..BASE
        },
        full: Left {
            waits: 4,
            reports: 2,
            exchanges: 3,
            opens: 1,
            restarts: 1,
            reboots: 1,
            killed: 1,
            ..BASE
        },
        traffic: false,
        fine: [true, false],
        rounds: false,
        depth: 8,
        rates: &[SLOW],
        sees: &["a failover completes", "a lease runs out"],
    },
    Scope {
        name: "back",
        about: "the target is lost after the point of no return: superseded, or failed back",
        short: Left { waits: 2, reports: 1, exchanges: 5, opens: 1, supersedes: 1, ..BASE },
        full: Left { waits: 3, reports: 2, exchanges: 7, opens: 2, supersedes: 1, ..BASE },
        traffic: true,
        fine: [true, false],
        rounds: false,
        depth: 9,
        rates: &[EVEN],
        sees: &["a plan is superseded", "traffic moves"],
    },
    Scope {
        name: "traffic",
        about: "an agent that was away writes the zone with what it was told before",
        short: Left { waits: 2, reports: 1, exchanges: 3, opens: 1, restarts: 1, ..BASE },
        full: Left { waits: 3, reports: 3, exchanges: 4, opens: 1, restarts: 1, ..BASE },
        traffic: true,
        fine: [true, false],
        rounds: false,
        depth: 9,
        rates: &[EVEN],
        sees: &["traffic moves"],
    },
    Scope {
        name: "disarm",
        about: "an operator disarms whenever it is let",
        short: Left { waits: 2, reports: 2, exchanges: 2, opens: 1, disarms: 1, ..BASE },
        full: Left { waits: 3, reports: 3, exchanges: 3, opens: 1, disarms: 1, ..BASE },
        traffic: false,
        fine: [true, false],
        rounds: false,
        depth: 8,
        rates: &[SLOW],
        sees: &["a failover completes", "a group is unarmed"],
    },
];

/// A scope by name.
pub fn scope(name: &str) -> Option<&'static Scope> {
    SCOPES.iter().find(|scope| scope.name == name)
}
