//! What is seen of a resource and what is asked of it. Knows no kind of resource in particular.

use crate::{AgentId, EvidenceKind, Loss, RegionId, ResourceId, Token};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// The first three are moved in this order. A pooler goes with the data; the last is never moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Databases, caches, buckets.
    Data,
    /// Services that run on the data.
    Workload,
    /// What clients are pointed with.
    Traffic,
    /// What clients of the data share connections through. No plan waits for it beyond a limit, and
    /// nothing is fenced through it: it holds clients back while a switchover drains.
    Pooler,
    /// Only looked at: what a failover needs and nobody moves. It gets no goal and no order.
    Watched,
}

/// Who holds the processes of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Control {
    /// Agent and deadman hold the processes.
    Owned,
    /// Agent and deadman hold the manager that holds the processes, such as Patroni.
    Delegated,
    /// Neither: an API changes it.
    Api,
}

/// Whether a plan waits for evidence of this resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fencing {
    /// Nothing is promoted without evidence (I3).
    Required,
    /// Never holds a plan; named *unfenced since T* where it has no evidence.
    BestEffort,
}

/// One instance of a resource on one host, as the policy names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The resource that it is an instance of.
    pub resource: ResourceId,
    /// The data region it stands in.
    pub region: RegionId,
    /// The agent beside it.
    pub agent: AgentId,
    /// Kind of driver, such as `postgres`.
    pub kind: String,
    /// The layer of its resource.
    pub layer: Layer,
    /// Whether a plan waits for evidence of it.
    pub fencing: Fencing,
    /// Who holds its processes.
    pub control: Control,
    /// Every kind of evidence that its driver can ever give (design §6).
    #[serde(default)]
    pub evidence: BTreeSet<EvidenceKind>,
    /// Whether its kind can be told whom a commit waits for.
    #[serde(default)]
    pub waits: bool,
    /// Where clients and other instances reach it: `host:port`, or empty where that has no meaning.
    pub address: String,
    /// Settings of the driver, opaque here, such as `data_dir`.
    pub settings: BTreeMap<String, String>,
}

impl Instance {
    /// Whether it could become primary, so that I3 asks evidence for it.
    pub fn needs_evidence(&self) -> bool {
        self.layer == Layer::Data && self.fencing == Fencing::Required
    }

    /// The strongest word that its driver itself can give; none: it never says that it is fenced.
    pub(crate) fn own_word(&self) -> Option<EvidenceKind> {
        self.evidence.iter().rfind(|kind| **kind != EvidenceKind::LeaseExpired).copied()
    }

    /// Whether the end of its lease says anything: what no deadman holds outlives it.
    pub(crate) fn dies_with_lease(&self) -> bool {
        self.control != Control::Api && self.evidence.contains(&EvidenceKind::LeaseExpired)
    }
}

/// What an agent must make true of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Accepts writes; traffic names this region.
    Active,
    /// Follows the active region's primary, ready to be promoted.
    Standby,
    /// A source: stopped cleanly. A target: receiving stopped, all received is replayed.
    Drained,
    /// Accepts no write, and cannot be started but by its agent.
    Fenced,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Goal::Active => "active",
            Goal::Standby => "standby",
            Goal::Drained => "drained",
            Goal::Fenced => "fenced",
        })
    }
}

/// State of a resource as its driver sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Serves its role.
    Healthy,
    /// On its way up.
    Starting,
    /// Replaying after a crash.
    Recovering,
    /// Not running, though nobody asked it to stop.
    Dead,
    /// Stopped or fenced, as asked.
    Stopped,
    /// Could not be seen. Never counts as healthy.
    #[default]
    Unknown,
}

/// Role of a database instance, or *none* for other kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Accepts writes.
    Primary,
    /// Replays a primary's changes.
    Replica,
    /// Neither.
    #[default]
    None,
}

/// Place in a resource's stream of changes. Ordered by timeline, then offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// PostgreSQL timeline, Redis replication generation; 0 where the kind has none.
    pub timeline: u32,
    /// Bytes from the start of the stream (LSN, replication offset).
    pub offset: u64,
}

impl Position {
    /// Bytes of the stream that ends here which who has `reached` lacks; none where a change of
    /// timeline lies between.
    pub fn bytes_after(self, reached: Self) -> Option<u64> {
        if reached >= self {
            return Some(0);
        }
        (self.timeline == reached.timeline).then(|| self.offset - reached.offset)
    }
}

impl fmt::Display for Position {
    /// `timeline:high/low`, the offset as PostgreSQL writes an LSN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:X}/{:X}", self.timeline, self.offset >> 32, self.offset as u32)
    }
}

/// What a replica last heard of its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// End of the primary's stream as last heard.
    pub position: Position,
    /// How long ago it was heard, when the fact was observed.
    pub age: Duration,
    /// Whether the stream is up.
    pub streaming: bool,
}

/// What a traffic driver reads back from the authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficFact {
    /// Token in the TXT record; none when there is no such record.
    pub token: Option<Token>,
    /// Region that the records name; none when they name none of ours.
    pub names: Option<RegionId>,
    /// What differs from what the arbiter wrote, in words, empty when nothing does.
    pub drift: String,
}

/// In a Fact's detail: what is paid for of an instance, in bytes: the volume of a database, the
/// memory of a cache.
pub const SIZE_BYTES: &str = "size_bytes";

/// In a Fact's detail: the WAL of a primary does not reach its archive, and why in words.
pub const ARCHIVE_FAILS: &str = "archive";

/// In a Fact's detail: what begins so is a time and, after a blank, a checksum of the rows until
/// then: of one time it must be alike for every instance of a resource.
pub const CHECKSUM: &str = "checksum.";

/// In a Fact's detail: what begins so is what came of comparing an instance with the one that it
/// follows, in words, by the name that the user gave it; where they differ it begins with
/// [`DIFFERS`].
pub const COMPARED: &str = "compared.";

/// See [`COMPARED`].
pub const DIFFERS: &str = "differs: ";

/// In a Fact's detail: how long ago the local fence of an instance was last proven by a rehearsal,
/// in milliseconds.
pub const FENCE_PROVEN_MS: &str = "fence_proven_ms";
/// In a Fact's detail: why the last rehearsal of its fence failed.
pub const FENCE_FAULT: &str = "fence_fault";

/// In a Fact's detail: what begins so must be alike for every instance of a resource.
pub const PARITY: &str = "parity.";

/// In a Fact's detail: a weakness that nobody can mend here, in words. It is shown, and no fault.
pub const NOTE: &str = "note";

/// An observation of one instance. Changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// State of the resource.
    pub condition: Condition,
    /// Role of a database instance.
    pub role: Role,
    /// Whether it would accept a write now; of a pooler, whether it lets any client through.
    pub writable: bool,
    /// A primary's written end, or what a replica has received.
    pub position: Option<Position>,
    /// What a replica has replayed.
    pub replayed: Option<Position>,
    /// What a replica last heard of its primary.
    pub upstream: Option<Upstream>,
    /// Only a traffic driver sets it.
    pub traffic: Option<TrafficFact>,
    /// Identity of the data, such as PostgreSQL's system identifier; empty where there is none.
    pub data_id: String,
    /// Position at which the present timeline began; none where unknown or without meaning.
    pub fork: Option<Position>,
    /// The history that the position is on, where timelines do not tell, such as Redis's
    /// replication id; empty where they do, and where it is not known.
    #[serde(default)]
    pub history: String,
    /// Why the goal in force cannot be reached as things are (replay paused, a capacity below the
    /// primary's), each a sentence. Preflight refuses on them.
    pub obstacles: Vec<String>,
    /// What a failover would miss here, each a sentence with its remedy. They hold up no plan, and
    /// are shown before they matter.
    #[serde(default)]
    pub faults: Vec<String>,
    /// Standbys that a primary waits for before it acknowledges, by the name under which they
    /// replicate; none: not seen.
    #[serde(default)]
    pub waits_for: Option<BTreeSet<String>>,
    /// What its newest divergence cost, where it had one.
    #[serde(default)]
    pub lost: Option<Box<Loss>>,
    /// For people: anything else worth showing, such as `version`.
    pub detail: BTreeMap<String, String>,
}

impl Fact {
    /// Whether what stands here left the stream of `source`: positions on two histories say nothing
    /// about each other, whatever their numbers. // I11
    pub fn left(&self, source: &Fact) -> bool {
        let (Some(here), Some(there)) = (self.position, source.position) else { return false };
        let known = !self.history.is_empty() && !source.history.is_empty();
        if known && self.history != source.history {
            return true;
        }
        match (self.fork, source.fork) {
            _ if here.timeline > there.timeline => true,
            (Some(own), Some(other)) if here.timeline == there.timeline => own != other,
            (_, Some(fork)) if here.timeline < there.timeline => here.offset > fork.offset,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(timeline: u32, offset: u64, fork: Option<u64>) -> Fact {
        let fork = fork.map(|offset| Position { timeline, offset });
        Fact { position: Some(Position { timeline, offset }), fork, ..Fact::default() }
    }

    #[test]
    fn positions_of_two_histories_are_not_compared() {
        let source = at(3, 900, Some(500));
        assert!(!at(3, 800, Some(500)).left(&source));
        assert!(at(3, 9000, Some(400)).left(&source), "another promotion to the same number");
        assert!(at(4, 600, Some(550)).left(&source), "a number that the source never had");
        assert!(!at(2, 500, Some(100)).left(&source), "it may still follow");
        assert!(at(2, 501, Some(100)).left(&source), "it wrote past the fork");
        assert!(!at(3, 600, None).left(&source), "of its own fork nothing is known");
        assert!(!at(2, 500, None).left(&source) && at(2, 501, None).left(&source));
        assert!(!at(0, 7, None).left(&at(0, 9, None)), "a kind without timelines");
    }

    #[test]
    fn histories_without_a_number_are_compared_by_name() {
        let named = |history: &str, offset| Fact { history: history.into(), ..at(0, offset, None) };
        let source = named("d711", 900);
        assert!(!named("d711", 800).left(&source));
        assert!(named("a7e0", 800).left(&source), "whatever the numbers");
        assert!(!named("", 800).left(&source), "of a stopped one it may not be known");
    }
}
