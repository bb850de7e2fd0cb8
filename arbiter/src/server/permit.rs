//! Permission, before any handler: from whom a connection is, whom a call is from, and whether the
//! table lets it. Knows headers and paths; reads no message.

use super::connection::Origin;
use super::peers::FORWARDED;
use super::{refusal, table};
use crate::clock;
use crate::tls::{Caller, Certificate, NoIdentity, Role, Tls, Via};
use arbiter_core::WallMillis;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};

/// Header in which an arbiter says whose call it forwards: role, expiry in ms (0: none), name.
pub const CALLER: &str = "arbiter-caller";
/// Certificates of processes that are remembered, for their expiry.
const SEEN_MAX: usize = 4096;
/// For who has no certificate, and for whose ended.
const ISSUE: &str =
    "arbiter pki issue --config FILE --dir DIR --operator NAME; then ask with --certificate";
const REISSUE: &str = "arbiter pki issue --config FILE --dir DIR --operator NAME --force; of a \
                       process: arbiter pki renew --config FILE --dir DIR";
/// Where the kernel tells the name of this host.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";
/// Least time between two warnings about refused calls; those between are counted.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// Why a call is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    code: Code,
    /// For machines.
    pub reason: &'static str,
    text: String,
    next: &'static str,
}

/// A call that is not let in, and whose it is, as far as that is known.
pub(super) struct Denied {
    pub caller: Option<Caller>,
    pub why: Refused,
}

/// What lets calls in.
#[derive(Debug)]
pub struct Permit {
    cluster: String,
    tls: Option<Arc<Tls>>,
    seen: Mutex<BTreeMap<(Role, String), WallMillis>>,
    warned: Mutex<Warned>,
}

#[derive(Debug, Default)]
struct Warned {
    last: Option<arbiter_core::Instant>,
    untold: u64,
}

impl Permit {
    /// Of an arbiter of `cluster`. Without certificates everything is plaintext, and allowed.
    pub fn new(cluster: String, tls: Option<Arc<Tls>>) -> Self {
        Self { cluster, tls, seen: Mutex::default(), warned: Mutex::default() }
    }

    /// When the certificate of each process that asked here, or was relayed to here, expires.
    pub fn seen(&self) -> BTreeMap<(Role, String), WallMillis> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who makes the call at `path`, and that it may; or who, as far as it is known, may not.
    pub(super) fn judge(
        &self,
        path: &str,
        headers: &HeaderMap,
        origin: Option<&Origin>,
    ) -> Result<Caller, Box<Denied>> {
        let Some(roles) = table::roles(path) else {
            let text = format!("this arbiter does not serve {path}");
            let next = "update the arbiters, then ask again";
            let why = refused(Code::Unimplemented, "no-such-call", text, next);
            return Err(Box::new(Denied { caller: None, why }));
        };
        let connected = self.connected(origin).map_err(|why| Denied { caller: None, why })?;
        let denied = |why| Denied { caller: Some(connected.clone()), why };
        let caller = asserted(&connected, headers).map_err(denied)?;
        let Some(role) = caller.role else { return Ok(caller) };
        if !roles.contains(&role) {
            let why = not_allowed(path, &caller, roles);
            return Err(Box::new(Denied { caller: Some(caller), why }));
        }
        self.remember(&connected);
        self.remember(&caller);
        Ok(caller)
    }

    /// Who is at the other end of the connection.
    fn connected(&self, origin: Option<&Origin>) -> Result<Caller, Refused> {
        match origin {
            Some(Origin::Socket { uid: 0 }) => Ok(local()),
            Some(Origin::Socket { uid }) => {
                let text = format!("only root may ask here, and this is user {uid}");
                let next = "run it as root, or ask with --certificate FILE";
                Err(refused(Code::PermissionDenied, "not-root", text, next))
            }
            Some(Origin::Plaintext) if self.tls.is_none() => Ok(Caller::plaintext()),
            Some(Origin::Certificate(Ok(certificate))) => self.certified(certificate),
            Some(Origin::Certificate(Err(none))) => Err(no_role(none)),
            Some(Origin::Plaintext) | None => {
                let text = "no certificate was shown";
                let next = ISSUE;
                Err(refused(Code::Unauthenticated, "no-certificate", text, next))
            }
        }
    }

    fn certified(&self, certificate: &Certificate) -> Result<Caller, Refused> {
        let identity = certificate.identity.as_ref().map_err(no_role)?;
        if identity.cluster != self.cluster {
            let text = format!(
                "the certificate of {} is for cluster {}, this is {}",
                identity.name, identity.cluster, self.cluster
            );
            let next = "ask an arbiter of that cluster, or with a certificate for this one";
            return Err(refused(Code::PermissionDenied, "wrong-cluster", text, next));
        }
        if !self.tls.as_ref().is_some_and(|tls| tls.in_force(certificate)) {
            let text =
                format!("the certificate of the {} {} expired", identity.role, identity.name);
            let next = REISSUE;
            return Err(refused(Code::Unauthenticated, "certificate-expired", text, next));
        }
        Ok(Caller::certified(identity.clone(), certificate.expires))
    }

    /// Processes only: people renew for themselves.
    fn remember(&self, caller: &Caller) {
        let (Some(role), Some(expires)) = (caller.role, caller.expires) else { return };
        if !role.is_process() {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (role, caller.name.clone());
        if seen.len() < SEEN_MAX || seen.contains_key(&key) {
            seen.insert(key, expires);
        }
    }

    /// A call was refused to `caller`, as far as it is known who that is: at most one line a second
    /// in the log of this process.
    pub fn refused(&self, caller: Option<&Caller>, rpc: &str, why: &Refused) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        if warned.last.is_some_and(|last| now.since(last) < WARN_EVERY) {
            warned.untold += 1;
            return;
        }
        let untold = std::mem::take(&mut warned.untold);
        warned.last = Some(now);
        drop(warned);
        let caller = caller.map_or("somebody".to_owned(), ToString::to_string);
        let reason = why.reason;
        tracing::warn!(%caller, rpc, reason, untold, "refused: {}", why.text);
    }
}

/// Root on an arbiter's host.
fn local() -> Caller {
    let host = std::fs::read_to_string(HOST_NAME_FILE).unwrap_or_default();
    let name = format!("root@{} (local)", host.trim());
    Caller { name, role: Some(Role::Operator), via: Via::Socket, expires: None }
}

/// Whose call it is: an arbiter that forwards one says so, and only an arbiter may.
fn asserted(connected: &Caller, headers: &HeaderMap) -> Result<Caller, Refused> {
    let Some(said) = headers.get(CALLER) else {
        let forwards = connected.named(Role::Arbiter).is_some() || !connected.is_verified();
        if headers.contains_key(FORWARDED) && !forwards {
            return Err(forged(connected));
        }
        return Ok(connected.clone());
    };
    if !connected.is_verified() {
        // Anybody may say anything here: nothing of it is believed.
        return Ok(connected.clone());
    }
    let Some(arbiter) = connected.named(Role::Arbiter) else { return Err(forged(connected)) };
    let said = said.to_str().ok().and_then(parse).ok_or_else(|| forged(connected))?;
    Ok(Caller { via: Via::Arbiter(arbiter.to_owned()), ..said })
}

/// What is said of `caller` to the arbiter that a call is forwarded to; nothing of an arbiter,
/// which asks for itself, and of nobody.
pub fn assertion(caller: &Caller) -> Option<String> {
    let role = caller.role.filter(|role| *role != Role::Arbiter)?;
    let expires = caller.expires.map_or(0, |expires| expires.0);
    Some(format!("{role} {expires} {}", caller.name))
}

fn parse(said: &str) -> Option<Caller> {
    let mut parts = said.splitn(3, ' ');
    let role: Role = parts.next()?.parse().ok().filter(|role| *role != Role::Arbiter)?;
    let expires: u64 = parts.next()?.parse().ok()?;
    let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
    let expires = (expires > 0).then_some(WallMillis(expires));
    Some(Caller { name, role: Some(role), via: Via::Plaintext, expires })
}

fn refused(
    code: Code,
    reason: &'static str,
    text: impl Into<String>,
    next: &'static str,
) -> Refused {
    Refused { code, reason, text: text.into(), next }
}

fn no_role(none: &NoIdentity) -> Refused {
    let text = format!("the certificate is of no use here: {none}");
    let next = ISSUE;
    refused(Code::Unauthenticated, "no-role", text, next)
}

fn forged(connected: &Caller) -> Refused {
    let text = format!("{connected} speaks for somebody else, which only an arbiter may");
    refused(Code::PermissionDenied, "forged-caller", text, "ask for yourself")
}

fn not_allowed(path: &str, caller: &Caller, roles: &[Role]) -> Refused {
    let call = path.rsplit('/').next().unwrap_or(path);
    let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    let text = format!("{caller} may not call {call}; it takes {}", names.join(" or "));
    let next = match roles {
        [Role::Admin] => "ask with the certificate of an admin",
        _ if roles.contains(&Role::Operator) => "ask with the certificate of an operator",
        _ => "arbiter pki show FILE",
    };
    refused(Code::PermissionDenied, "role-not-allowed", text, next)
}

impl Refused {
    /// As an answer.
    pub fn status(&self) -> Status {
        refusal::refusal(self.code, self.reason, self.text.clone(), self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Authority, Files};

    const HOUR: Duration = Duration::from_secs(3600);

    fn reason(
        permit: &Permit,
        path: &str,
        origin: Option<&Origin>,
    ) -> Result<Caller, &'static str> {
        permit.judge(path, &HeaderMap::new(), origin).map_err(|denied| denied.why.reason)
    }

    fn secured() -> (tempfile::TempDir, Permit) {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path(), HOUR).unwrap();
        let identity = "arbiter://shop/arbiter/a".parse().unwrap();
        authority.issue(&identity, None, HOUR).unwrap().write(dir.path(), "a").unwrap();
        let tls = Tls::of_person(Files::within(dir.path(), "a"), HOUR).unwrap();
        (dir, Permit::new("shop".to_owned(), Some(tls)))
    }

    /// Strangers end in the handshake; were one let through, no call would be.
    #[test]
    fn nobody_without_an_identity_is_let_in_where_there_is_one() {
        let (_dir, permit) = secured();
        let nobody = Origin::Certificate(Err(NoIdentity::None));
        for (call, roles) in table::TABLE {
            let found = |origin| reason(&permit, call, origin).unwrap_err();
            assert_eq!(found(None), "no-certificate", "{call}");
            assert_eq!(found(Some(&Origin::Plaintext)), "no-certificate", "{call}");
            assert_eq!(found(Some(&nobody)), "no-role", "{call}");
            assert_eq!(found(Some(&Origin::Socket { uid: 1000 })), "not-root", "{call}");
            let root = reason(&permit, call, Some(&Origin::Socket { uid: 0 }));
            assert_eq!(root.is_ok(), roles.contains(&Role::Operator), "{call}: {root:?}");
        }
        let root = Some(&Origin::Socket { uid: 0 });
        assert_eq!(reason(&permit, "/arbiter.v1.Admin/Nothing", root), Err("no-such-call"));
    }

    #[test]
    fn in_plaintext_everybody_may_and_nobody_is_believed() {
        let permit = Permit::new("shop".to_owned(), None);
        let mut said = HeaderMap::new();
        said.insert(CALLER, "admin 0 mallory".parse().unwrap());
        for (call, _) in table::TABLE {
            let caller = permit.judge(call, &said, Some(&Origin::Plaintext));
            let caller = caller.map_err(|denied| denied.why.reason);
            assert_eq!(caller, Ok(Caller::plaintext()), "{call}");
            let other = reason(&permit, call, Some(&Origin::Socket { uid: 1000 }));
            assert_eq!(other, Err("not-root"), "{call}");
        }
    }

    #[test]
    fn what_is_said_of_a_caller_is_read_as_it_was() {
        let identity = "arbiter://shop/agent/agent-eu".parse().unwrap();
        let caller = Caller::certified(identity, WallMillis(7));
        let said = assertion(&caller).unwrap();
        assert_eq!(said, "agent 7 agent-eu");
        let read = parse(&said).unwrap();
        assert_eq!(
            (read.name, read.role, read.expires),
            (caller.name, caller.role, caller.expires)
        );
        let root = parse(&assertion(&local()).unwrap()).unwrap();
        assert_eq!((root.name, root.expires), (local().name, None));
        assert_eq!(assertion(&Caller::plaintext()), None);
        for wrong in ["", "agent", "agent 7", "agent x y", "root 7 y", "arbiter 7 y", "agent 7 "] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
