//! One restore an epoch, however often it is asked for.
//!
//! Knows Restore (`velero.io/v1`) and a ConfigMap of ours, where the epochs are kept that were
//! restored: Velero deletes a Restore with its backup, and what was restored once must not be again
//! over a region that has served since.

use super::backup::Seen;
use crate::drivers::DriverError;
use crate::drivers::kubernetes::api::{Api, Fault, tidy};
use crate::drivers::kubernetes::{TOKEN, conditioned, token_of};
use arbiter_core::Token;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Key of the ConfigMap: the last epoch that was restored to its end.
const RESTORED: &str = "restored-epoch";

/// What is asked for.
pub struct Restore<'a> {
    /// The API server.
    pub api: &'a Api,
    /// Of the ConfigMap, and the first part of the Restore's.
    pub name: &'a str,
    /// Each namespace, and under which name; empty: all.
    pub namespaces: &'a BTreeMap<String, String>,
    /// The order to serve.
    pub token: Token,
}

/// How far it is.
pub enum Progress {
    /// Restored.
    Done,
    /// It runs, and how far it is.
    Waiting(String),
}

/// A Restore.
#[derive(Deserialize)]
pub(crate) struct Object {
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    backup_name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    failure_reason: Option<String>,
    validation_errors: Option<Vec<String>>,
    errors: Option<u64>,
    progress: Option<Items>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Items {
    items_restored: u64,
    total_items: u64,
}

impl Restore<'_> {
    /// Begin it, or look how far it is. `look` reads the backups when one is to be chosen.
    ///
    /// # Errors
    /// `StaleEpoch` where a higher token was here; `Refused` where there is nothing to restore, or
    /// it failed.
    pub async fn advance<F>(&self, look: impl FnOnce() -> F) -> Result<Progress, DriverError>
    where
        F: Future<Output = Result<Seen, Fault>>,
    {
        let (namespace, _) = self.api.place().await?;
        let kept = self.claim(&namespace).await?;
        let epoch = self.token.epoch.0;
        let restored = kept.data.as_ref().and_then(|data| data.get(RESTORED));
        if restored.and_then(|text| text.parse::<u64>().ok()).is_some_and(|last| last >= epoch) {
            return Ok(Progress::Done);
        }
        let name = format!("{}-epoch-{epoch}", self.name);
        let base = format!("/apis/velero.io/v1/namespaces/{namespace}/restores");
        let found = match self.api.get::<Object>(&format!("{base}/{name}")).await {
            Ok(found) => found,
            Err(Fault::Missing(_)) => {
                let seen = look().await?;
                self.create(&base, &namespace, &name, &seen).await?;
                return Ok(Progress::Waiting(format!("restore {name} was made")));
            }
            Err(fault) => return Err(fault.into()),
        };
        let progress = judge(&name, &found)?;
        if matches!(progress, Progress::Done) {
            self.remember(&namespace, &kept, &found.spec.backup_name).await?;
        }
        Ok(progress)
    }

    /// Put the token into the ConfigMap, which is made where it is not there. // I10
    async fn claim(&self, namespace: &str) -> Result<ConfigMap, DriverError> {
        let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
        let path = format!("{maps}/{}", self.name);
        let annotations = json!({ TOKEN: self.token.to_string() });
        match self.api.get::<ConfigMap>(&path).await {
            Ok(kept) => {
                let seen = token_of(&kept.metadata);
                if let Some(seen) = seen.filter(|seen| *seen > self.token) {
                    return Err(DriverError::StaleEpoch { seen });
                }
                if seen == Some(self.token) {
                    return Ok(kept);
                }
                let patch = json!({ "metadata": {
                    "resourceVersion": version(&path, &kept.metadata)?,
                    "annotations": annotations,
                }});
                Ok(self.api.patch(&path, &patch).await?)
            }
            Err(Fault::Missing(_)) => {
                let body = json!({
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {
                        "name": self.name, "namespace": namespace, "annotations": annotations,
                    },
                });
                Ok(self.api.create(&maps, &body).await?)
            }
            Err(fault) => Err(fault.into()),
        }
    }

    async fn create(
        &self,
        base: &str,
        namespace: &str,
        name: &str,
        seen: &Seen,
    ) -> Result<(), DriverError> {
        let backup = seen.newest.as_ref().filter(|_| seen.unusable().is_none());
        let Some(backup) = backup else {
            return Err(DriverError::Refused(seen.unusable().unwrap_or_default()));
        };
        let mut spec = json!({ "backupName": backup.name });
        if !self.namespaces.is_empty() {
            let from: Vec<&String> = self.namespaces.keys().collect();
            let moved: BTreeMap<_, _> = self.namespaces.iter().filter(|(a, b)| a != b).collect();
            spec["includedNamespaces"] = json!(from);
            if !moved.is_empty() {
                spec["namespaceMapping"] = json!(moved);
            }
        }
        let body = json!({
            "apiVersion": "velero.io/v1",
            "kind": "Restore",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "annotations": { TOKEN: self.token.to_string() },
            },
            "spec": spec,
        });
        match self.api.create::<Value>(base, &body).await {
            // Another call was faster: it is the same restore.
            Ok(_) | Err(Fault::Conflict(_)) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn remember(
        &self,
        namespace: &str,
        kept: &ConfigMap,
        backup: &str,
    ) -> Result<(), DriverError> {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{}", self.name);
        let patch = json!({
            "metadata": { "resourceVersion": version(&path, &kept.metadata)? },
            "data": { RESTORED: self.token.epoch.to_string(), "backup": backup },
        });
        self.api.patch::<ConfigMap>(&path, &patch).await?;
        Ok(())
    }
}

fn version(path: &str, meta: &ObjectMeta) -> Result<String, DriverError> {
    conditioned(path, meta.resource_version.clone())
}

/// How far it is.
///
/// # Errors
/// `Refused` where it failed.
pub(crate) fn judge(name: &str, found: &Object) -> Result<Progress, DriverError> {
    let status = &found.status;
    let phase = status.phase.as_deref().unwrap_or_default();
    match phase {
        "Completed" => Ok(Progress::Done),
        "PartiallyFailed" | "Failed" | "FailedValidation" => {
            let mut why = status.validation_errors.clone().unwrap_or_default();
            why.extend(status.failure_reason.clone().filter(|reason| !reason.is_empty()));
            why.extend(status.errors.filter(|n| *n > 0).map(|n| format!("{n} errors")));
            let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
            Err(DriverError::Refused(format!(
                "restore {name} of backup {} is {phase}{}: see velero restore describe {name}; \
                 once mended, delete it to have it made again, or set restore = \"false\"",
                found.spec.backup_name,
                tidy(&why)
            )))
        }
        "" => Ok(Progress::Waiting(format!("restore {name} is not begun: does Velero run?"))),
        _ => {
            let items = status.progress.as_ref();
            let far = items.map_or((0, 0), |items| (items.items_restored, items.total_items));
            let text = format!("restore {name} is {phase}: {} of {} items", far.0, far.1);
            Ok(Progress::Waiting(text))
        }
    }
}
