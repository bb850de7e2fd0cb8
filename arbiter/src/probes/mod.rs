//! Probes: what an arbiter sees of a region from where it stands. One file a kind.
//!
//! A probe knows one target. It never knows health, policy or what follows from what it saw. What
//! cannot be read is unknown, which never counts as healthy.

mod http;
pub mod service;
mod tcp;

use arbiter_core::ProbeSpec;
use std::time::Duration;

/// What one try of a probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether the target is up; none: it could not be tried at all.
    pub up: Option<bool>,
    /// In words.
    pub detail: String,
}

impl Seen {
    fn up(detail: impl Into<String>) -> Self {
        Self { up: Some(true), detail: detail.into() }
    }

    fn down(detail: impl Into<String>) -> Self {
        Self { up: Some(false), detail: detail.into() }
    }

    fn unknown(detail: impl Into<String>) -> Self {
        Self { up: None, detail: detail.into() }
    }
}

/// Longest limit of one try that is honoured.
const LIMIT_MAX: Duration = Duration::from_secs(30);

/// Try `probe` once, within its limit.
pub async fn run_once(probe: &ProbeSpec) -> Seen {
    let limit = probe.limit.min(LIMIT_MAX);
    let tried = async {
        match probe.kind.as_str() {
            "tcp" => tcp::look(&probe.target).await,
            "http" => http::look(&probe.target).await,
            other => Seen::unknown(format!("no probe of kind {other:?}")),
        }
    };
    match tokio::time::timeout(limit, tried).await {
        Ok(seen) => seen,
        Err(_) => Seen::down(format!("{}: no answer within {limit:?}", probe.target)),
    }
}
