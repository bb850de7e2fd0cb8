//! A rehearsal: the newest complete backup is restored into scratch namespaces, the user's checks
//! run, and all of it is removed. Nothing of it runs and nothing leads to it: what would is left
//! out of the restore.
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
/// What runs, or leads to what runs.
const LEFT_OUT: &[&str] = &[
    "pods",
    "replicasets.apps",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "jobs.batch",
    "cronjobs.batch",
    "services",
    "endpoints",
    "ingresses.networking.k8s.io",
];
/// Longest attempt; a drill has a limit of its own.
const REHEARSAL_LIMIT: Duration = Duration::from_secs(3600);

struct Rehearsal {
    velero: Velero,
    /// Namespaces that are restored; none: nothing is rehearsed.
    namespaces: Vec<String>,
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
        let body = json!({
            "apiVersion": "velero.io/v1",
            "kind": "Restore",
            "metadata": { "name": name, "namespace": namespace, "annotations": annotations },
            "spec": {
                "backupName": backup.name,
                "includedNamespaces": self.namespaces,
                "namespaceMapping": mapping,
                "excludedResources": LEFT_OUT,
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

/// At most 63 characters, as a namespace's name may have.
fn scratch(namespace: &str) -> String {
    let name: String = namespace.chars().take(63 - SCRATCH.len()).collect();
    format!("{SCRATCH}{}", name.trim_end_matches('-'))
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
        REHEARSAL_LIMIT
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
        let long = super::scratch(&format!("{}-{}", "a".repeat(44), "b".repeat(20)));
        assert_eq!((long.len(), long.ends_with('a')), (62, true));
    }
}
