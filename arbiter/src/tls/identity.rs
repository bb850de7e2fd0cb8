//! Who a certificate is for: `arbiter://CLUSTER/ROLE/NAME`, its one URI of that scheme. Knows names
//! and times; never whether an authority signed it.

use arbiter_core::WallMillis;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;
use webpki::{EndEntityCert, Error, KeyUsage};

/// Scheme of the URI.
const SCHEME: &str = "arbiter://";
/// Longest part of it, in bytes.
const PART_BYTES_MAX: usize = 128;
/// Later than any certificate can end, which is with the year 9999.
const BEYOND: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1 << 40));

/// What its holder is. In the order of what they may do to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Asks, and changes nothing.
    Viewer,
    /// Runs plans, modes and policy.
    Operator,
    /// An operator who also begins clusters, changes members and breaks glass.
    Admin,
    /// Stands beside resources on one host.
    Agent,
    /// Votes, relays and forwards.
    Arbiter,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] =
        [Self::Viewer, Self::Operator, Self::Admin, Self::Agent, Self::Arbiter];

    /// Its word in the URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Agent => "agent",
            Self::Arbiter => "arbiter",
        }
    }

    /// A process of the cluster, which nobody can renew in time at night; the others are people,
    /// whose certificates end when they say.
    pub fn is_process(self) -> bool {
        matches!(self, Self::Agent | Self::Arbiter)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = NoIdentity;

    fn from_str(text: &str) -> Result<Self, NoIdentity> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| NoIdentity::Malformed(text.to_owned()))
    }
}

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's configured name: another's certificate counts for nothing here, though the
    /// same authority may have signed it.
    pub cluster: String,
    /// What it is.
    pub role: Role,
    /// Its name: as in the cluster file for arbiters and agents.
    pub name: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.cluster, self.role, self.name)
    }
}

impl FromStr for Identity {
    type Err = NoIdentity;

    fn from_str(text: &str) -> Result<Self, NoIdentity> {
        let malformed = || NoIdentity::Malformed(text.to_owned());
        let parts = text.strip_prefix(SCHEME).ok_or_else(malformed)?;
        let parts: Vec<&str> = parts.split('/').collect();
        let [cluster, role, name] = parts[..] else { return Err(malformed()) };
        if ![cluster, name].into_iter().all(is_plain) {
            return Err(malformed());
        }
        let role = role.parse().map_err(|_| malformed())?;
        Ok(Self { cluster: cluster.to_owned(), role, name: name.to_owned() })
    }
}

/// Whether a name can stand in the URI as it is.
fn is_plain(part: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '+');
    !part.is_empty() && part.len() <= PART_BYTES_MAX && part.chars().all(good)
}

/// Why a certificate says of nobody who it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoIdentity {
    /// No certificate at all.
    #[error("it is no X.509 certificate")]
    Unreadable,
    /// None of our URIs in it.
    #[error("it names no role: it has no URI such as arbiter://CLUSTER/operator/NAME")]
    None,
    /// More than one.
    #[error("it names more than one role")]
    Several,
    /// A URI that is almost one.
    #[error("{0:?} is not of the form arbiter://CLUSTER/ROLE/NAME")]
    Malformed(String),
}

/// A certificate, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// For whom; or why for nobody.
    pub identity: Result<Identity, NoIdentity>,
    /// Good up to here.
    pub expires: WallMillis,
}

impl Certificate {
    /// What `der` says.
    ///
    /// # Errors
    /// It is no certificate.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, NoIdentity> {
        let parsed = EndEntityCert::try_from(der).map_err(|_| NoIdentity::Unreadable)?;
        let expires = expires(&parsed).ok_or(NoIdentity::Unreadable)?;
        Ok(Self { identity: identity(&parsed), expires })
    }

    /// The first of a chain; it ends with whichever of them ends first.
    ///
    /// # Errors
    /// There is none, or one is no certificate.
    pub fn of_chain<'a>(
        chain: impl IntoIterator<Item = &'a CertificateDer<'a>>,
    ) -> Result<Self, NoIdentity> {
        let mut chain = chain.into_iter().map(Self::read);
        let first = chain.next().ok_or(NoIdentity::Unreadable)??;
        chain.try_fold(first, |first, next| {
            let expires = first.expires.min(next?.expires);
            Ok(Self { expires, ..first })
        })
    }
}

fn identity(certificate: &EndEntityCert<'_>) -> Result<Identity, NoIdentity> {
    let mut ours = certificate.valid_uri_names().filter(|uri| uri.starts_with(SCHEME));
    let first = ours.next().ok_or(NoIdentity::None)?;
    if ours.next().is_some() {
        return Err(NoIdentity::Several);
    }
    first.parse()
}

/// webpki tells the end of a certificate to whoever asks about a time beyond it, before it looks at
/// anything else.
fn expires(certificate: &EndEntityCert<'_>) -> Option<WallMillis> {
    let (all, beyond) = (default_provider().signature_verification_algorithms.all, BEYOND);
    let usage = KeyUsage::client_auth();
    match certificate.verify_for_usage(all, &[], &[], beyond, usage, None, None) {
        Err(Error::CertExpired { not_after, .. }) => Some(WallMillis(not_after.as_secs() * 1_000)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_an_identity_and_back() {
        for text in [
            "arbiter://shop/arbiter/arbiter-eu",
            "arbiter://shop/agent/agent-eu",
            "arbiter://Shop_2.eu/admin/alice@example.com",
        ] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
        for wrong in [
            "https://shop/agent/a",
            "arbiter://shop/agent",
            "arbiter://shop/agent/a/b",
            "arbiter://shop/Agent/a",
            "arbiter://shop/nobody/a",
            "arbiter:///agent/a",
            "arbiter://shop/agent/",
            "arbiter://shop/agent/a%2fb",
            "arbiter://shop/agent/a b",
            "arbiter://shop/agent/a\u{0}",
        ] {
            assert!(wrong.parse::<Identity>().is_err(), "{wrong}");
        }
        let long = format!("arbiter://shop/agent/{}", "a".repeat(PART_BYTES_MAX + 1));
        assert!(long.parse::<Identity>().is_err());
    }
}
