//! The small parts that several messages share: tokens, positions, durations, enums.

use super::WireError;
use arbiter_core::{Condition, EvidenceKind, Goal, Layer, Position, Role, Token};
use arbiter_proto::v1 as pb;
use std::time::Duration;

pub(super) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn duration(ns: u64) -> Duration {
    Duration::from_nanos(ns)
}

pub(super) fn token(token: Token) -> pb::FencingToken {
    pb::FencingToken { epoch: token.epoch.0, revision: token.revision.0 }
}

pub(super) fn token_back(token: pb::FencingToken) -> Token {
    Token::new(token.epoch, token.revision)
}

pub(super) fn position(position: Position) -> pb::StreamPosition {
    pb::StreamPosition { timeline: position.timeline, offset: position.offset }
}

pub(super) fn position_back(position: pb::StreamPosition) -> Position {
    Position { timeline: position.timeline, offset: position.offset }
}

/// The enum behind a number on the wire; a number of a later version is an error, never a guess.
fn known<E: TryFrom<i32>>(field: &'static str, number: i32) -> Result<E, WireError> {
    E::try_from(number).map_err(|_| WireError::Invalid { field, found: number.to_string() })
}

pub(super) fn evidence(kind: Option<EvidenceKind>) -> i32 {
    let kind = match kind {
        None => pb::EvidenceKind::Unspecified,
        Some(EvidenceKind::Attested) => pb::EvidenceKind::Attested,
        Some(EvidenceKind::ProviderAsserted) => pb::EvidenceKind::ProviderAsserted,
        Some(EvidenceKind::LeaseExpired) => pb::EvidenceKind::LeaseExpired,
        Some(EvidenceKind::PowerOff) => pb::EvidenceKind::PowerOff,
        Some(EvidenceKind::Confirmed) => pb::EvidenceKind::Confirmed,
    };
    kind as i32
}

pub(super) fn evidence_back(number: i32) -> Result<Option<EvidenceKind>, WireError> {
    Ok(match known("evidence", number)? {
        pb::EvidenceKind::Unspecified => None,
        pb::EvidenceKind::Attested => Some(EvidenceKind::Attested),
        pb::EvidenceKind::ProviderAsserted => Some(EvidenceKind::ProviderAsserted),
        pb::EvidenceKind::LeaseExpired => Some(EvidenceKind::LeaseExpired),
        pb::EvidenceKind::PowerOff => Some(EvidenceKind::PowerOff),
        pb::EvidenceKind::Confirmed => Some(EvidenceKind::Confirmed),
    })
}

pub(super) fn goal(goal: Goal) -> i32 {
    let goal = match goal {
        Goal::Active => pb::Goal::Active,
        Goal::Standby => pb::Goal::Standby,
        Goal::Drained => pb::Goal::Drained,
        Goal::Fenced => pb::Goal::Fenced,
    };
    goal as i32
}

pub(super) fn goal_back(number: i32) -> Result<Goal, WireError> {
    match known("goal", number)? {
        pb::Goal::Unspecified => Err(WireError::Missing("goal")),
        pb::Goal::Active => Ok(Goal::Active),
        pb::Goal::Standby => Ok(Goal::Standby),
        pb::Goal::Drained => Ok(Goal::Drained),
        pb::Goal::Fenced => Ok(Goal::Fenced),
    }
}

pub(super) fn layer(layer: Layer) -> i32 {
    let layer = match layer {
        Layer::Data => pb::Layer::Data,
        Layer::Workload => pb::Layer::Workload,
        Layer::Traffic => pb::Layer::Traffic,
        Layer::Pooler => pb::Layer::Pooler,
        Layer::Watched => pb::Layer::Watched,
    };
    layer as i32
}

pub(super) fn layer_back(number: i32) -> Result<Layer, WireError> {
    match known("layer", number)? {
        pb::Layer::Unspecified => Err(WireError::Missing("layer")),
        pb::Layer::Data => Ok(Layer::Data),
        pb::Layer::Workload => Ok(Layer::Workload),
        pb::Layer::Traffic => Ok(Layer::Traffic),
        pb::Layer::Pooler => Ok(Layer::Pooler),
        pb::Layer::Watched => Ok(Layer::Watched),
    }
}

pub(super) fn condition(condition: Condition) -> i32 {
    let condition = match condition {
        Condition::Healthy => pb::Condition::Healthy,
        Condition::Starting => pb::Condition::Starting,
        Condition::Recovering => pb::Condition::Recovering,
        Condition::Dead => pb::Condition::Dead,
        Condition::Stopped => pb::Condition::Stopped,
        Condition::Unknown => pb::Condition::Unknown,
    };
    condition as i32
}

pub(super) fn condition_back(number: i32) -> Result<Condition, WireError> {
    Ok(match known("condition", number)? {
        pb::Condition::Unknown => Condition::Unknown,
        pb::Condition::Healthy => Condition::Healthy,
        pb::Condition::Starting => Condition::Starting,
        pb::Condition::Recovering => Condition::Recovering,
        pb::Condition::Dead => Condition::Dead,
        pb::Condition::Stopped => Condition::Stopped,
    })
}

pub(super) fn role(role: Role) -> i32 {
    let role = match role {
        Role::Primary => pb::Role::Primary,
        Role::Replica => pb::Role::Replica,
        Role::None => pb::Role::None,
    };
    role as i32
}

pub(super) fn role_back(number: i32) -> Result<Role, WireError> {
    Ok(match known("role", number)? {
        pb::Role::None => Role::None,
        pb::Role::Primary => Role::Primary,
        pb::Role::Replica => Role::Replica,
    })
}
