//! Probes: what an arbiter sees of a region from where it stands. One file a kind.
//!
//! A probe knows one target. It never knows health, policy or what follows from what it saw. What
//! cannot be read is unknown, which never counts as healthy.

mod http;
mod lookout;
pub mod service;
mod tcp;

pub use lookout::{Lookout, Round};

use arbiter_core::ProbeSpec;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
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
///
/// A name that is not resolved tells of the resolver at this vantage point, not of the region.
pub async fn run_once(probe: &ProbeSpec) -> Seen {
    let limit = probe.limit.min(LIMIT_MAX);
    let resolved = AtomicBool::new(false);
    let tried = async {
        match probe.kind.as_str() {
            "tcp" => tcp::look(&probe.target, &resolved).await,
            "http" => http::look(&probe.target, &resolved).await,
            other => Seen::unknown(format!("no probe of kind {other:?}")),
        }
    };
    match tokio::time::timeout(limit, tried).await {
        Ok(seen) => seen,
        Err(_) if resolved.load(Ordering::Relaxed) => {
            Seen::down(format!("{}: no answer within {limit:?}", http::shown(&probe.target)))
        }
        Err(_) => unresolved(&probe.target, &format!("no answer within {limit:?}")),
    }
}

fn unresolved(target: &str, why: &str) -> Seen {
    Seen::unknown(format!("{}: not resolved from here: {why}", http::shown(target)))
}

/// Addresses of `host`; then `resolved` says so.
async fn resolve(
    target: &str,
    host: (&str, u16),
    resolved: &AtomicBool,
) -> Result<Vec<SocketAddr>, Seen> {
    let found = match tokio::net::lookup_host(host).await {
        Ok(found) => found.collect::<Vec<_>>(),
        Err(error) => return Err(unresolved(target, &error.to_string())),
    };
    if found.is_empty() {
        return Err(unresolved(target, "it has no address"));
    }
    resolved.store(true, Ordering::Relaxed);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that ends so has no address anywhere (RFC 6761).
    const NOWHERE: &str = "db.invalid";

    #[tokio::test]
    async fn a_name_that_is_not_resolved_from_here_tells_nothing_of_the_region() {
        crate::tls::install();
        for (kind, target) in
            [("tcp", format!("{NOWHERE}:5432")), ("http", format!("http://{NOWHERE}/healthz"))]
        {
            let limit = Duration::from_secs(30);
            let region = "eu-west".into();
            let seen = run_once(&ProbeSpec { region, kind: kind.into(), target, limit }).await;
            assert_eq!(seen.up, None, "{}", seen.detail);
            assert!(seen.detail.contains("not resolved from here"), "{}", seen.detail);
        }
    }

    #[tokio::test]
    async fn what_is_seen_never_shows_what_stands_before_the_at_sign() {
        crate::tls::install();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for rest in [format!("{closed}/healthz"), format!("{NOWHERE}/"), ":no port".to_owned()] {
            let limit = Duration::from_secs(5);
            let target = format!("http://probe:hunter2@{rest}");
            let (region, kind) = ("eu-west".into(), "http".into());
            let seen = run_once(&ProbeSpec { region, kind, target, limit }).await;
            assert_ne!(seen.up, Some(true));
            assert!(!seen.detail.contains("hunter2"), "{}", seen.detail);
            assert!(!seen.detail.contains("probe:"), "{}", seen.detail);
        }
    }
}
