//! What was lost, as it is read on the side that lost it. Knows what is told; counts nothing.

use crate::{Epoch, Position, WallMillis};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A transaction that was committed where nobody has it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostTransaction {
    /// Its id, as the server numbers them.
    pub id: u64,
    /// Where its commit stands in the log, as the server writes it.
    pub lsn: String,
    /// When it was committed, as the server writes it.
    pub at: String,
}

impl fmt::Display for LostTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}", self.id, self.lsn, self.at)
    }
}

/// An object that was written to a bucket after another region had become active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateObject {
    /// Its key.
    pub key: String,
    /// When it was written, by the provider's clock.
    pub at: WallMillis,
}

/// What was written to a bucket after another region had become active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateObjects {
    /// The epoch at which the other one was active.
    pub epoch: Epoch,
    /// Since when it was, by its own wall clock.
    pub since: WallMillis,
    /// They, oldest first.
    pub listed: Vec<LateObject>,
    /// Objects that were changed since and not looked at: by a write or by replication.
    pub unknown: u64,
    /// All objects were listed; else there may be more.
    pub whole: bool,
    /// How to read one of them: a command with `KEY` in it.
    pub read: String,
}

/// What a failover cost, exactly: found on the old side before anything there was changed. That a
/// transaction is listed does not say that its client was told of the commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Where the old side left the line that is now everybody's.
    pub from: Position,
    /// Where the old side ended.
    pub end: Position,
    /// Transactions, all of them; none: its log could not be read.
    pub count: Option<u64>,
    /// When the first of them was committed; empty where there is none.
    pub first: String,
    /// When the last of them was.
    pub last: String,
    /// They, one by one, as far as they are listed here.
    pub listed: Vec<LostTransaction>,
    /// Where everything that was kept lies, on the host of the instance.
    pub kept: String,
    /// When it was found.
    pub found: WallMillis,
    /// Of a bucket: what was written there too late. Of the rest `count` and `kept` count then.
    #[serde(default)]
    pub late: Option<Box<LateObjects>>,
}

impl Loss {
    /// It cannot be told: what brought the old side back tells nothing of what that gave up. The
    /// line of the others begins at `from`, and it had reached `end` at least, as far as is known.
    pub fn untold(from: Position, end: Position, found: WallMillis) -> Self {
        Self { from, count: None, ..Self::nothing(end, found) }
    }

    /// The old side ended at `end`, and all of it is everybody's.
    pub fn nothing(end: Position, found: WallMillis) -> Self {
        Self {
            from: end,
            end,
            count: Some(0),
            first: String::new(),
            last: String::new(),
            listed: Vec::new(),
            kept: String::new(),
            found,
            late: None,
        }
    }
}
