//! What can be due in a simulated world. Data only.

use super::clock::Nanos;
use super::dns::{Record, Swap};
use super::fault::Fault;
use super::host::Key;
use super::wish::Wish;
use arbiter_core::agent::{AgentEvent, DeadmanEvent};
use arbiter_core::leader::{Confirmed, Ended, RoundId, StreamId, Subject};
use arbiter_core::{
    AgentId, CommitWait, Directive, Goal, GroupId, InstanceId, Instant, Report, Terms, Token,
};

/// A driver's work on one instance.
#[derive(Clone, Debug)]
pub struct Work {
    /// The host.
    pub host: usize,
    /// Process of the agent that runs it.
    pub process: u64,
    /// Group of the instance.
    pub group: GroupId,
    /// The instance.
    pub instance: InstanceId,
    /// As the agent numbered it.
    pub attempt: u64,
    /// What is to be made true.
    pub goal: Goal,
    /// Token of the order.
    pub token: Token,
    /// Particulars.
    pub terms: Terms,
    /// For traffic: the request that was sent.
    pub swap: Option<Swap>,
}

/// What an arbiter saw of one group.
#[derive(Clone, Debug)]
pub struct Looked {
    /// The group.
    pub group: GroupId,
    /// Whether each region's servers answer.
    pub up: [bool; 2],
    /// What the authority says.
    pub record: Option<Record>,
    /// The region that the record names answers.
    pub reached: bool,
}

/// Whom the end of a proposal is told to.
#[derive(Clone, Debug)]
pub enum Carries {
    /// An operator asked.
    Request,
    /// The leader decided it.
    Decision(Subject),
}

/// What can be due.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "fields are named by their types")]
pub enum Due {
    /// A host's agent process begins.
    AgentStart { host: usize },
    /// A wake-up of an agent that it asked for.
    AgentWake { host: usize, process: u64, number: u64 },
    /// An event for one process of an agent.
    ToAgent { host: usize, process: u64, event: AgentEvent },
    /// A Directive reaches a host, whatever process is there.
    DirectiveIn { host: usize, from: usize, directive: Directive },
    /// A Report reaches an arbiter that relays or leads.
    ReportIn { via: usize, at: usize, stream: StreamId, report: Report },
    /// A Directive reaches the arbiter that relays it.
    Relayed { host: usize, via: usize, directive: Directive },
    /// A leader's quorum round is over.
    RoundEnded { leader: usize, round: RoundId, confirmed: Option<Confirmed> },
    /// The agent's end of a stream is gone, and its leader learns it.
    Closed { via: usize, at: usize, stream: StreamId, agent: AgentId },
    /// A leader ended a stream, and its host learns it.
    StreamEnds { host: usize, stream: StreamId },
    /// A leader's tick.
    LeaderTick { leader: usize, term: u64 },
    /// Heartbeats and elections.
    RaftTick,
    /// An entry is on the disks of a majority.
    Commit { number: u64, carries: Carries },
    /// A leader has applied up to here, and knows what became of an entry it proposed.
    Applied { voter: usize, term: u64, index: u64, carries: Carries, ended: Ended },
    /// A leader knows what became of a proposal that did not get as far.
    Carried { leader: usize, term: u64, carries: Carries, ended: Ended },
    /// An arbiter looks.
    Vantage { from: usize },
    /// What it saw reaches the leader.
    Seen { from: usize, leader: usize, looked: Vec<Looked> },
    /// Something reaches a deadman.
    ToDeadman { host: usize, life: u64, event: DeadmanEvent },
    /// A wake-up of a deadman.
    DeadmanWake { host: usize, life: u64, number: u64 },
    /// A new deadman is started by the agent.
    DeadmanStart { host: usize },
    /// The agent looks whether its deadman is well.
    DeadmanCheck { host: usize, process: u64 },
    /// A killed cgroup is empty.
    Killed { host: usize, group: GroupId },
    /// Something in a killed cgroup forked late.
    LateFork { host: usize, group: GroupId },
    /// A driver's work takes effect.
    WorkActs(Work),
    /// A driver's work ends.
    WorkEnds(Work),
    /// A driver that did not answer is given up.
    WorkHung(Work),
    /// A server is told whom its commits wait for.
    CommitWait { host: usize, process: u64, asked: (Key, u64, CommitWait) },
    /// A driver looks.
    Look { host: usize, process: u64, group: GroupId, instance: InstanceId },
    /// A driver verifies, or is given up.
    Verify {
        host: usize,
        process: u64,
        group: GroupId,
        instance: InstanceId,
        token: Token,
        hung: bool,
    },
    /// A token reaches the disk.
    Store { host: usize, process: u64, group: GroupId, instance: InstanceId, token: Token },
    /// A request reaches the DNS server.
    DnsIn(Swap),
    /// Streams of changes flow.
    Replicate,
    /// A fault, or its end.
    Fault(Fault),
    /// A client asks what is so.
    Face,
    /// The quorum round of that is over, at this index.
    FaceAnswers { leader: usize, term: u64, asked: Nanos, confirmed: Option<u64> },
    /// Operators look, and do what they do.
    Operator,
    /// An operator wants something of a group.
    Wish { group: GroupId, wish: Wish },
    /// The end of all faults.
    Heal,
}

/// When an instant of a host's clock is meant.
pub type Local = Instant;
