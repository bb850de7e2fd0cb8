//! A failover group as clients see it: its mode, its active region, its open plan. Knows what calls
//! do to it; never how a plan is carried out.

use super::linear::Model;
use super::{History, Operation};

/// What is so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// `observe`, `manual`, `automatic`.
    pub mode: String,
    /// The active region.
    pub region: String,
    /// Its epoch.
    pub epoch: u64,
    /// The open plan.
    pub plan: Option<Open>,
}

/// An open plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Open {
    /// The number that the client which asked for it gave it.
    pub number: u64,
    /// The region to become active.
    pub target: String,
    /// The epoch has risen.
    pub advanced: bool,
}

/// What clients do, with what they were answered, and what goes on by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `GetActiveRegion`.
    Region {
        /// The active region.
        region: String,
        /// Its epoch.
        epoch: u64,
        /// A plan is open.
        open: bool,
    },
    /// `GetStatus`, confirmed.
    Status {
        /// The mode.
        mode: String,
        /// The active region.
        region: String,
        /// Its epoch.
        epoch: u64,
        /// A plan is open.
        open: bool,
    },
    /// The mode was set.
    SetMode(String),
    /// A switchover was opened under this number, to the region that is not active.
    Open(u64),
    /// The plan raised the epoch.
    Advance(u64),
    /// The plan ended.
    End(u64),
    /// The plan was aborted by command.
    Abort(u64),
}

/// The data regions.
pub const REGIONS: [&str; 2] = ["eu-west", "us-east"];

impl Group {
    /// Active for the first time.
    pub fn begun() -> Self {
        let (mode, region) = ("observe".to_owned(), REGIONS[0].to_owned());
        Self { mode, region, epoch: 1, plan: None }
    }

    fn other(&self) -> String {
        REGIONS.into_iter().find(|region| *region != self.region).unwrap_or_default().to_owned()
    }

    fn plan_is(&self, number: u64) -> Option<&Open> {
        self.plan.as_ref().filter(|plan| plan.number == number)
    }
}

impl Model for Group {
    type Action = Action;

    fn reads(action: &Action) -> bool {
        matches!(action, Action::Region { .. } | Action::Status { .. })
    }

    fn after(&self, action: &Action) -> Option<Self> {
        let shows = |region: &String, epoch: &u64, open: &bool| {
            (region, epoch, *open) == (&self.region, &self.epoch, self.plan.is_some())
        };
        let mut next = self.clone();
        match action {
            Action::Region { region, epoch, open } if shows(region, epoch, open) => {}
            Action::Status { mode, region, epoch, open }
                if mode == &self.mode && shows(region, epoch, open) => {}
            Action::Region { .. } | Action::Status { .. } => return None,
            Action::SetMode(mode) => {
                if mode == "observe" && *mode != self.mode && self.plan.is_some() {
                    return None;
                }
                next.mode.clone_from(mode);
            }
            Action::Open(number) => {
                if self.plan.is_some() || self.mode == "observe" {
                    return None;
                }
                let target = self.other();
                next.plan = Some(Open { number: *number, target, advanced: false });
            }
            Action::Advance(number) => {
                let plan = self.plan_is(*number).filter(|plan| !plan.advanced)?;
                next.region.clone_from(&plan.target);
                next.epoch += 1;
                next.plan = Some(Open { advanced: true, ..plan.clone() });
            }
            Action::End(number) => {
                self.plan_is(*number)?;
                next.plan = None;
            }
            Action::Abort(number) => {
                self.plan_is(*number).filter(|plan| !plan.advanced)?;
                next.plan = None;
            }
        }
        Some(next)
    }
}

impl History<Action> {
    /// A switchover that was asked for at `invoked` is open under `number`, or may be one day; from
    /// then on it goes its way.
    pub fn opens(&self, by: &str, invoked: u64, number: u64, known: bool) {
        if known {
            self.ends(by, invoked, Action::Open(number));
        } else {
            self.may_happen(by, invoked, Action::Open(number));
        }
        self.may_happen("plan", invoked, Action::Advance(number));
        self.may_happen("plan", invoked, Action::End(number));
    }
}

/// The calls that a group answered or may have done, as a list to print.
pub fn listed(history: &[Operation<Action>]) -> String {
    let mut text = String::new();
    for Operation { by, invoked, returned, action } in history {
        let end = returned.map_or_else(|| "never".to_owned(), |end| end.to_string());
        text.push_str(&format!("{invoked:>6} {end:>6} {by:<8} {action:?}\n"));
    }
    text
}
