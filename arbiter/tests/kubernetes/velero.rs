//! Velero: the newest complete backup is watched, and restored once an epoch.

use super::cluster::{Cluster, NAMESPACE};
use super::http::Instead;
use super::{ensure, one, open, reach, refused, retry, seen};
use arbiter::clock;
use arbiter::drivers::{Driver, DriverError};
use arbiter_core::{Condition, Goal, Token};
use serde_json::{Value, json};

const VELERO: &str = "velero.io/v1";
const RESTORE: &str = "arbiter-default-services-eu-epoch-2";
const HOUR: u64 = 3600;

/// A cluster with a location that is available.
async fn with_location() -> Cluster {
    let cluster = Cluster::start().await;
    let spec = json!({ "provider": "aws", "objectStorage": { "bucket": "backups" } });
    let object = json!({ "metadata": {}, "spec": spec, "status": { "phase": "Available" } });
    cluster.put(VELERO, "backupstoragelocations", "default", object);
    cluster
}

fn backup(cluster: &Cluster, name: &str, phase: &str, hours: u64, schedule: &str) {
    let ended = clock::wall().0 / 1000 - hours * HOUR;
    let object = json!({
        "metadata": { "labels": { "velero.io/schedule-name": schedule } },
        "spec": { "storageLocation": "default" },
        "status": { "phase": phase, "completionTimestamp": rfc3339(ended) },
    });
    cluster.put(VELERO, "backups", name, object);
}

/// Civil from days (Howard Hinnant, chrono-Compatible Low-Level Date Algorithms).
fn rfc3339(seconds: u64) -> String {
    let (days, rest) =
        (i64::try_from(seconds / 86_400).expect("a day") + 719_468, seconds % 86_400);
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn velero(cluster: &Cluster, more: &[(&str, &str)]) -> Box<dyn Driver> {
    open("velero", cluster, more)
}

fn restore(cluster: &Cluster, name: &str, status: Value) {
    cluster.change(VELERO, "restores", name, false, json!({}));
    cluster.change(VELERO, "restores", name, true, json!({ "status": status }));
}

fn restores(cluster: &Cluster) -> usize {
    cluster.store(|store| store.list(VELERO, "restores", NAMESPACE).len())
}

#[tokio::test]
async fn the_newest_complete_backup_is_watched() {
    let cluster = with_location().await;
    let fact = seen(&*velero(&cluster, &[])).await;
    assert_eq!(fact.condition, Condition::Dead);
    assert!(one(&fact.faults, "no complete Velero backup").contains(NAMESPACE));

    backup(&cluster, "old", "Completed", 50, "daily");
    backup(&cluster, "newer", "Completed", 27, "daily");
    backup(&cluster, "failed", "PartiallyFailed", 3, "daily");
    backup(&cluster, "other", "Completed", 1, "weekly");
    let daily = [("schedule", "daily")];
    let fact = seen(&*velero(&cluster, &daily)).await;
    assert_eq!((fact.condition, fact.obstacles.len()), (Condition::Healthy, 0));
    let fault = one(&fact.faults, "old, more than 26 h 0 min");
    assert!(fault.contains("newer, is 27 h"), "{fault}");
    assert_eq!(fact.detail["backup"], "newer");
    assert_eq!(fact.detail["last attempt"], "failed is PartiallyFailed");
    let patient = [("schedule", "daily"), ("backup_age_max", "28h")];
    assert_eq!(seen(&*velero(&cluster, &patient)).await.faults, Vec::<String>::new());
    let all = seen(&*velero(&cluster, &[])).await;
    assert_eq!((all.detail["backup"].as_str(), all.faults.len()), ("other", 0));
}

#[tokio::test]
async fn a_location_that_cannot_be_reached_is_a_fault() {
    let cluster = with_location().await;
    backup(&cluster, "b", "Completed", 1, "daily");
    let status = json!({ "phase": "Unavailable", "message": "AccessDenied" });
    let patch = json!({ "status": status });
    cluster.change(VELERO, "backupstoragelocations", "default", true, patch);
    let fact = seen(&*velero(&cluster, &[])).await;
    assert!(one(&fact.faults, "Unavailable").contains("AccessDenied"), "{:?}", fact.faults);
    let restoring = velero(&cluster, &[("restore", "true")]);
    refused(ensure(&*restoring, Goal::Active, 2, 9).await, "Unavailable");
    cluster.delete(VELERO, "backupstoragelocations", "default");
    let fact = seen(&*velero(&cluster, &[])).await;
    one(&fact.faults, "BackupStorageLocation default is not there");
    cluster.spoil("", "/backups", u32::MAX, Instead::Status(404, None));
    let fact = seen(&*velero(&cluster, &[])).await;
    assert_eq!(fact.condition, Condition::Unknown);
    one(&fact.faults, "Velero is not installed there");
}

#[tokio::test]
async fn a_region_that_becomes_active_is_restored_into_once() {
    let cluster = with_location().await;
    backup(&cluster, "b1", "Completed", 2, "daily");
    let settings = [("restore", "true"), ("namespaces", "shop, shop-eu:front")];
    let driver = velero(&cluster, &settings);
    let (waiting, running) = tokio::join!(ensure(&*driver, Goal::Active, 2, 9), async {
        cluster.until(|cluster| restores(cluster) == 1).await;
        let progress = json!({ "itemsRestored": 12, "totalItems": 40 });
        restore(&cluster, RESTORE, json!({ "phase": "InProgress", "progress": progress }));
    });
    let () = running;
    retry(waiting, "is InProgress: 12 of 40 items");
    let made = cluster.get(VELERO, "restores", RESTORE);
    assert_eq!(
        made["spec"],
        json!({
            "backupName": "b1",
            "includedNamespaces": ["shop", "shop-eu"],
            "namespaceMapping": { "shop-eu": "front" },
        })
    );
    assert_eq!(made["metadata"]["annotations"]["arbiter.region/token"], "2.9");
    restore(&cluster, RESTORE, json!({ "phase": "Completed" }));
    reach(&*driver, Goal::Active, 2, 9).await.expect("is restored");
    // Velero deletes a Restore with its backup. The region has served since, and an abort resumes
    // it in the same epoch: nothing is restored over it.
    cluster.delete(VELERO, "restores", RESTORE);
    backup(&cluster, "b2", "Completed", 1, "daily");
    reach(&*driver, Goal::Active, 2, 30).await.expect("was restored");
    assert_eq!(restores(&cluster), 0);
    let kept = cluster.get("v1", "configmaps", "arbiter-default-services-eu");
    assert_eq!(kept["data"], json!({ "restored-epoch": "2", "backup": "b1" }));
    let stale = ensure(&*driver, Goal::Active, 2, 29).await.map(|_| ());
    assert_eq!(stale, Err(DriverError::StaleEpoch { seen: Token::new(2, 30) }));
    retry(ensure(&*driver, Goal::Active, 4, 41).await, "epoch-4 is not begun: does Velero run?");
}

/// A drill restores aside: into namespaces of its own, without what runs, and leaves nothing.
#[tokio::test]
async fn a_rehearsal_restores_into_scratch_namespaces_and_removes_them() {
    const REHEARSAL: &str = "arbiter-default-services-eu-rehearsal";
    let cluster = with_location().await;
    backup(&cluster, "b1", "Completed", 2, "daily");
    let none = open("rehearsal:velero", &cluster, &[]);
    let done = ensure(&*none, Goal::Active, 1, 9).await.expect("has nothing to do");
    assert!(done.facts.detail["drill"].contains("not rehearsed"), "{done:?}");
    assert_eq!(restores(&cluster), 0);

    let more = ("rehearse_resources", "deployments.apps");
    let rehearsal = open("rehearsal:velero", &cluster, &[("rehearse", "shop"), more]);
    for (phase, ends) in [("Completed", true), ("PartiallyFailed", false)] {
        let (ended, made) = tokio::join!(ensure(&*rehearsal, Goal::Active, 1, 9), async {
            cluster.until(|cluster| restores(cluster) == 1).await;
            let made = cluster.get(VELERO, "restores", REHEARSAL);
            restore(&cluster, REHEARSAL, json!({ "phase": phase }));
            made
        });
        let spec = &made["spec"];
        assert_eq!(spec["namespaceMapping"], json!({ "shop": "arbiter-rehearsal-shop" }));
        assert_eq!(spec["includedNamespaces"], json!(["shop"]));
        let restored = spec["includedResources"].as_array().expect("nothing that acts");
        let named = restored.last() == Some(&json!("deployments.apps"));
        assert!(restored.len() == 5 && named, "{restored:?}");
        match ends {
            true => {
                let said = &ended.expect("is rehearsed").facts.detail["drill"];
                assert!(said.starts_with("backup b1 restored into 1"), "{said}");
            }
            false => drop(refused(ended, "PartiallyFailed")),
        }
        assert_eq!(restores(&cluster), 0, "nothing is left");
    }
    let deleted = cluster.writes().iter().filter(|asked| asked.verb == "DELETE").count();
    assert!(deleted >= 4, "the scratch namespaces are removed too: {deleted}");
}

#[tokio::test]
async fn nothing_is_restored_where_nothing_was_lost_or_nobody_asked() {
    let cluster = with_location().await;
    backup(&cluster, "b1", "Completed", 2, "daily");
    let watching = velero(&cluster, &[]);
    reach(&*watching, Goal::Active, 2, 9).await.expect("is only watched");
    let restoring = velero(&cluster, &[("restore", "true")]);
    reach(&*restoring, Goal::Active, 1, 3).await.expect("the region that was there first");
    for goal in [Goal::Standby, Goal::Drained, Goal::Fenced] {
        let done = reach(&*restoring, goal, 2, 9).await.expect("nothing is done");
        assert_eq!(done.evidence, None);
    }
    assert_eq!((restores(&cluster), cluster.writes().len()), (0, 0));
}

#[tokio::test]
async fn a_restore_that_failed_is_refused_with_its_reason() {
    let cluster = with_location().await;
    let driver = velero(&cluster, &[("restore", "true")]);
    refused(ensure(&*driver, Goal::Active, 2, 9).await, "no complete Velero backup");
    assert_eq!(seen(&*driver).await.obstacles.len(), 1, "it would stall a switchover");
    backup(&cluster, "b1", "Completed", 2, "daily");
    retry(ensure(&*driver, Goal::Active, 2, 9).await, "is not begun");
    for (status, word) in [
        (json!({ "phase": "PartiallyFailed", "errors": 3 }), "PartiallyFailed (3 errors)"),
        (json!({ "phase": "Failed", "failureReason": "no bucket" }), "Failed (no bucket)"),
        (json!({ "phase": "FailedValidation", "validationErrors": ["bad"] }), "(bad)"),
    ] {
        cluster.delete(VELERO, "restores", RESTORE);
        retry(ensure(&*driver, Goal::Active, 2, 9).await, "is not begun");
        restore(&cluster, RESTORE, status);
        let text = refused(ensure(&*driver, Goal::Active, 2, 9).await, word);
        assert!(text.contains("velero restore describe"), "{text}");
    }
}
