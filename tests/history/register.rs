//! A group as seen where failovers open by themselves: its mode, epoch and active region. Knows
//! that the epoch rises one by one and that the region changes with it; never why.

use super::linear::Model;
use super::{History, Operation};

/// What is so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Register {
    /// `observe`, `manual`, `automatic`.
    pub mode: String,
    /// The epoch.
    pub epoch: u64,
    /// The active region.
    pub region: String,
}

/// What is done, with what was answered, and what happens by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `GetActiveRegion`.
    Region {
        /// Its epoch.
        epoch: u64,
        /// The active region.
        region: String,
    },
    /// `GetStatus`, confirmed.
    Status {
        /// The mode.
        mode: String,
        /// The epoch.
        epoch: u64,
        /// The active region.
        region: String,
    },
    /// The mode was set.
    SetMode(String),
    /// The epoch rises to this.
    Rise(u64),
}

impl Register {
    /// Active in `region` at `epoch`.
    pub fn new(mode: &str, epoch: u64, region: &str) -> Self {
        Self { mode: mode.to_owned(), epoch, region: region.to_owned() }
    }
}

impl Model for Register {
    type Action = Action;

    fn reads(action: &Action) -> bool {
        matches!(action, Action::Region { .. } | Action::Status { .. })
    }

    fn after(&self, action: &Action) -> Option<Self> {
        let mut next = self.clone();
        match action {
            Action::Region { epoch, region } => {
                ((epoch, region) == (&self.epoch, &self.region)).then_some(next)
            }
            Action::Status { mode, epoch, region } => {
                ((mode, epoch, region) == (&self.mode, &self.epoch, &self.region)).then_some(next)
            }
            Action::SetMode(mode) => {
                next.mode.clone_from(mode);
                Some(next)
            }
            Action::Rise(epoch) => {
                let here = super::group::REGIONS.into_iter().find(|name| *name != self.region)?;
                next.epoch += 1;
                next.region = here.to_owned();
                (next.epoch == *epoch).then_some(next)
            }
        }
    }
}

impl History<Action> {
    /// Every call, and every rise of the epoch that one of them saw: at any time.
    pub fn with_rises(&self, from: u64) -> Vec<Operation<Action>> {
        let mut all = self.operations();
        let seen = all.iter().map(|operation| match operation.action {
            Action::Region { epoch, .. } | Action::Status { epoch, .. } => epoch,
            Action::SetMode(_) | Action::Rise(_) => from,
        });
        let last = seen.max().unwrap_or(from);
        let rises = (from + 1..=last).map(|epoch| Operation {
            by: "plan".to_owned(),
            invoked: 0,
            returned: None,
            action: Action::Rise(epoch),
        });
        all.splice(0..0, rises);
        all
    }
}
