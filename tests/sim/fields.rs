//! What a fault names and how long it lasts, for files and for shrinking. Knows fields only.

use super::clock::Nanos;
use super::fault::Fault;

impl Fault {
    /// The highest host, arbiter and node that it names; 0 where it names none.
    pub fn names(&self) -> (usize, usize, usize) {
        match self {
            Fault::CutLink { a, b, .. } => (0, 0, *a.max(b)),
            Fault::KillAgent { host, .. }
            | Fault::FreezeAgent { host, .. }
            | Fault::ThawAgent { host }
            | Fault::KillDeadman { host }
            | Fault::KillBoth { host, .. }
            | Fault::FreezeDeadman { host, .. }
            | Fault::ThawDeadman { host }
            | Fault::UpgradeDeadman { host }
            | Fault::Crash { host, .. }
            | Fault::Boot { host }
            | Fault::CrashServer { host }
            | Fault::StartByHand { host }
            | Fault::Stick { host, .. }
            | Fault::ReplayDirective { host } => (*host, 0, 0),
            Fault::KillArbiter { arbiter, .. }
            | Fault::StartArbiter { arbiter, .. }
            | Fault::FreezeArbiter { arbiter, .. }
            | Fault::ThawArbiter { arbiter }
            | Fault::Elect { arbiter, .. }
            | Fault::Upgrade { arbiter, .. }
            | Fault::Members { arbiter, .. }
            | Fault::ElectAndCut { arbiter, .. } => (0, *arbiter, 0),
            _ => (0, 0, 0),
        }
    }

    /// How long it lasts, to change that; none: it is over at once.
    pub fn lasts(&mut self) -> Option<&mut Nanos> {
        match self {
            Fault::CutRegion { lasts, .. }
            | Fault::CutLink { lasts, .. }
            | Fault::Noise { lasts, .. }
            | Fault::KillAgent { lasts, .. }
            | Fault::FreezeAgent { lasts, .. }
            | Fault::KillBoth { lasts, .. }
            | Fault::FreezeDeadman { lasts, .. }
            | Fault::Crash { lasts, .. }
            | Fault::KillArbiter { lasts, .. }
            | Fault::FreezeArbiter { lasts, .. }
            | Fault::Stick { lasts, .. }
            | Fault::CutAndFreeze { lasts, .. }
            | Fault::Upgrade { lasts, .. }
            | Fault::ElectAndCut { lasts, .. } => Some(lasts),
            _ => None,
        }
    }

    /// Whether it is the end of another.
    pub(super) fn ends_one(&self) -> bool {
        matches!(
            self,
            Fault::Mend { .. }
                | Fault::Quiet
                | Fault::ThawAgent { .. }
                | Fault::ThawDeadman { .. }
                | Fault::ThawArbiter { .. }
                | Fault::StartArbiter { .. }
                | Fault::Boot { .. }
        )
    }
}
