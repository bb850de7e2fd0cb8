//! Objects of an API server in memory: versions, generations, patches, the scale subresource.
//! Knows what Kubernetes does with a write; never HTTP, nor what follows from an object.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Fields of `spec`, as Velero and KEDA define them; a server drops others in silence.
const RESTORE: &[&str] = &[
    "backupName",
    "scheduleName",
    "includedNamespaces",
    "excludedNamespaces",
    "includedResources",
    "excludedResources",
    "includeClusterResources",
    "namespaceMapping",
    "existingResourcePolicy",
    "itemOperationTimeout",
];
const SCALED_OBJECT: &[&str] = &[
    "scaleTargetRef",
    "pollingInterval",
    "cooldownPeriod",
    "idleReplicaCount",
    "minReplicaCount",
    "maxReplicaCount",
    "triggers",
];

/// A refusal as a `Status` says it.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// Its reason.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `apps/v1`, or `v1`.
    pub group: String,
    /// Plural, such as `deployments`.
    pub plural: String,
    /// Empty for what has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Everything that is kept.
#[derive(Default)]
pub struct Store {
    objects: BTreeMap<Place, Value>,
    version: u64,
    /// Each object as it was after each write of a client.
    pub written: Vec<Value>,
}

fn refusal(code: u16, reason: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { code, reason, message: message.into() }
}

/// `apps/v1`, `deployments` → `Deployment`.
pub fn kind(group: &str, plural: &str) -> Option<&'static str> {
    Some(match (group, plural) {
        ("apps/v1", "deployments") => "Deployment",
        ("apps/v1", "statefulsets") => "StatefulSet",
        ("batch/v1", "cronjobs") => "CronJob",
        ("autoscaling/v2", "horizontalpodautoscalers") => "HorizontalPodAutoscaler",
        ("keda.sh/v1alpha1", "scaledobjects") => "ScaledObject",
        ("velero.io/v1", "backups") => "Backup",
        ("velero.io/v1", "restores") => "Restore",
        ("velero.io/v1", "backupstoragelocations") => "BackupStorageLocation",
        ("v1", "pods") => "Pod",
        ("v1", "nodes") => "Node",
        ("v1", "configmaps") => "ConfigMap",
        ("v1", "secrets") => "Secret",
        ("v1", "namespaces") => "Namespace",
        _ => return None,
    })
}

impl Store {
    /// An object.
    pub fn get(&self, place: &Place) -> Result<Value, Refusal> {
        let missing = || {
            let Place { plural, name, .. } = place;
            refusal(404, "NotFound", format!("{plural} {name:?} not found"))
        };
        self.objects.get(place).cloned().ok_or_else(missing)
    }

    /// Everything of a kind; of all namespaces where `namespace` is empty.
    pub fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Value> {
        let of = |place: &Place| {
            let here = namespace.is_empty() || place.namespace == namespace;
            place.group == group && place.plural == plural && here
        };
        self.objects.iter().filter(|(place, _)| of(place)).map(|(_, o)| o.clone()).collect()
    }

    /// Make an object.
    pub fn create(&mut self, place: &Place, mut object: Value) -> Result<Value, Refusal> {
        if self.objects.contains_key(place) {
            let text = format!("{} {:?} already exists", place.plural, place.name);
            return Err(refusal(409, "AlreadyExists", text));
        }
        object["apiVersion"] = place.group.clone().into();
        object["kind"] = kind(&place.group, &place.plural).unwrap_or_default().into();
        let meta = &mut object["metadata"];
        meta["name"] = place.name.clone().into();
        if !place.namespace.is_empty() {
            meta["namespace"] = place.namespace.clone().into();
        }
        meta["generation"] = 1.into();
        meta["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        meta["uid"] = format!("uid-{}", self.version + 1).into();
        valid(&object)?;
        Ok(self.keep(place, object))
    }

    /// Take an object away.
    pub fn delete(&mut self, place: &Place) -> Result<Value, Refusal> {
        let object = self.get(place)?;
        self.objects.remove(place);
        Ok(object)
    }

    /// Write `next` over an object: refused where its version is another than that of now.
    /// `status`: only that; else everything but that.
    pub fn replace(&mut self, place: &Place, next: Value, status: bool) -> Result<Value, Refusal> {
        let now = self.get(place)?;
        let version = &next["metadata"]["resourceVersion"];
        if !version.is_null() && *version != now["metadata"]["resourceVersion"] {
            let text = format!(
                "Operation cannot be fulfilled on {} {:?}: the object has been modified; please \
                 apply your changes to the latest version and try again",
                place.plural, place.name
            );
            return Err(refusal(409, "Conflict", text));
        }
        let mut merged = if status { now.clone() } else { next.clone() };
        merged["status"] = if status { next["status"].clone() } else { now["status"].clone() };
        if merged["status"].is_null() {
            merged.as_object_mut().map(|object| object.remove("status"));
        }
        for key in ["name", "namespace", "uid", "creationTimestamp", "generation"] {
            if !now["metadata"][key].is_null() {
                merged["metadata"][key] = now["metadata"][key].clone();
            }
        }
        valid(&merged)?;
        if merged["spec"] != now["spec"] {
            let generation = now["metadata"]["generation"].as_u64().unwrap_or(0);
            merged["metadata"]["generation"] = (generation + 1).into();
        }
        merged["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"].clone();
        // A write that changes nothing makes no version.
        if merged == now { Ok(now) } else { Ok(self.keep(place, merged)) }
    }

    fn keep(&mut self, place: &Place, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(place.clone(), object.clone());
        object
    }

    /// The `Scale` of an object.
    pub fn scale(&self, place: &Place) -> Result<Value, Refusal> {
        let object = self.get(place)?;
        let meta = &object["metadata"];
        let labels = object["spec"]["selector"]["matchLabels"].as_object();
        let selector = labels.into_iter().flatten();
        let selector: Vec<String> =
            selector.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
        Ok(json!({
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {
                "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
                "creationTimestamp": meta["creationTimestamp"],
            },
            "spec": { "replicas": object["spec"]["replicas"] },
            "status": {
                "replicas": object["status"]["replicas"].as_i64().unwrap_or(0),
                "selector": selector.join(","),
            },
        }))
    }

    /// Write a `Scale`: nothing but `spec.replicas` counts.
    pub fn rescale(&mut self, place: &Place, scale: &Value) -> Result<Value, Refusal> {
        let mut object = self.get(place)?;
        object["metadata"]["resourceVersion"] = scale["metadata"]["resourceVersion"].clone();
        object["spec"]["replicas"] = scale["spec"]["replicas"].clone();
        self.replace(place, object, false)?;
        self.scale(place)
    }
}

/// What the API server's validation refuses of what is sent here.
fn valid(object: &Value) -> Result<(), Refusal> {
    let invalid = |field: &str, why: &str| {
        let kind = object["kind"].as_str().unwrap_or_default();
        Err(refusal(422, "Invalid", format!("{kind} is invalid: {field}: {why}")))
    };
    let spec = &object["spec"];
    if spec["replicas"].as_i64().is_some_and(|replicas| replicas < 0) {
        return invalid("spec.replicas", "must be greater than or equal to 0");
    }
    if object["kind"] == "HorizontalPodAutoscaler" {
        let (min, max) = (spec["minReplicas"].as_i64().unwrap_or(1), &spec["maxReplicas"]);
        if min < 1 {
            return invalid("spec.minReplicas", "must be greater than or equal to 1");
        }
        if max.as_i64().is_none_or(|max| max < min) {
            return invalid("spec.maxReplicas", "must be greater than or equal to `minReplicas`");
        }
    }
    let known: &[&str] = match object["kind"].as_str() {
        Some("Restore") => RESTORE,
        Some("ScaledObject") => SCALED_OBJECT,
        _ => &[],
    };
    let unknown = |key: &&String| !known.is_empty() && !known.contains(&key.as_str());
    if let Some(key) = spec.as_object().and_then(|spec| spec.keys().find(unknown)) {
        return invalid(&format!("spec.{key}"), "unknown field");
    }
    let annotations = object["metadata"]["annotations"].as_object();
    if annotations.into_iter().flatten().any(|(_, value)| !value.is_string()) {
        return invalid("metadata.annotations", "expected string");
    }
    Ok(())
}

/// RFC 7386.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(object) = target else { return };
    for (key, value) in fields {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// RFC 6902, of which kubectl sends these operations.
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), Refusal> {
    for step in patch.as_array().into_iter().flatten() {
        let path = step["path"].as_str().unwrap_or_default();
        let bad = || refusal(422, "Invalid", format!("the patch does not apply at {path}"));
        let (parent, key) = path.rsplit_once('/').ok_or_else(bad)?;
        let key = key.replace("~1", "/").replace("~0", "~");
        let parent = target.pointer_mut(parent).and_then(Value::as_object_mut).ok_or_else(bad)?;
        match step["op"].as_str() {
            Some("test") if parent.get(&key) == Some(&step["value"]) => {}
            Some("add") => drop(parent.insert(key, step["value"].clone())),
            Some("replace") if parent.contains_key(&key) => {
                parent.insert(key, step["value"].clone());
            }
            Some("remove") if parent.remove(&key).is_some() => {}
            _ => return Err(bad()),
        }
    }
    Ok(())
}
