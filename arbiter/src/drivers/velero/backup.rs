//! The newest complete backup, and whether it can be reached.
//!
//! Knows Backup and BackupStorageLocation (`velero.io/v1`). In a standby both are there: Velero
//! copies the Backups of a location into every cluster that has it.

use crate::drivers::kubernetes::api::{Api, Fault, encode, tidy};
use arbiter_core::{Condition, Fact, WallMillis};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;
use std::time::Duration;

/// The label by which a Backup names its Schedule.
const SCHEDULE: &str = "velero.io/schedule-name";
/// The location of a Backup that names none.
const LOCATION: &str = "default";

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Object<S, T> {
    #[serde(default)]
    metadata: ObjectMeta,
    spec: Option<S>,
    status: Option<T>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackupSpec {
    storage_location: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackupStatus {
    phase: Option<String>,
    start_timestamp: Option<Time>,
    completion_timestamp: Option<Time>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct LocationStatus {
    phase: Option<String>,
    message: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Ignored {}

/// A backup, complete or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its name.
    pub name: String,
    /// Where it is kept.
    location: String,
    phase: String,
    /// When it ended, or else began.
    at: WallMillis,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The newest complete one.
    pub newest: Option<Backup>,
    /// The newest of all, where that is another.
    last: Option<Backup>,
    /// What is wrong with the location of the newest complete one; none: nothing.
    location: Option<String>,
    place: String,
}

/// Read backups, and the location of the newest complete one.
pub async fn look(api: &Api, schedule: Option<&str>) -> Result<Seen, Fault> {
    let (namespace, _) = api.place().await?;
    let base = format!("/apis/velero.io/v1/namespaces/{namespace}");
    let query = schedule.map(|name| encode(&format!("{SCHEDULE}={name}")));
    let query = query.map(|query| format!("&labelSelector={query}")).unwrap_or_default();
    let read: Vec<Object<BackupSpec, BackupStatus>> =
        api.list(&format!("{base}/backups"), &query).await.map_err(absent)?;
    let mut all: Vec<Backup> = read.into_iter().map(backup).collect();
    all.sort_by_key(|backup| backup.at);
    let newest = all.iter().rfind(|backup| backup.phase == "Completed").cloned();
    let last = all.pop().filter(|last| Some(last) != newest.as_ref());
    let place = schedule.map_or_else(
        || format!("namespace {namespace}"),
        |schedule| format!("namespace {namespace} of schedule {schedule}"),
    );
    let location = match &newest {
        Some(newest) => location(api, &base, &newest.location).await?,
        None => None,
    };
    Ok(Seen { newest, last, location, place })
}

/// A cluster without Velero does not know its objects.
fn absent(fault: Fault) -> Fault {
    match fault {
        Fault::Missing(text) => Fault::Missing(format!("Velero is not installed there ({text})")),
        other => other,
    }
}

pub(crate) fn backup(read: Object<BackupSpec, BackupStatus>) -> Backup {
    let (spec, status) = (read.spec.unwrap_or_default(), read.status.unwrap_or_default());
    let made = read.metadata.creation_timestamp;
    let at = status.completion_timestamp.or(status.start_timestamp).or(made);
    Backup {
        name: read.metadata.name.unwrap_or_default(),
        location: spec.storage_location.unwrap_or_else(|| LOCATION.to_owned()),
        phase: status.phase.unwrap_or_else(|| "New".to_owned()),
        at: WallMillis(at.and_then(|t| u64::try_from(t.0.as_millisecond()).ok()).unwrap_or(0)),
    }
}

/// What is wrong with a location.
async fn location(api: &Api, base: &str, name: &str) -> Result<Option<String>, Fault> {
    let path = format!("{base}/backupstoragelocations/{}", encode(name));
    let read: Object<Ignored, LocationStatus> = match api.get(&path).await {
        Ok(read) => read,
        Err(Fault::Missing(_)) => {
            return Ok(Some(format!("BackupStorageLocation {name} is not there: create it")));
        }
        Err(fault) => return Err(fault),
    };
    let status = read.status.unwrap_or_default();
    let phase = status.phase.unwrap_or_else(|| "not validated yet".to_owned());
    if phase == "Available" {
        return Ok(None);
    }
    let why = status.message.map(|why| format!(" ({})", tidy(&why))).unwrap_or_default();
    Ok(Some(format!(
        "BackupStorageLocation {name} is {phase}{why}: mend its bucket or its credentials"
    )))
}

impl Seen {
    /// As a Fact, at `now`.
    pub fn fact(&self, now: WallMillis, age_max: Duration) -> Fact {
        let mut fact = Fact { condition: Condition::Healthy, ..Fact::default() };
        if let Some(last) = &self.last {
            let last = format!("{} is {}", last.name, last.phase);
            fact.detail.insert("last attempt".to_owned(), last);
        }
        let Some(newest) = &self.newest else {
            fact.condition = Condition::Dead;
            fact.faults.push(format!(
                "no complete Velero backup in {}: take one, or let this cluster have the location \
                 of the other's",
                self.place
            ));
            return fact;
        };
        let age = newest.age(now);
        fact.detail.insert("backup".to_owned(), newest.name.clone());
        fact.detail.insert("age".to_owned(), in_hours(age));
        let location = if self.location.is_none() { "Available" } else { "not available" };
        let location = format!("{} {location}", newest.location);
        fact.detail.insert("location".to_owned(), location);
        if age > age_max {
            fact.faults.push(format!(
                "the newest complete Velero backup, {}, is {} old, more than {}: see velero backup \
                 get",
                newest.name,
                in_hours(age),
                in_hours(age_max)
            ));
        }
        fact.faults.extend(self.location.clone());
        fact
    }

    /// Why the newest cannot be restored.
    pub fn unusable(&self) -> Option<String> {
        match &self.newest {
            None => Some(format!("no complete Velero backup in {}", self.place)),
            Some(_) => self.location.clone(),
        }
    }
}

impl Backup {
    fn age(&self, now: WallMillis) -> Duration {
        Duration::from_millis(now.0.saturating_sub(self.at.0))
    }
}

fn in_hours(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    format!("{} h {} min", minutes / 60, minutes % 60)
}
