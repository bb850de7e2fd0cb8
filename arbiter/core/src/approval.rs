//! Two persons for one action: what one asked for and another agreed to. Knows actions by name
//! only; does none.

use crate::WallMillis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A request, and an agreement that nobody used, end after this, by the clock of one leader.
pub const APPROVAL_LASTS: Duration = Duration::from_secs(60 * 60);
/// Requests that may be open at a time.
pub const APPROVALS_MAX: usize = 32;

/// What one person asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// What is to be done, with all that matters of it, such as `remove-node arbiter-3`. An
    /// agreement is to exactly this text.
    pub action: String,
    /// Who asked, and who alone may do it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, for people.
    pub asked: WallMillis,
    /// Who agreed; none: nobody yet.
    pub approved: Option<Agreement>,
}

/// That another person agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, for people.
    pub at: WallMillis,
}
