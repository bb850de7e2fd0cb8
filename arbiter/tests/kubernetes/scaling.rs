//! What each goal does to Deployments, StatefulSets, CronJobs and what scales them.

use super::cluster::Cluster;
use super::{ensure, one, reach, refused, retry, seen, services};
use arbiter::drivers::DriverError;
use arbiter_core::{Condition, EvidenceKind, Goal};
use serde_json::json;

const DEPLOYMENTS: [&str; 2] = ["apps/v1", "deployments"];
const CRON_JOBS: [&str; 2] = ["batch/v1", "cronjobs"];
const HPAS: [&str; 2] = ["autoscaling/v2", "horizontalpodautoscalers"];
const SCALED: [&str; 2] = ["keda.sh/v1alpha1", "scaledobjects"];

fn suspended(cluster: &Cluster, name: &str) -> bool {
    cluster.get(CRON_JOBS[0], CRON_JOBS[1], name)["spec"]["suspend"] == true
}

fn floor(cluster: &Cluster, of: [&str; 2], key: &str) -> i64 {
    cluster.get(of[0], of[1], "web")["spec"][key].as_i64().expect("a number")
}

#[tokio::test]
async fn a_region_serves_stands_by_is_fenced_and_serves_again() {
    let cluster = Cluster::with_web(3).await;
    cluster.stateful_set("queue", 2).await;
    cluster.cron_job("report");
    let named = [("deployments", "web"), ("statefulsets", "queue"), ("cronjobs", "report")];
    let driver = services(&cluster, &named);
    let annotation = |key: &str| cluster.annotation(DEPLOYMENTS[0], DEPLOYMENTS[1], "web", key);
    let queue = || cluster.get("apps/v1", "statefulsets", "queue")["spec"]["replicas"].clone();

    let done = reach(&*driver, Goal::Active, 1, 3).await.expect("serves as it did");
    assert_eq!((cluster.replicas("web"), queue()), (3, json!(2)));
    assert_eq!(done.facts.condition, Condition::Healthy);
    assert!(done.facts.writable);
    assert_eq!(done.facts.detail["web"], "3 wanted, 3 available");
    let all = &done.facts.detail["all replicas"];
    assert!(
        all.split_once('/').is_some_and(|(here, wanted)| here == wanted && all != "0/0"),
        "{all}"
    );
    assert_eq!(done.facts.detail["last token"], "1.3");

    let done = reach(&*driver, Goal::Standby, 2, 9).await.expect("stands by");
    assert_eq!((cluster.replicas("web"), queue()), (1, json!(1)));
    assert!(suspended(&cluster, "report"));
    assert!(!done.facts.writable, "one replica is what a standby has");
    assert_eq!(done.evidence, None);
    assert_eq!(annotation("arbiter.region/token").as_deref(), Some("2.9"));
    assert_eq!(annotation("arbiter.region/goal").as_deref(), Some("standby"));
    assert_eq!(annotation("arbiter.region/replicas").as_deref(), Some("3"));

    let done = reach(&*driver, Goal::Fenced, 3, 4).await.expect("is fenced");
    assert_eq!((cluster.replicas("web"), queue()), (0, json!(0)));
    assert_eq!(done.evidence, Some(EvidenceKind::ProviderAsserted));
    assert_eq!(done.facts.condition, Condition::Stopped);
    assert!(cluster.store(|store| store.list("v1", "pods", "")).is_empty());

    let done = reach(&*driver, Goal::Active, 4, 5).await.expect("serves again");
    assert_eq!((cluster.replicas("web"), queue()), (3, json!(2)));
    assert!(!suspended(&cluster, "report"));
    assert_eq!(done.facts.detail["queue"], "2 wanted, 2 available");
    assert_eq!(done.facts.faults, Vec::<String>::new());
}

#[tokio::test]
async fn twice_is_once_and_what_is_drained_gives_no_evidence() {
    let cluster = Cluster::with_web(2).await;
    cluster.cron_job("report");
    cluster.deployment("api", 1).await;
    cluster.hpa("api", 1, 5);
    let named = [("deployments", "web, api"), ("cronjobs", "report"), ("replicas.web", "2")];
    let driver = services(&cluster, &named);
    for (goal, revision) in [(Goal::Active, 3), (Goal::Standby, 4), (Goal::Drained, 5)] {
        let first = reach(&*driver, goal, 2, revision).await.expect("is done");
        assert_eq!(first.evidence, None, "{goal}");
        let before = cluster.writes().len();
        reach(&*driver, goal, 2, revision).await.expect("is done still");
        assert_eq!(cluster.writes().len(), before, "{goal}");
    }
    assert_eq!((cluster.replicas("web"), cluster.replicas("api")), (0, 0));
}

#[tokio::test]
async fn a_switch_waits_for_pods_that_serve_and_says_how_many_do() {
    let cluster = Cluster::with_web(1).await;
    cluster.held().unready.insert("web".to_owned());
    let named = [("deployments", "web"), ("replicas.web", "3"), ("available_within", "1m")];
    let driver = services(&cluster, &named);
    retry(ensure(&*driver, Goal::Active, 2, 9).await, "Deployment web: 1 of 3 replicas available");
    assert_eq!(seen(&*driver).await.condition, Condition::Starting);
    let hasty = [("deployments", "web"), ("replicas.web", "3"), ("available_within", "1s")];
    let text = refused(
        ensure(&*services(&cluster, &hasty), Goal::Active, 2, 9).await,
        "1 of 3 replicas available",
    );
    assert!(text.contains("kubectl describe pod"), "{text}");
    cluster.held().unready.clear();
    let done = reach(&*driver, Goal::Active, 2, 9).await.expect("serves");
    assert_eq!(done.facts.condition, Condition::Healthy);
}

#[tokio::test]
async fn a_fence_is_asserted_only_when_no_pod_is_left() {
    let cluster = Cluster::with_web(2).await;
    cluster.held().lingering.insert("web".to_owned());
    let driver = services(&cluster, &[("deployments", "web")]);
    // The Deployment counts no pod that is ending; it runs all the same.
    let text = retry(ensure(&*driver, Goal::Fenced, 2, 9).await, "2 pods are left");
    assert!(text.contains("web-0, web-1"), "{text}");
    let status = cluster.get("apps/v1", "deployments", "web")["status"]["replicas"].clone();
    assert_eq!(status, json!(0));
    cluster.held().lingering.clear();
    let done = reach(&*driver, Goal::Fenced, 2, 9).await.expect("is fenced");
    assert_eq!(done.evidence, Some(EvidenceKind::ProviderAsserted));
}

#[tokio::test]
async fn a_fence_waits_for_a_job_that_runs() {
    let cluster = Cluster::start().await;
    cluster.cron_job("report");
    let running = json!({ "status": { "active": [{ "kind": "Job", "name": "report-28" }] } });
    cluster.change("batch/v1", "cronjobs", "report", true, running);
    let driver = services(&cluster, &[("cronjobs", "report")]);
    retry(ensure(&*driver, Goal::Fenced, 2, 9).await, "a job of it runs (report-28)");
    assert!(suspended(&cluster, "report"));
    let ended = json!({ "status": { "active": null } });
    cluster.change("batch/v1", "cronjobs", "report", true, ended);
    let done = reach(&*driver, Goal::Fenced, 2, 9).await.expect("is fenced");
    assert_eq!(done.evidence, Some(EvidenceKind::ProviderAsserted));
}

#[tokio::test]
async fn an_hpa_is_moved_and_never_fought() {
    let cluster = Cluster::with_web(1).await;
    cluster.hpa("web", 1, 6);
    let driver = services(&cluster, &[("deployments", "web"), ("replicas.web", "4")]);
    let done = reach(&*driver, Goal::Active, 2, 9).await.expect("serves");
    assert_eq!((floor(&cluster, HPAS, "minReplicas"), cluster.replicas("web")), (4, 4));
    let shows = &done.facts.detail["web"];
    assert!(shows.contains("at least 4 by HorizontalPodAutoscaler web"), "{shows}");
    let scales = cluster.writes().iter().filter(|w| w.path.ends_with("/scale")).count();
    assert_eq!(scales, 0, "the HPA scales it");
    assert_eq!(cluster.annotation(HPAS[0], HPAS[1], "web", "arbiter.region/token").unwrap(), "2.9");

    reach(&*driver, Goal::Fenced, 3, 4).await.expect("is fenced");
    assert_eq!((floor(&cluster, HPAS, "minReplicas"), cluster.replicas("web")), (1, 0));
    reach(&*driver, Goal::Standby, 3, 5).await.expect("stands by");
    assert_eq!((floor(&cluster, HPAS, "minReplicas"), cluster.replicas("web")), (1, 1));
    reach(&*driver, Goal::Fenced, 3, 6).await.expect("is fenced");
    reach(&*driver, Goal::Active, 4, 7).await.expect("serves, from nothing");
    assert_eq!((floor(&cluster, HPAS, "minReplicas"), cluster.replicas("web")), (4, 4));

    let low = services(&cluster, &[("deployments", "web"), ("replicas.web", "9")]);
    refused(ensure(&*low, Goal::Active, 5, 8).await, "raise its greatest number");
}

#[tokio::test]
async fn keda_is_moved_and_held_at_nothing_while_fenced() {
    let cluster = Cluster::with_web(1).await;
    cluster.scaled_object("web", 1, 6);
    let driver = services(&cluster, &[("deployments", "web"), ("replicas.web", "3")]);
    let paused = || {
        let key = "autoscaling.keda.sh/paused-replicas";
        cluster.annotation(SCALED[0], SCALED[1], "web", key)
    };
    reach(&*driver, Goal::Active, 2, 9).await.expect("serves");
    assert_eq!((floor(&cluster, SCALED, "minReplicaCount"), cluster.replicas("web")), (3, 3));
    let hpa = cluster.get(HPAS[0], HPAS[1], "keda-hpa-web");
    assert_eq!(hpa["spec"]["minReplicas"], 1, "KEDA's own is KEDA's");
    reach(&*driver, Goal::Fenced, 3, 4).await.expect("is fenced");
    assert_eq!((paused().as_deref(), cluster.replicas("web")), (Some("0"), 0));
    reach(&*driver, Goal::Active, 4, 5).await.expect("serves again");
    assert_eq!((paused(), cluster.replicas("web")), (None, 3));
    // What an operator paused stays so, and is said.
    let other = json!({ "autoscaling.keda.sh/paused-replicas": "2" });
    let patch = json!({ "metadata": { "annotations": other } });
    cluster.change(SCALED[0], SCALED[1], "web", false, patch);
    refused(ensure(&*driver, Goal::Active, 5, 6).await, "paused-replicas");
    assert_eq!(paused().as_deref(), Some("2"));
}

#[tokio::test]
async fn nobody_knows_how_many_until_somebody_says() {
    let cluster = Cluster::with_web(1).await;
    let driver = services(&cluster, &[("deployments", "web"), ("standby_replicas", "0")]);
    reach(&*driver, Goal::Standby, 1, 3).await.expect("stands by");
    assert_eq!(cluster.replicas("web"), 0);
    let fact = seen(&*driver).await;
    assert!(one(&fact.obstacles, "set replicas.web").contains("Deployment web"));
    refused(ensure(&*driver, Goal::Active, 2, 9).await, "set replicas.web or active_replicas");
    let said = json!({ "metadata": { "annotations": { "arbiter.region/replicas": "2" } } });
    cluster.change("apps/v1", "deployments", "web", false, said);
    reach(&*driver, Goal::Active, 2, 9).await.expect("serves");
    assert_eq!(cluster.replicas("web"), 2);
}

#[tokio::test]
async fn what_is_missing_is_said_and_stops_nothing_else() {
    let cluster = Cluster::with_web(1).await;
    let named = [
        ("deployments", "web, gone"),
        ("replicas.web", "2"),
        ("replicas.wbe", "9"),
        ("active_replicas", "2"),
    ];
    let driver = services(&cluster, &named);
    let fact = seen(&*driver).await;
    one(&fact.faults, "wbe is in neither deployments nor statefulsets");
    assert_eq!(fact.condition, Condition::Dead);
    assert!(one(&fact.faults, "gone").contains("create it"), "{:?}", fact.faults);
    refused(ensure(&*driver, Goal::Active, 2, 9).await, "gone");
    assert_eq!(cluster.replicas("web"), 2);
    let done = reach(&*driver, Goal::Fenced, 3, 4).await.expect("all that is there is fenced");
    assert_eq!((done.evidence, cluster.replicas("web")), (None, 0));
}

#[tokio::test]
async fn what_somebody_else_scales_shows() {
    let cluster = Cluster::with_web(1).await;
    let named = [("deployments", "web"), ("replicas.web", "3")];
    let by_hand = |replicas: i32| {
        let patch = json!({ "spec": { "replicas": replicas } });
        cluster.change("apps/v1", "deployments", "web", false, patch);
    };
    let driver = services(&cluster, &named);
    reach(&*driver, Goal::Fenced, 2, 9).await.expect("is fenced");
    by_hand(1);
    assert!(seen(&*services(&cluster, &named)).await.writable, "its fence is undone");
    reach(&*driver, Goal::Active, 3, 4).await.expect("serves");
    by_hand(1);
    let fact = seen(&*services(&cluster, &named)).await;
    assert_eq!(fact.condition, Condition::Dead, "less than what was asked for");
    by_hand(5);
    reach(&*driver, Goal::Active, 3, 5).await.expect("serves");
    assert_eq!(cluster.replicas("web"), 5, "nobody is scaled down to serve");
    driver.verify(arbiter_core::Token::new(3, 5)).await.expect("serves at this token");
    let late = driver.verify(arbiter_core::Token::new(3, 4)).await;
    assert!(matches!(late, Err(DriverError::Retry(_))));
}

#[tokio::test]
async fn a_gitops_keeper_is_a_fault_until_it_is_told() {
    let cluster = Cluster::with_web(1).await;
    cluster.cron_job("report");
    let argo = json!({ "argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web" });
    let patch = json!({ "metadata": { "annotations": argo } });
    cluster.change("apps/v1", "deployments", "web", false, patch);
    let flux = json!({ "kustomize.toolkit.fluxcd.io/name": "jobs" });
    let patch = json!({ "metadata": { "labels": flux } });
    cluster.change("batch/v1", "cronjobs", "report", false, patch);
    let named = [
        ("deployments", "web"),
        ("cronjobs", "report"),
        ("replicas.web", "2"),
        ("capacity", "ignored"),
    ];
    let fact = seen(&*services(&cluster, &named)).await;
    assert!(one(&fact.faults, "Argo CD application shop").contains("ignoreDifferences"));
    assert!(one(&fact.faults, "Flux Kustomization jobs").contains("spec.suspend"));
    assert_eq!(fact.obstacles, Vec::<String>::new(), "it holds no plan");
    let told = [&named[..], &[("gitops", "ignored")]].concat();
    let fact = seen(&*services(&cluster, &told)).await;
    assert!(!fact.faults.iter().any(|fault| fault.contains("kept by")), "{:?}", fact.faults);
}
