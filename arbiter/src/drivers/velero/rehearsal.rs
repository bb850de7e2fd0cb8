//! A rehearsal: the newest complete backup is restored into scratch namespaces, the user's checks
//! run, and all of it is removed. Only kinds that nothing acts on are restored, and those that the
//! user names: a controller that finds a copy of its own object could reach for what the original
//! holds.
//!
//! Knows Restore (`velero.io/v1`) and namespaces. Never touches one whose name does not begin as
//! those of rehearsals do.

use super::restore::{Object, Progress, judge};
use super::{POLL, Velero};
use crate::drivers::drill::{self, Checks, Said};
use crate::drivers::kubernetes::api::Fault;
use crate::drivers::kubernetes::settings::Reader;
use crate::drivers::{Declaration, Done, Driver, DriverError, Holder, Opening};
use arbiter_core::{Fact, Goal, Terms, Token};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// What the name of a scratch namespace begins with.
const SCRATCH: &str = "arbiter-rehearsal-";
/// Kinds that are restored. None of them runs, or leads to what runs.
const RESTORED: &[&str] = &["configmaps", "secrets", "serviceaccounts", "persistentvolumeclaims"];
/// Longest name of a namespace.
const NAME_MAX: usize = 63;
/// Longest attempt; a drill has a limit of its own.
const REHEARSAL_LIMIT: Duration = Duration::from_secs(3600);

struct Rehearsal {
    velero: Velero,
    /// Namespaces that are restored; none: nothing is rehearsed.
    namespaces: Vec<String>,
    /// Kinds that are restored beside [`RESTORED`].
    more: Vec<String>,
    holder: Arc<dyn Holder>,
    checks: Checks,
    said: Said,
}

/// See [`crate::drivers::Kind::rehearse`].
///
/// # Errors
/// `Refused`, naming the setting that is wrong.
pub(super) fn open(opening: &Opening<'_>) -> Result<Box<dyn Driver>, DriverError> {
    let reader = Reader { id: opening.id, settings: &opening.instance.settings };
    Ok(Box::new(Rehearsal {
        velero: Velero::open(opening)?,
        namespaces: reader.names("rehearse")?,
        more: reader.names("rehearse_resources")?,
        holder: opening.holder.clone(),
        checks: Checks::read(opening)?,
        said: Said::default(),
    }))
}

impl Rehearsal {
    async fn rehearse(&self, token: Token) -> Result<String, DriverError> {
        if self.namespaces.is_empty() {
            return Ok("not rehearsed: the setting rehearse names no namespaces".to_owned());
        }
        self.remove().await?;
        let restored = self.restored(token).await;
        let checked = match &restored {
            Ok(_) => self.checks.run(&*self.holder, token, &self.scratch().join(",")).await,
            Err(error) => Err(error.clone()),
        };
        self.remove().await?;
        let (backup, checked) = (restored?, checked?);
        let count = self.namespaces.len();
        Ok(format!("backup {backup} restored into {count} scratch namespaces, {checked}, removed"))
    }

    fn scratch(&self) -> Vec<String> {
        self.namespaces.iter().map(|name| scratch(name)).collect()
    }

    fn name(&self) -> String {
        format!("{}-rehearsal", self.velero.name)
    }

    async fn restores(&self) -> Result<(String, String), Fault> {
        let (namespace, _) = self.velero.api.place().await?;
        let base = format!("/apis/velero.io/v1/namespaces/{namespace}/restores");
        Ok((namespace, base))
    }

    /// The backup that was restored, once it was.
    async fn restored(&self, token: Token) -> Result<String, DriverError> {
        let seen = self.velero.look().await?;
        let backup = seen.newest.as_ref().filter(|_| seen.unusable().is_none());
        let Some(backup) = backup else {
            return Err(DriverError::Refused(seen.unusable().unwrap_or_default()));
        };
        let (namespace, base) = self.restores().await?;
        let mapping: BTreeMap<&String, String> =
            self.namespaces.iter().map(|name| (name, scratch(name))).collect();
        let annotations = json!({ super::super::kubernetes::TOKEN: token.to_string() });
        let name = self.name();
        let more = self.more.iter().map(String::as_str);
        let restored: Vec<&str> = RESTORED.iter().copied().chain(more).collect();
        let body = json!({
            "apiVersion": "velero.io/v1",
            "kind": "Restore",
            "metadata": { "name": name, "namespace": namespace, "annotations": annotations },
            "spec": {
                "backupName": backup.name,
                "includedNamespaces": self.namespaces,
                "namespaceMapping": mapping,
                "includedResources": restored,
                "includeClusterResources": false,
            },
        });
        self.velero.api.create::<Value>(&base, &body).await?;
        loop {
            let found: Object = self.velero.api.get(&format!("{base}/{name}")).await?;
            match judge(&name, &found)? {
                Progress::Done => return Ok(backup.name.clone()),
                Progress::Waiting(_) => sleep(POLL).await,
            }
        }
    }

    /// The Restore and the scratch namespaces are gone.
    async fn remove(&self) -> Result<(), DriverError> {
        if self.namespaces.is_empty() {
            return Ok(());
        }
        let (_, base) = self.restores().await?;
        let spaces = self.scratch().into_iter().map(|name| format!("/api/v1/namespaces/{name}"));
        for path in spaces.chain([format!("{base}/{}", self.name())]) {
            while !self.gone(&path).await? {
                sleep(POLL).await;
            }
        }
        Ok(())
    }

    async fn gone(&self, path: &str) -> Result<bool, DriverError> {
        match self.velero.api.delete(path).await {
            Err(Fault::Missing(_)) => Ok(true),
            // It is being removed already.
            Ok(()) | Err(Fault::Conflict(_)) => Ok(false),
            Err(fault) => Err(fault.into()),
        }
    }
}

/// A name of its own for each, also where it would be too long.
fn scratch(namespace: &str) -> String {
    let whole = format!("{SCRATCH}{namespace}");
    if whole.len() <= NAME_MAX {
        return whole;
    }
    let sum = format!("-{:08x}", crc32c::crc32c(namespace.as_bytes()));
    let kept: String = whole.chars().take(NAME_MAX - sum.len()).collect();
    kept.trim_end_matches('-').to_owned() + &sum
}

#[async_trait]
impl Driver for Rehearsal {
    fn declares(&self) -> Declaration {
        drill::declaration()
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        Ok(self.said.fact())
    }

    async fn ensure(&self, goal: Goal, token: Token, _: &Terms) -> Result<Done, DriverError> {
        if goal == Goal::Active {
            let text = self.rehearse(token).await?;
            return Ok(self.said.done(text));
        }
        self.remove().await?;
        Ok(Done::default())
    }

    fn limit(&self, _: Goal) -> Duration {
        REHEARSAL_LIMIT + self.checks.limit()
    }

    async fn verify(&self, _: Token) -> Result<Fact, DriverError> {
        Ok(self.said.fact())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_scratch_namespace_has_a_name_that_may_be() {
        assert_eq!(super::scratch("shop"), "arbiter-rehearsal-shop");
        let long = |end: &str| super::scratch(&format!("{}-{end}", "a".repeat(50)));
        let (one, other) = (long("one"), long("other"));
        assert!(one.len() <= 63 && other.len() <= 63 && one != other, "{one} {other}");
        assert!(one.starts_with("arbiter-rehearsal-aaaa") && !one.ends_with('-'), "{one}");
    }
}
