//! Certificates that end: this arbiter's own, its authorities', and those that agents and arbiters
//! showed here. Knows times; whom a certificate admits is `permit`'s business.

use super::Face;
use crate::tls::Role;
use crate::{calendar, clock};
use arbiter_core::WallMillis;
use arbiter_proto::v1 as pb;
use std::time::Duration;

/// A certificate that somebody relies on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Known {
    /// `own`, `ca`, `arbiter` or `agent`.
    pub kind: &'static str,
    /// Whose; the file of an authority.
    pub name: String,
    /// Good up to here.
    pub expires: WallMillis,
}

impl Face {
    /// Every certificate that is known here, each once. Of others only those that State names.
    pub(super) fn certificates(&self) -> Vec<Known> {
        let Some(tls) = &self.tls else { return Vec::new() };
        let own = tls.expiries().into_iter().map(|expiry| match expiry.kind {
            "ca" => Known {
                kind: "ca",
                name: expiry.file.display().to_string(),
                expires: expiry.expires,
            },
            _ => Known { kind: "own", name: self.raft.name().to_owned(), expires: expiry.expires },
        });
        let spec = self.state().spec.clone();
        let seen = self.permit.seen().into_iter().filter_map(|((role, name), expires)| {
            let known = match role {
                Role::Agent => spec.agents.keys().any(|agent| agent.0 == name),
                _ => name != self.raft.name() && spec.voters.keys().any(|voter| voter.0 == name),
            };
            known.then_some(Known { kind: role.as_str(), name, expires })
        });
        own.chain(seen).collect()
    }

    /// What is wrong with them now, each with its remedy.
    pub(super) fn certificate_faults(&self) -> Vec<pb::Reason> {
        let Some(tls) = &self.tls else { return Vec::new() };
        let mut found = faults(&self.certificates(), clock::wall(), tls.grace());
        if let Some(why) = tls.fault() {
            let text = format!("{}: the new certificate is not in use: {why}", self.raft.name());
            found.push(reason("certificate-unusable", text, "arbiter pki show FILE"));
        }
        found
    }
}

/// An expiry is told the grace period before it comes, and as long as it lasts.
fn faults(known: &[Known], now: WallMillis, grace: Duration) -> Vec<pb::Reason> {
    let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let told = known.iter().filter(|one| one.expires.0 <= now.0.saturating_add(grace));
    told.map(|Known { kind, name, expires }| {
        let whose = match *kind {
            "ca" => format!("the authority in {name}"),
            "agent" => format!("the certificate of agent {name}"),
            _ => format!("the certificate of arbiter {name}"),
        };
        let at = calendar::utc(expires.0);
        if *expires > now {
            return reason("certificate-expires", format!("{whose} expires at {at}"), RENEW);
        }
        let until = calendar::utc(expires.0.saturating_add(grace));
        let text = match *kind {
            "ca" => format!("{whose} expired at {at}"),
            _ => format!("{whose} expired at {at}; it is heard until {until}"),
        };
        reason("certificate-expired", text, RENEW)
    })
    .collect()
}

/// What mends it.
const RENEW: &str = "arbiter pki renew --config FILE --dir DIR";

fn reason(code: &str, text: String, next: &str) -> pb::Reason {
    let (topic, code) = ("readiness".to_owned(), code.to_owned());
    pb::Reason { topic, code, open: false, text, next: next.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_told_before_and_after_with_what_it_means() {
        let known = |kind, expires| Known { kind, name: "x".into(), expires: WallMillis(expires) };
        let grace = Duration::from_millis(1_000);
        let all = [known("own", 10_000), known("agent", 5_500), known("ca", 4_000)];
        let found = faults(&all, WallMillis(5_000), grace);
        let codes: Vec<&str> = found.iter().map(|reason| reason.code.as_str()).collect();
        assert_eq!(codes, ["certificate-expires", "certificate-expired"]);
        assert!(found[0].text.starts_with("the certificate of agent x expires at 1970-"));
        assert!(!found[1].text.contains("heard"), "nothing is heard of an authority");
        let late = faults(&all[1..2], WallMillis(6_000), grace);
        assert!(late[0].text.ends_with("it is heard until 1970-01-01 00:00:06 UTC"), "{late:?}");
        assert!(found.iter().all(|reason| !reason.open && reason.topic == "readiness"));
    }
}
