//! The controllers of a small cluster: pods follow replicas one at a time, an HPA and KEDA keep
//! their bounds. Knows what Kubernetes' own do, as far as a test can see it; each can be held.

use super::store::{Place, Store, merge};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What does not happen.
#[derive(Default)]
pub struct Held {
    /// Nothing at all.
    pub all: bool,
    /// Pods of these never become available.
    pub unready: BTreeSet<String>,
    /// Pods of these never end, though they are asked to.
    pub lingering: BTreeSet<String>,
}

/// One step of every controller.
pub fn tick(store: &mut Store, held: &Held) {
    if held.all {
        return;
    }
    for plural in ["deployments", "statefulsets"] {
        for object in store.list("apps/v1", plural, "") {
            let place = place(&object, "apps/v1", plural);
            scale_by_owner(store, &place, &object);
            if let Ok(object) = store.get(&place) {
                follow(store, held, &place, &object);
            }
        }
    }
}

fn place(object: &Value, group: &str, plural: &str) -> Place {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    let (group, plural) = (group.to_owned(), plural.to_owned());
    Place { group, plural, namespace: text("namespace"), name: text("name") }
}

fn scale_by_owner(store: &mut Store, workload: &Place, object: &Value) {
    let now = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let mut wanted = now;
    let owns = |owner: &Value| owner["spec"]["scaleTargetRef"]["name"] == workload.name.as_str();
    let hpas = store.list("autoscaling/v2", "horizontalpodautoscalers", &workload.namespace);
    for hpa in hpas.iter().filter(|hpa| owns(hpa) && now > 0) {
        let bound = |key: &str| hpa["spec"][key].as_i64();
        let (min, max) = (bound("minReplicas").unwrap_or(1), bound("maxReplicas").unwrap_or(1));
        wanted = wanted.clamp(min, max);
    }
    let scaled = store.list("keda.sh/v1alpha1", "scaledobjects", &workload.namespace);
    for keda in scaled.iter().filter(|keda| owns(keda)) {
        let annotations = &keda["metadata"]["annotations"];
        let paused = annotations["autoscaling.keda.sh/paused-replicas"].as_str();
        let least = keda["spec"]["minReplicaCount"].as_i64().unwrap_or(0);
        wanted = paused.and_then(|text| text.parse().ok()).unwrap_or(wanted.max(least));
    }
    if wanted != now {
        let mut object = object.clone();
        object["spec"]["replicas"] = wanted.into();
        let _ = store.replace(workload, object, false);
    }
}

fn follow(store: &mut Store, held: &Held, workload: &Place, object: &Value) {
    let name = workload.name.as_str();
    let wanted = usize::try_from(object["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or(0);
    let labels = object["spec"]["selector"]["matchLabels"].clone();
    let of = |pod: &Value| pod["metadata"]["labels"] == labels;
    let ending = |pod: &Value| !pod["metadata"]["deletionTimestamp"].is_null();
    let all = store.list("v1", "pods", &workload.namespace);
    for pod in all.iter().filter(|pod| of(pod) && ending(pod) && !held.lingering.contains(name)) {
        let _ = store.delete(&place(pod, "v1", "pods"));
    }
    let pods: Vec<&Value> = all.iter().filter(|pod| of(pod) && !ending(pod)).collect();
    let ready = |pod: &&&Value| pod["status"]["phase"] == "Running";
    let mut running = pods.iter().filter(ready).count();
    let mut count = pods.len();
    if count < wanted {
        let at = Place { name: format!("{name}-{count}"), ..pod_place(workload) };
        let template = object["spec"]["template"]["spec"].clone();
        let meta = json!({ "labels": labels });
        let status = json!({ "phase": "Pending" });
        let pod = json!({ "metadata": meta, "spec": template, "status": status });
        count += usize::from(store.create(&at, pod).is_ok());
    } else if let Some(last) = pods.last().filter(|_| count > wanted) {
        let at = place(last, "v1", "pods");
        running -= usize::from(last["status"]["phase"] == "Running");
        count -= 1;
        if held.lingering.contains(name) {
            let mut pod = (*last).clone();
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            let _ = store.replace(&at, pod, false);
        } else {
            let _ = store.delete(&at);
        }
    } else if let Some(next) = pods.iter().find(|pod| !ready(pod))
        && !held.unready.contains(name)
    {
        let mut pod = (**next).clone();
        pod["status"]["phase"] = "Running".into();
        running += usize::from(store.replace(&place(next, "v1", "pods"), pod, true).is_ok());
    }
    let mut status = object.clone();
    merge(
        &mut status["status"],
        &json!({
            "replicas": count, "readyReplicas": running, "availableReplicas": running,
            "observedGeneration": object["metadata"]["generation"],
        }),
    );
    let _ = store.replace(workload, status, true);
}

fn pod_place(workload: &Place) -> Place {
    let (group, plural) = ("v1".to_owned(), "pods".to_owned());
    Place { group, plural, namespace: workload.namespace.clone(), name: String::new() }
}
