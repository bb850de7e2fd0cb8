//! Names and numbers that identify things. Knows no behaviour but order and display.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize,
            Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

name!(
    /// One arbiter cluster; carried by every message, so that two clusters never mix.
    ClusterId
);
name!(
    /// A failure domain.
    RegionId
);
name!(
    /// A failover group: the resources that move together.
    GroupId
);
name!(
    /// An arbiter (voter) by its configured name.
    ArbiterId
);
name!(
    /// An agent by its configured name. The identity outlives restarts; see [`Incarnation`].
    AgentId
);
name!(
    /// A resource of a group, such as `orders-db`; it has one or more instances in each region.
    ResourceId
);
name!(
    /// One instance of a resource on one host, unique within its group.
    InstanceId
);
name!(
    /// Chosen by a client, so that a mutating call asked twice is done once.
    RequestId
);
number!(
    /// One life of an agent: a state directory on one boot of one host. Random, never reused.
    Incarnation
);
number!(
    /// Per group; one higher each time `active` changes. 0 until the group is first activated.
    Epoch
);
number!(
    /// The log index of the entry that last changed a goal.
    Revision
);
number!(
    /// The log index of the entry that opened the plan.
    PlanId
);

/// Position in the Raft log; revisions and the term of evidence come from it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogId {
    /// Raft term of the leader that proposed the entry.
    pub term: u64,
    /// Index of the entry, from 0.
    pub index: u64,
}

/// The fencing token (Kleppmann, Designing Data-Intensive Applications, ch. 8): a receiver refuses
/// a token lower than the highest it has seen. Ordered by epoch, then revision.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Token {
    /// Epoch of the group when the goal was set.
    pub epoch: Epoch,
    /// Revision of the goal.
    pub revision: Revision,
}

impl Token {
    /// A token of these two numbers.
    pub const fn new(epoch: u64, revision: u64) -> Self {
        Self { epoch: Epoch(epoch), revision: Revision(revision) }
    }
}

impl FromStr for Token {
    type Err = ();

    /// Reads only what [`Display`](fmt::Display) writes, so that one token has one text.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, revision) = text.split_once('.').ok_or(())?;
        let token = Token::new(epoch.parse().map_err(drop)?, revision.parse().map_err(drop)?);
        if token.to_string() == text { Ok(token) } else { Err(()) }
    }
}

impl fmt::Display for Token {
    /// `epoch.revision`, as in the TXT record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.revision)
    }
}
