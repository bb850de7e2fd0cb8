//! Bugs planted on purpose, so that the simulator can show that it would find them. Compiled in
//! only with the feature `plant`; without it [`planted!`] is the constant `false`.

/// A bug that a test may plant.
#[cfg(feature = "plant")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named by what is wrong")]
pub enum Plant {
    FenceSkipped,
    LeaseFromReceipt,
    OldAnswersRemembered,
    OlderRevisionObeyed,
    NoQuorumRound,
    WaitedOnlyL,
    EvidenceOfAbortedPlan,
    LoweredTooEarly,
    AnswerRecordedAfterCheck,
    DeadmanKillsOnce,
    OneDeadlineForAll,
    ArmedBeforeDeadline,
    DisarmedDuringPlan,
    TokenLostAtRestart,
    NotFencedAtBoot,
    StartFilesKept,
    VersionRaisedTooEarly,
}

#[cfg(feature = "plant")]
impl Plant {
    /// Every bug.
    pub const ALL: [Plant; 17] = [
        Plant::FenceSkipped,
        Plant::LeaseFromReceipt,
        Plant::OldAnswersRemembered,
        Plant::OlderRevisionObeyed,
        Plant::NoQuorumRound,
        Plant::WaitedOnlyL,
        Plant::EvidenceOfAbortedPlan,
        Plant::LoweredTooEarly,
        Plant::AnswerRecordedAfterCheck,
        Plant::DeadmanKillsOnce,
        Plant::OneDeadlineForAll,
        Plant::ArmedBeforeDeadline,
        Plant::DisarmedDuringPlan,
        Plant::TokenLostAtRestart,
        Plant::NotFencedAtBoot,
        Plant::StartFilesKept,
        Plant::VersionRaisedTooEarly,
    ];
}

#[cfg(feature = "plant")]
mod switch {
    use super::Plant;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Plant>> = const { Cell::new(None) };
        static SUPPORTS: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// This thread plays a build that supports `version`, or this one.
    pub fn support(version: Option<u32>) {
        SUPPORTS.with(|cell| cell.set(version));
    }

    /// The newest `State.version` of the build that this thread plays.
    pub fn supported() -> u32 {
        SUPPORTS.with(|cell| cell.get()).unwrap_or(crate::STATE_VERSION_MAX)
    }

    /// Plant `bug` in this thread, or none.
    pub fn plant(bug: Option<Plant>) {
        PLANTED.with(|cell| cell.set(bug));
    }

    /// Whether `bug` is planted in this thread.
    pub fn is_planted(bug: Plant) -> bool {
        PLANTED.with(|cell| cell.get() == Some(bug))
    }
}

#[cfg(feature = "plant")]
pub use switch::{is_planted, plant, support, supported};

/// The newest `State.version` of this build; in the simulator, of the one that it plays.
#[cfg(not(feature = "plant"))]
pub(crate) const fn supported() -> u32 {
    crate::STATE_VERSION_MAX
}

/// Whether a bug is planted; the constant `false` in every build but the simulator's.
#[cfg(feature = "plant")]
#[macro_export]
#[doc(hidden)]
macro_rules! planted {
    ($bug:ident) => {
        $crate::plant::is_planted($crate::plant::Plant::$bug)
    };
}

/// Whether a bug is planted; the constant `false` in every build but the simulator's.
#[cfg(not(feature = "plant"))]
#[macro_export]
#[doc(hidden)]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}
