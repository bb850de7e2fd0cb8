//! Whom a primary's commits wait for before a client is told of them. Knows names and sets; never
//! how a server is told, nor what a region is.

use crate::{InstanceId, ResourceId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Whom a primary's commits wait for. Standbys by the name under which they replicate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommitWait {
    /// As its own settings say (`async`).
    #[default]
    Configured,
    /// Nobody: `strict` without a synchronous standby, where policy accepts writes then.
    Alone,
    /// Somebody who never comes: the same, where policy blocks writes then.
    Blocked,
    /// Each of these has it first (`strict`).
    Standbys(BTreeSet<String>),
    /// `stall`: cut off, so one of these has it first, whoever comes back to be one.
    Isolated(BTreeSet<String>),
}

/// What an order says of the commits of a primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commits {
    /// Whom they wait for.
    pub wait: CommitWait,
    /// Whom they wait for once renewals stay away; none: nothing changes then.
    pub isolated: Option<BTreeSet<String>>,
}

/// The synchronous set of one resource (I11). It grows at the server first and is counted on after,
/// and shrinks here first and at the server after, so that what is counted is never more than what
/// the server waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synchronous {
    /// Standbys that the primary is told to wait for.
    pub named: BTreeSet<InstanceId>,
    /// Those that have every acknowledged write: the primary was seen to wait for them.
    pub counted: BTreeSet<InstanceId>,
    /// Log index of the entry that last changed `named`.
    pub since: u64,
}

/// The synchronous sets of a group, by resource; one that is not there is empty.
pub type SynchronousSets = BTreeMap<ResourceId, Synchronous>;
