//! The only place where proto meets core. Knows both vocabularies; never decides, never does I/O.
//!
//! Core to proto is total. Proto to core is checked: what a peer sends is input.

mod audit;
mod commits;
mod directive;
mod drill;
mod parts;
mod report;
mod seen;
mod show;
#[cfg(test)]
mod tests;

pub use audit::{approval_to_proto, audit_from_proto, audit_to_proto};
pub use directive::{directive_from_proto, directive_to_proto};
pub use drill::{drill_kind_from_word, drill_to_proto};
pub use report::{loss_to_proto, report_from_proto, report_to_proto};
pub use seen::{probe_to_proto, service_from_proto, service_to_proto, signal_to_proto};
pub use show::{
    event_to_proto, evidence_to_proto, plan_phase, plan_to_proto, reason_to_proto, rows_to_proto,
    spelled,
};

use arbiter_core::{EvidenceKind, Goal, Layer, Mode, Token};
use thiserror::Error;

/// A message that cannot be what it claims to be. The peer must mend it; asking again is no use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field holds what its type allows and its meaning does not.
    #[error("{field}: {found} is not one of its values")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it holds.
        found: String,
    },
}

/// A mode by its word, as operators write it.
pub fn mode_from_word(word: &str) -> Option<Mode> {
    match word {
        "observe" => Some(Mode::Observe),
        "manual" => Some(Mode::Manual),
        "automatic" => Some(Mode::Automatic),
        _ => None,
    }
}

/// The word of a mode.
pub fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Manual => "manual",
        Mode::Automatic => "automatic",
    }
}

/// The word of a layer.
pub fn layer_word(layer: Layer) -> &'static str {
    match layer {
        Layer::Data => "data",
        Layer::Workload => "workload",
        Layer::Traffic => "traffic",
        Layer::Pooler => "pooler",
        Layer::Watched => "watched",
    }
}

/// A token written `epoch.revision`, as in the TXT record and on the command line.
pub fn token_from_text(text: &str) -> Option<Token> {
    let (epoch, revision) = text.split_once('.')?;
    Some(Token::new(epoch.parse().ok()?, revision.parse().ok()?))
}

/// The word of a goal.
pub fn goal_word(goal: Goal) -> String {
    goal.to_string()
}

/// The word of a kind of evidence.
pub fn evidence_word(kind: EvidenceKind) -> &'static str {
    kind.as_str()
}
