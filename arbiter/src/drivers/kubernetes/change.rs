//! Brings one object to a goal: claim it with the token, move who scales it, scale it.
//!
//! Knows what is written, and that each write is conditioned on the version that was read
//! (`metadata.resourceVersion`): of two who write, one is refused, reads again, and finds the
//! other's token. Never waits for pods.

use super::api::{Api, Fault};
use super::objects::{
    self, GOAL, Object, Owner, OwnerSort, Owners, PAUSED_REPLICAS, REPLICAS, TOKEN, Workload,
    annotation, owner_path, path, token,
};
use super::settings::{Named, Settings};
use super::wants::{Wants, to_remember, wants};
use crate::drivers::DriverError;
use arbiter_core::{Goal, Token};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use serde_json::{Map, Value, json};

/// How often an object is read again in one call because somebody else changed it meanwhile. Its
/// controller does so each time a pod comes or goes.
pub const CONFLICTS_MAX: u32 = 8;

/// One order, carried out.
pub struct Change<'a> {
    /// The API server.
    pub api: &'a Api,
    /// The namespace of every object.
    pub namespace: &'a str,
    /// What the goal means.
    pub settings: &'a Settings,
    /// The goal.
    pub goal: Goal,
    /// Its token.
    pub token: Token,
}

/// Why a write was not made.
enum Unmade {
    /// Somebody else was faster.
    Conflict(String),
    /// As the driver says it.
    Error(DriverError),
}

impl From<DriverError> for Unmade {
    fn from(error: DriverError) -> Self {
        Unmade::Error(error)
    }
}

impl From<Fault> for Unmade {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Conflict(text) => Unmade::Conflict(text),
            other => Unmade::Error(other.into()),
        }
    }
}

type Meta = PartialObjectMeta<Value>;

impl Change<'_> {
    /// Bring `named` to the goal. Twice is once: what is so already is not written.
    ///
    /// # Errors
    /// `StaleEpoch` where it, or its owner, carries a higher token; `Retry` and `Refused` as the
    /// API says.
    pub async fn bring(&self, named: &Named, owners: &Owners) -> Result<(), DriverError> {
        let mut fresh = None;
        let mut last = String::new();
        for _ in 0..CONFLICTS_MAX {
            match self.once(named, fresh.as_ref().unwrap_or(owners)).await {
                Ok(()) => return Ok(()),
                Err(Unmade::Error(error)) => return Err(error),
                Err(Unmade::Conflict(text)) => last = text,
            }
            fresh = Some(Owners::read(self.api, self.namespace).await);
        }
        Err(DriverError::Retry(format!(
            "{named} was changed by somebody else {CONFLICTS_MAX} times in a row: {last}"
        )))
    }

    async fn once(&self, named: &Named, owners: &Owners) -> Result<(), Unmade> {
        let object = match objects::read(self.api, self.namespace, named).await {
            // Nothing is there to be stopped; that it is missing is said by every look.
            Err(Fault::Missing(_)) if self.goal != Goal::Active => return Ok(()),
            other => other?,
        };
        match object {
            Object::Cron(cron) => {
                self.not_stale(&cron.meta)?;
                let suspend = self.goal != Goal::Active;
                if cron.suspended == suspend && self.is_claimed(&cron.meta) {
                    return Ok(());
                }
                let spec = json!({ "suspend": suspend });
                self.write(&path(self.namespace, named), &cron.meta, Map::new(), spec).await?;
                Ok(())
            }
            Object::Workload(workload) => self.workload(named, &workload, owners).await,
        }
    }

    async fn workload(
        &self,
        named: &Named,
        workload: &Workload,
        owners: &Owners,
    ) -> Result<(), Unmade> {
        self.not_stale(&workload.meta)?;
        let owner = match (owners.of(named), self.goal) {
            (Ok(owner), _) => owner,
            // At zero everything that scales rests, whatever it is.
            (Err(_), Goal::Fenced | Goal::Drained) => None,
            (Err(fault), _) => return Err(fault.into()),
        };
        if let Some(owner) = owner {
            self.not_stale(&owner.meta)?;
        }
        let wants = wants(self.settings, self.goal, named, workload, owner)
            .map_err(|why| Unmade::Error(DriverError::Refused(why)))?;
        let path = path(self.namespace, named);
        let version = self.claim(&path, workload, owner).await?;
        if let Some(owner) = owner {
            self.owner(owner, wants).await?;
        }
        let Some(scale) = wants.scale.filter(|scale| *scale != workload.asked) else {
            return Ok(());
        };
        let body = json!({
            "metadata": { "resourceVersion": conditioned(&path, version)? },
            "spec": { "replicas": scale },
        });
        self.api.patch::<Scale>(&format!("{path}/scale"), &body).await?;
        Ok(())
    }

    /// Write token and goal, and what served before. Returns the version to go on from. The scale
    /// subresource takes no annotation, so that this is a write of its own; whoever read before it
    /// is refused after it.
    async fn claim(
        &self,
        path: &str,
        workload: &Workload,
        owner: Option<&Owner>,
    ) -> Result<Option<String>, Unmade> {
        let served = to_remember(self.goal, workload, owner);
        if served.is_none() && self.is_claimed(&workload.meta) {
            return Ok(workload.meta.resource_version.clone());
        }
        let mut more = Map::new();
        if let Some(served) = served {
            more.insert(REPLICAS.to_owned(), served.to_string().into());
        }
        self.write(path, &workload.meta, more, Value::Null).await
    }

    async fn owner(&self, owner: &Owner, wants: Wants) -> Result<(), Unmade> {
        let floor = wants.floor.unwrap_or(owner.min);
        let keda = owner.sort == OwnerSort::ScaledObject;
        let paused = annotation(&owner.meta, PAUSED_REPLICAS);
        let held = wants.paused.then_some("0");
        // What an operator paused stays so.
        let pause = keda && paused != held && (wants.paused || owner.paused_by_others().is_none());
        if floor == owner.min && !pause && self.is_claimed(&owner.meta) {
            return Ok(());
        }
        let mut more = Map::new();
        if pause {
            more.insert(PAUSED_REPLICAS.to_owned(), held.into());
        }
        let key = if keda { "minReplicaCount" } else { "minReplicas" };
        let path = owner_path(self.namespace, owner);
        self.write(&path, &owner.meta, more, json!({ key: floor })).await?;
        Ok(())
    }

    /// One conditioned write of annotations and, where there is one, of a part of `spec`.
    async fn write(
        &self,
        path: &str,
        read: &ObjectMeta,
        mut annotations: Map<String, Value>,
        spec: Value,
    ) -> Result<Option<String>, Unmade> {
        annotations.insert(TOKEN.to_owned(), self.token.to_string().into());
        annotations.insert(GOAL.to_owned(), self.goal.to_string().into());
        let version = conditioned(path, read.resource_version.clone())?;
        let mut body =
            json!({ "metadata": { "resourceVersion": version, "annotations": annotations } });
        if !spec.is_null() {
            body["spec"] = spec;
        }
        let written: Meta = self.api.patch(path, &body).await?;
        Ok(written.metadata.resource_version)
    }

    fn is_claimed(&self, meta: &ObjectMeta) -> bool {
        token(meta) == Some(self.token) && objects::goal(meta) == Some(self.goal)
    }

    fn not_stale(&self, meta: &ObjectMeta) -> Result<(), Unmade> {
        match token(meta).filter(|seen| *seen > self.token) {
            Some(seen) => Err(Unmade::Error(DriverError::StaleEpoch { seen })),
            None => Ok(()),
        }
    }
}

/// The version that a write is conditioned on. Without one it would overwrite whatever is there.
///
/// # Errors
/// `Retry` where the answer had none.
pub fn conditioned(path: &str, version: Option<String>) -> Result<String, DriverError> {
    version
        .filter(|version| !version.is_empty())
        .ok_or_else(|| DriverError::Retry(format!("the answer to {path} has no resourceVersion")))
}
