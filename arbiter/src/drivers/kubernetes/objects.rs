//! What is read of a Deployment, a StatefulSet, a CronJob, and of whom scales the first two.
//!
//! Knows their fields, and ours: the annotations. Never knows a goal's meaning, nor writes.

use super::api::{Api, Fault};
use super::settings::{Named, Sort};
use arbiter_core::{Goal, Token};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::DynamicObject;
use serde_json::Value;

/// Epoch and revision of the order that was carried out last.
pub const TOKEN: &str = "arbiter.region/token";
/// The goal of that order.
pub const GOAL: &str = "arbiter.region/goal";
/// How many served when it was last active; the least, where something else scales it.
pub const REPLICAS: &str = "arbiter.region/replicas";
/// KEDA scales to this number and no other while it is set (KEDA 2.7 and later, "Pause
/// autoscaling").
pub const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
/// KEDA scales nothing while this is `"true"`.
pub const PAUSED: &str = "autoscaling.keda.sh/paused";

/// Replicas of a ScaledObject that names no greatest number, as KEDA has it.
const KEDA_MAX: i32 = 100;

/// A Deployment or StatefulSet.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// Labels, annotations, version.
    pub meta: ObjectMeta,
    /// Replicas asked for.
    pub asked: i32,
    /// Pods that are not ending.
    pub running: i32,
    /// Pods that serve.
    pub available: i32,
    /// The controller has seen what was asked for last.
    pub settled: bool,
    /// Why its controller gave up, in its words.
    pub stalled: Option<String>,
    /// Which pods are its.
    pub selector: LabelSelector,
    /// What a pod of it needs.
    pub pod: PodSpec,
}

/// A CronJob.
#[derive(Clone, Debug)]
pub struct Cron {
    /// Labels, annotations, version.
    pub meta: ObjectMeta,
    /// It starts nothing.
    pub suspended: bool,
    /// Jobs of it that run.
    pub running: Vec<String>,
}

/// What an object of a name is.
#[derive(Clone, Debug)]
pub enum Object {
    /// Scaled.
    Workload(Box<Workload>),
    /// Suspended.
    Cron(Box<Cron>),
}

/// What sort of owner scales a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerSort {
    /// `autoscaling/v2`.
    Hpa,
    /// `keda.sh/v1alpha1`.
    ScaledObject,
}

/// What scales a workload instead of us.
#[derive(Clone, Debug)]
pub struct Owner {
    /// What it is.
    pub sort: OwnerSort,
    /// Labels, annotations, version, name.
    pub meta: ObjectMeta,
    /// Kind and name of what it scales.
    target: (String, String),
    /// Its least number of replicas.
    pub min: i32,
    /// Its greatest.
    pub max: i32,
}

/// Everything that scales anything in the namespace.
#[derive(Clone, Debug)]
pub struct Owners {
    hpas: Result<Vec<Owner>, Fault>,
    scaled: Result<Vec<Owner>, Fault>,
}

/// Path of a named object.
pub fn path(namespace: &str, named: &Named) -> String {
    let group = match named.sort {
        Sort::Deployment => ("apis/apps/v1", "deployments"),
        Sort::StatefulSet => ("apis/apps/v1", "statefulsets"),
        Sort::CronJob => ("apis/batch/v1", "cronjobs"),
    };
    format!("/{}/namespaces/{namespace}/{}/{}", group.0, group.1, named.name)
}

/// Path of an owner.
pub fn owner_path(namespace: &str, owner: &Owner) -> String {
    let name = owner.meta.name.as_deref().unwrap_or_default();
    format!("{}/{name}", owners_path(namespace, owner.sort))
}

fn owners_path(namespace: &str, sort: OwnerSort) -> String {
    let group = match sort {
        OwnerSort::Hpa => ("apis/autoscaling/v2", "horizontalpodautoscalers"),
        OwnerSort::ScaledObject => ("apis/keda.sh/v1alpha1", "scaledobjects"),
    };
    format!("/{}/namespaces/{namespace}/{}", group.0, group.1)
}

/// Read a named object.
pub async fn read(api: &Api, namespace: &str, named: &Named) -> Result<Object, Fault> {
    let path = path(namespace, named);
    Ok(match named.sort {
        Sort::Deployment => Object::Workload(Box::new(deployment(api.get(&path).await?))),
        Sort::StatefulSet => Object::Workload(Box::new(stateful_set(api.get(&path).await?))),
        Sort::CronJob => Object::Cron(Box::new(cron(api.get(&path).await?))),
    })
}

pub(crate) fn deployment(read: Deployment) -> Workload {
    let (spec, status) = (read.spec.unwrap_or_default(), read.status.unwrap_or_default());
    let conditions = status.conditions.unwrap_or_default();
    let failed = conditions.iter().find(|condition| {
        let gave_up = condition.type_ == "Progressing" && condition.status == "False";
        gave_up || (condition.type_ == "ReplicaFailure" && condition.status == "True")
    });
    let settled = seen(&read.metadata, status.observed_generation);
    Workload {
        meta: read.metadata,
        asked: spec.replicas.unwrap_or(1),
        running: status.replicas.unwrap_or(0),
        available: status.available_replicas.unwrap_or(0),
        settled,
        stalled: failed.map(|c| c.message.clone().unwrap_or_else(|| c.type_.clone())),
        selector: spec.selector,
        pod: spec.template.spec.unwrap_or_default(),
    }
}

pub(crate) fn stateful_set(read: StatefulSet) -> Workload {
    let (spec, status) = (read.spec.unwrap_or_default(), read.status.unwrap_or_default());
    let settled = seen(&read.metadata, status.observed_generation);
    Workload {
        meta: read.metadata,
        asked: spec.replicas.unwrap_or(1),
        running: status.replicas,
        available: status.available_replicas.unwrap_or(0),
        settled,
        stalled: None,
        selector: spec.selector,
        pod: spec.template.spec.unwrap_or_default(),
    }
}

/// Whether a controller's status is about the object as it is now.
fn seen(meta: &ObjectMeta, observed: Option<i64>) -> bool {
    meta.generation.is_none_or(|now| observed.is_some_and(|seen| seen >= now))
}

pub(crate) fn cron(read: CronJob) -> Cron {
    let running = read.status.and_then(|status| status.active).unwrap_or_default();
    Cron {
        meta: read.metadata,
        suspended: read.spec.and_then(|spec| spec.suspend).unwrap_or(false),
        running: running.into_iter().filter_map(|job| job.name).collect(),
    }
}

impl Object {
    /// Labels, annotations, version.
    pub fn meta(&self) -> &ObjectMeta {
        match self {
            Object::Workload(workload) => &workload.meta,
            Object::Cron(cron) => &cron.meta,
        }
    }
}

impl Owner {
    /// For people.
    pub fn called(&self) -> String {
        let sort = match self.sort {
            OwnerSort::Hpa => "HorizontalPodAutoscaler",
            OwnerSort::ScaledObject => "ScaledObject",
        };
        format!("{sort} {}", self.meta.name.as_deref().unwrap_or_default())
    }

    /// Who else paused it, by which annotation.
    pub fn paused_by_others(&self) -> Option<&'static str> {
        let ours = goal(&self.meta).is_some_and(|goal| goal != Goal::Active);
        let zero = annotation(&self.meta, PAUSED_REPLICAS);
        if annotation(&self.meta, PAUSED) == Some("true") {
            return Some(PAUSED);
        }
        zero.filter(|replicas| !ours || *replicas != "0").map(|_| PAUSED_REPLICAS)
    }

    pub(crate) fn hpa(read: HorizontalPodAutoscaler) -> Option<Self> {
        let spec = read.spec?;
        Some(Self {
            sort: OwnerSort::Hpa,
            target: (spec.scale_target_ref.kind, spec.scale_target_ref.name),
            meta: read.metadata,
            min: spec.min_replicas.unwrap_or(1),
            max: spec.max_replicas,
        })
    }

    pub(crate) fn scaled(read: DynamicObject) -> Option<Self> {
        let spec = read.data.get("spec")?;
        let target = spec.get("scaleTargetRef")?;
        let number = |key: &str| {
            let value = spec.get(key).and_then(Value::as_i64);
            value.and_then(|value| i32::try_from(value).ok())
        };
        let kind = target.get("kind").and_then(Value::as_str).unwrap_or("Deployment");
        Some(Self {
            sort: OwnerSort::ScaledObject,
            target: (kind.to_owned(), target.get("name")?.as_str()?.to_owned()),
            min: number("minReplicaCount").unwrap_or(0),
            max: number("maxReplicaCount").unwrap_or(KEDA_MAX),
            meta: read.metadata,
        })
    }

    /// One that scales a Deployment of the same name, for tests.
    #[cfg(test)]
    pub fn of(sort: OwnerSort, name: &str, min: i32, max: i32) -> Self {
        let meta = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        Self { sort, target: ("Deployment".to_owned(), name.to_owned()), meta, min, max }
    }

    fn owns(&self, named: &Named) -> bool {
        self.target.0 == named.sort.word() && self.target.1 == named.name
    }

    /// An HPA that KEDA made and keeps.
    fn kept_by_keda(&self) -> bool {
        let owners = self.meta.owner_references.iter().flatten();
        owners.into_iter().any(|owner| owner.kind == "ScaledObject")
    }
}

impl Owners {
    /// Read all of them.
    pub async fn read(api: &Api, namespace: &str) -> Self {
        let hpas = owners_path(namespace, OwnerSort::Hpa);
        let scaled = owners_path(namespace, OwnerSort::ScaledObject);
        let (hpas, scaled) = tokio::join!(
            api.list::<HorizontalPodAutoscaler>(&hpas, ""),
            api.list::<DynamicObject>(&scaled, "")
        );
        let scaled = match scaled {
            // A cluster without KEDA.
            Err(Fault::Missing(_)) => Ok(Vec::new()),
            other => other,
        };
        Self {
            hpas: hpas.map(|all| all.into_iter().filter_map(Owner::hpa).collect()),
            scaled: scaled.map(|all| all.into_iter().filter_map(Owner::scaled).collect()),
        }
    }

    /// Who scales `named`.
    ///
    /// # Errors
    /// Where that cannot be told.
    pub fn of(&self, named: &Named) -> Result<Option<&Owner>, Fault> {
        let hpas = self.hpas.as_ref().map_err(Fault::clone)?;
        let hpa = hpas.iter().find(|owner| owner.owns(named));
        match &self.scaled {
            Ok(all) => {
                let scaled = all.iter().find(|owner| owner.owns(named));
                Ok(scaled.or(hpa.filter(|hpa| !hpa.kept_by_keda())))
            }
            // It would be seen by the HPA that KEDA makes of it.
            Err(Fault::Forbidden(_)) if hpa.is_none_or(|hpa| !hpa.kept_by_keda()) => Ok(hpa),
            Err(fault) => Err(fault.clone()),
        }
    }

    /// What of them cannot be read.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.hpas.as_ref().err().into_iter().chain(self.scaled.as_ref().err())
    }

    /// Why ScaledObjects may be there that are not seen. Everything else that cannot be read shows
    /// with each workload.
    pub fn hidden(&self) -> Option<&Fault> {
        self.scaled.as_ref().err().filter(|_| self.hpas.is_ok())
    }
}

/// The value of an annotation.
pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The token that an object carries; none when it carries none of ours.
pub fn token(meta: &ObjectMeta) -> Option<Token> {
    annotation(meta, TOKEN)?.parse().ok()
}

/// The goal that it was last brought to.
pub fn goal(meta: &ObjectMeta) -> Option<Goal> {
    match annotation(meta, GOAL)? {
        "active" => Some(Goal::Active),
        "standby" => Some(Goal::Standby),
        "drained" => Some(Goal::Drained),
        "fenced" => Some(Goal::Fenced),
        _ => None,
    }
}

/// How many served when it was last active, as it says.
pub fn remembered(meta: &ObjectMeta) -> Option<i32> {
    annotation(meta, REPLICAS)?.parse().ok().filter(|replicas| *replicas > 0)
}
