//! kubectl, the real client, finds here what it finds at a real API server, and can change it.

use super::cluster::{Cluster, NAMESPACE};
use super::{ensure, reach, services};
use arbiter_core::{Goal, Token};
use serde_json::Value;
use tokio::process::Command;

async fn kubectl(cluster: &Cluster, args: &[&str]) -> (bool, String) {
    let config = cluster.path("kubeconfig-tls");
    if !config.exists() {
        cluster.kubeconfig_over_tls();
    }
    let output = Command::new("kubectl")
        .args(args)
        .env("KUBECONFIG", &config)
        .env("HOME", cluster.path("home"))
        .kill_on_drop(true)
        .output()
        .await
        .expect("kubectl is installed (Debian: kubernetes-client)");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

async fn works(cluster: &Cluster, args: &[&str]) -> String {
    let (ok, said) = kubectl(cluster, args).await;
    assert!(ok, "kubectl {args:?}: {said}");
    said
}

#[tokio::test]
async fn kubectl_reads_scales_and_annotates() {
    let cluster = Cluster::with_web(2).await;
    cluster.cron_job("report");
    let said = works(&cluster, &["get", "deployment,cronjob", "-o", "name"]).await;
    assert!(said.contains("deployment.apps/web") && said.contains("report"), "{said}");
    works(&cluster, &["scale", "deployment/web", "--replicas=4"]).await;
    assert_eq!(cluster.replicas("web"), 4);
    // It has preconditions of its own.
    let wrong = ["scale", "deployment/web", "--current-replicas=9", "--replicas=1"];
    assert!(!kubectl(&cluster, &wrong).await.0);
    assert_eq!(cluster.replicas("web"), 4);
    works(&cluster, &["annotate", "deployment/web", "note=by-hand"]).await;
    assert_eq!(cluster.annotation("apps/v1", "deployments", "web", "note").unwrap(), "by-hand");
    let patch = r#"[{"op": "replace", "path": "/spec/suspend", "value": true}]"#;
    works(&cluster, &["patch", "cronjob", "report", "--type=json", "-p", patch]).await;
    assert_eq!(cluster.get("batch/v1", "cronjobs", "report")["spec"]["suspend"], true);
    let (ok, said) = kubectl(&cluster, &["get", "deployment", "gone"]).await;
    assert!(!ok && said.contains("NotFound"), "{said}");
    let pods = works(&cluster, &["get", "pods", "-l", "app=web", "-o", "name"]).await;
    assert_eq!(pods.lines().filter(|line| line.starts_with("pod/web-")).count(), 4, "{pods}");
}

#[tokio::test]
async fn kubectl_sees_what_the_driver_did_and_the_driver_what_kubectl_did() {
    let cluster = Cluster::with_web(3).await;
    let driver = services(&cluster, &[("deployments", "web")]);
    reach(&*driver, Goal::Active, 1, 3).await.expect("serves");
    reach(&*driver, Goal::Standby, 2, 9).await.expect("stands by");
    let said = works(&cluster, &["get", "deployment", "web", "-n", NAMESPACE, "-o", "json"]).await;
    let object: Value = serde_json::from_str(&said).expect("an object");
    assert_eq!(object["spec"]["replicas"], 1);
    assert_eq!(object["metadata"]["annotations"]["arbiter.region/token"], "2.9");
    works(&cluster, &["scale", "deployment/web", "--replicas=2"]).await;
    let fact = super::seen(&*services(&cluster, &[("deployments", "web")])).await;
    assert!(fact.writable, "more than a standby has: {fact:?}");
    let by_hand = ["annotate", "deployment/web", "--overwrite", "arbiter.region/token=9.1"];
    works(&cluster, &by_hand).await;
    let stale = ensure(&*driver, Goal::Active, 2, 10).await.map(|_| ());
    let seen = Token::new(9, 1);
    assert_eq!(stale, Err(arbiter::drivers::DriverError::StaleEpoch { seen }));
}
