//! What an operator's own programs do: drive a resource, and cut a region off from outside.
//!
//! - `command`, `command-workload`: a script changes what nobody here holds (`plain.rs`).
//! - `delegated`: a script speaks with a manager, such as Patroni, whose processes agent and
//!   deadman hold (`delegated/`).
//! - external fences (`fence.rs`).
//!
//! Knows how a program is run and what it may say: `run.rs`, `script.rs`, `reply.rs`. Nothing that
//! a program says proves a fence: a word is capped, and `confirmed` comes of processes alone.

mod delegated;
mod fence;
mod plain;
pub(crate) mod reply;
mod run;
mod script;

#[cfg(test)]
mod tests;

pub use delegated::KIND as DELEGATED;
pub use fence::{CHECK_EVERY, CHECKS_MAX, ExternalFence, external_fence};
pub use plain::{DATA, WORKLOAD};

use arbiter_core::EvidenceKind;

/// What a word counts as: never more than `max`, and less than what an API says is none.
fn cap(claimed: Option<EvidenceKind>, max: Option<EvidenceKind>) -> Option<EvidenceKind> {
    let counts = claimed.zip(max).map(|(claimed, max)| claimed.min(max));
    counts.filter(|kind| *kind >= EvidenceKind::ProviderAsserted)
}

fn evidence_words(kind: Option<EvidenceKind>) -> &'static str {
    kind.map_or("none", EvidenceKind::as_str)
}
