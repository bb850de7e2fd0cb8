//! Probes: what an arbiter sees of a region from where it stands. One file a kind; a new kind is
//! one new file and one line in [`KINDS`].
//!
//! A probe knows one target. It never knows health, policy or what follows from what it saw. What
//! cannot be read is unknown, which never counts as healthy.

pub(crate) mod alertmanager;
mod fetch;
mod http;
mod lookout;
mod memory;
pub(crate) mod provider_status;
pub mod service;
mod tcp;

pub use lookout::{Lookout, Round};
pub use memory::Memory;

use arbiter_core::{ProbeSpec, SignalKind};
use futures::future::BoxFuture;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A kind of probe: what the cluster file says of it, and how it looks.
pub struct Kind {
    /// Its word, what it gives, and its settings.
    pub config: cluster_config::ProbeKind,
    /// Looks once; dropped, it leaves nothing behind.
    pub look: for<'a> fn(Look<'a>) -> Looking<'a>,
    /// How often it looks; none: as often as arbiters look at all.
    pub every: Option<fn(&ProbeSpec) -> Duration>,
}

/// Every kind that this build knows, in the order of `reference.toml`.
pub static KINDS: &[Kind] = &[tcp::KIND, http::KIND, alertmanager::KIND, provider_status::KIND];

/// A look under way.
pub type Looking<'a> = BoxFuture<'a, Seen>;

/// What a look is given.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// What is looked at.
    pub probe: &'a ProbeSpec,
    /// Set once its host has an address: until then nothing is said of the region.
    pub resolved: &'a AtomicBool,
    /// What earlier looks at it left.
    pub memory: &'a Memory,
}

/// What one try of a probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether the target is up; none: it could not be tried at all.
    pub up: Option<bool>,
    /// In words, on one line.
    pub detail: String,
    /// How long ago it was tried; zero: this is the try.
    pub age: Duration,
}

/// Longest text about one look, in characters: every arbiter sends it with every look.
const DETAIL_CHARS_MAX: usize = 300;

impl Seen {
    fn new(up: Option<bool>, detail: &str) -> Self {
        // It may quote a server, and is shown on a terminal.
        let line = detail.chars().map(|c| if c.is_control() { ' ' } else { c });
        Self { up, detail: line.take(DETAIL_CHARS_MAX).collect(), age: Duration::ZERO }
    }

    fn up(detail: impl AsRef<str>) -> Self {
        Self::new(Some(true), detail.as_ref())
    }

    fn down(detail: impl AsRef<str>) -> Self {
        Self::new(Some(false), detail.as_ref())
    }

    fn unknown(detail: impl AsRef<str>) -> Self {
        Self::new(None, detail.as_ref())
    }
}

/// Longest limit of one try that is honoured.
const LIMIT_MAX: Duration = Duration::from_secs(30);

fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.config.name == name)
}

/// Try `probe` once, within its limit.
///
/// A name that is not resolved tells of the resolver at this vantage point, not of the region. What
/// asks somebody else about the region learns nothing of it from one who does not answer.
pub async fn run_once(probe: &ProbeSpec, memory: &Memory) -> Seen {
    let Some(kind) = kind(&probe.kind) else {
        return Seen::unknown(format!("no probe of kind {:?}", probe.kind));
    };
    let limit = probe.limit.min(LIMIT_MAX);
    let resolved = AtomicBool::new(false);
    let look = Look { probe, resolved: &resolved, memory };
    match tokio::time::timeout(limit, (kind.look)(look)).await {
        Ok(seen) => seen,
        Err(_) => late(probe, limit, resolved.load(Ordering::Relaxed)),
    }
}

/// What a look that did not end within its limit says.
fn late(probe: &ProbeSpec, limit: Duration, resolved: bool) -> Seen {
    let late = format!("no answer within {limit:?}");
    if !resolved {
        return unresolved(&probe.target, &late);
    }
    let late = format!("{}: {late}", fetch::shown(&probe.target));
    match probe.signal {
        SignalKind::Health => Seen::down(late),
        SignalKind::Alerts | SignalKind::Provider => Seen::unknown(late),
    }
}

fn unresolved(target: &str, why: &str) -> Seen {
    Seen::unknown(format!("{}: not resolved from here: {why}", fetch::shown(target)))
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

    /// A probe of eu-west; its kind of signal is that of its kind.
    pub(super) fn probe(kind: &str, target: &str) -> ProbeSpec {
        let signal = match kind {
            "alertmanager" => SignalKind::Alerts,
            "provider-status" => SignalKind::Provider,
            _ => SignalKind::Health,
        };
        ProbeSpec {
            region: "eu-west".into(),
            kind: kind.into(),
            signal,
            target: target.to_owned(),
            limit: Duration::from_secs(5),
            settings: Default::default(),
        }
    }

    /// What a first look sees.
    pub(super) async fn seen_by(probe: &ProbeSpec) -> Seen {
        run_once(probe, &Memory::default()).await
    }

    #[tokio::test]
    async fn a_name_that_is_not_resolved_from_here_tells_nothing_of_the_region() {
        crate::tls::install();
        let url = format!("http://{NOWHERE}/healthz");
        for (kind, target) in [
            ("tcp", format!("{NOWHERE}:5432")),
            ("http", url.clone()),
            ("alertmanager", url.clone()),
            ("provider-status", url),
        ] {
            let mut probe = probe(kind, &target);
            probe.limit = Duration::from_secs(30);
            probe.settings.insert("match".to_owned(), "eu-west".to_owned());
            let seen = seen_by(&probe).await;
            assert_eq!(seen.up, None, "{}", seen.detail);
            assert!(seen.detail.contains("not resolved from here"), "{}", seen.detail);
        }
    }

    #[tokio::test]
    async fn what_is_seen_never_shows_what_stands_before_the_at_sign() {
        crate::tls::install();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for rest in [format!("{closed}/healthz"), format!("{NOWHERE}/"), ":no port".to_owned()] {
            for kind in ["http", "alertmanager", "provider-status"] {
                let mut probe = probe(kind, &format!("http://probe:hunter2@{rest}"));
                probe.settings.insert("match".to_owned(), "eu-west".to_owned());
                let seen = seen_by(&probe).await;
                assert_ne!(seen.up, Some(true));
                assert!(!seen.detail.contains("hunter2"), "{}", seen.detail);
                assert!(!seen.detail.contains("probe:"), "{}", seen.detail);
            }
        }
    }

    #[test]
    fn what_is_seen_is_one_short_line_whatever_a_server_says() {
        let seen = Seen::unknown(format!("one\u{1b}[31m\n{}", "x".repeat(1000)));
        assert!(seen.detail.starts_with("one [31m x"), "{}", seen.detail);
        assert_eq!(seen.detail.chars().count(), DETAIL_CHARS_MAX);
    }
}
