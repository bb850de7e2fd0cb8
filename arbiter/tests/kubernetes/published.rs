//! What is stored after our writes keeps to the published schemas, where an unknown field is a
//! fault (`tests/setup/kubernetes_validate.sh`).

use super::cluster::Cluster;
use super::{ensure, open, reach, services};
use arbiter_core::Goal;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn setup(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/setup").join(file)
}

/// What the validator says of objects, one a line in a file.
fn validated(path: &Path) -> String {
    let script = setup("kubernetes_validate.sh");
    let output = Command::new("bash").arg(script).stderr(Stdio::inherit()).output();
    let output = output.expect("bash is there");
    assert!(output.status.success(), "kubernetes-validate cannot be installed");
    let venv = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let python = Path::new(&venv).join("bin/python");
    let checked = Command::new(python).arg(setup("kubernetes_schemas.py")).arg(path).output();
    let checked = checked.expect("runs");
    let (said, fault) = (&checked.stdout, &checked.stderr);
    format!("{}{}", String::from_utf8_lossy(said), String::from_utf8_lossy(fault))
}

fn check(cluster: &Cluster, name: &str, objects: &[serde_json::Value]) -> String {
    let path = cluster.path(name);
    let lines: Vec<String> = objects.iter().map(ToString::to_string).collect();
    std::fs::write(&path, lines.join("\n")).expect("writable");
    validated(&path).trim().to_owned()
}

#[tokio::test]
async fn every_object_that_was_written_keeps_to_its_schema() {
    let cluster = Cluster::with_web(2).await;
    cluster.stateful_set("queue", 1).await;
    cluster.deployment("api", 1).await;
    cluster.hpa("api", 1, 5);
    cluster.deployment("work", 1).await;
    cluster.scaled_object("work", 1, 5);
    cluster.cron_job("report");
    let named = [
        ("deployments", "web, api, work"),
        ("statefulsets", "queue"),
        ("cronjobs", "report"),
        ("active_replicas", "3"),
    ];
    let driver = services(&cluster, &named);
    for (goal, revision) in [(Goal::Active, 3), (Goal::Standby, 4), (Goal::Fenced, 5)] {
        reach(&*driver, goal, 2, revision).await.expect("is done");
    }
    let location = json!({ "metadata": {}, "spec": {}, "status": { "phase": "Available" } });
    cluster.put("velero.io/v1", "backupstoragelocations", "default", location);
    let done = json!({ "phase": "Completed", "completionTimestamp": "2026-01-01T00:00:00Z" });
    let backup = json!({ "metadata": {}, "spec": {}, "status": done });
    cluster.put("velero.io/v1", "backups", "b", backup);
    let velero = open("velero", &cluster, &[("restore", "true")]);
    let _ = ensure(&*velero, Goal::Active, 2, 9).await;

    let written = cluster.inside().store.written.clone();
    let kinds = ["Deployment", "StatefulSet", "CronJob", "Scale", "HorizontalPodAutoscaler"];
    for kind in kinds.iter().chain(&["ConfigMap"]) {
        assert!(written.iter().any(|object| object["kind"] == **kind), "{kind} was never written");
    }
    let ours = |object: &&serde_json::Value| {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        !version.starts_with("keda.sh") && !version.starts_with("velero.io")
    };
    let whole: Vec<_> = written.iter().filter(ours).cloned().collect();
    assert_eq!(check(&cluster, "written", &whole), format!("{} ok", whole.len()));

    // The check bites: a misspelt field, and a number where text belongs.
    let mut wrong = whole[0].clone();
    wrong["spec"]["replica"] = 3.into();
    let said = check(&cluster, "misspelt", &[wrong]);
    assert!(said.contains("replica"), "{said}");
    let mut wrong = whole[0].clone();
    wrong["metadata"]["annotations"]["arbiter.region/token"] = 3.into();
    let said = check(&cluster, "number", &[wrong]);
    assert!(said.contains("annotations"), "{said}");
}
