//! Of two who write, the one with the lower token loses.

use super::cluster::Cluster;
use super::http::Instead;
use super::{ensure, reach, retry, seen, services};
use arbiter::drivers::DriverError;
use arbiter_core::{Condition, EvidenceKind, Goal, Token};
use serde_json::{Value, json};

const HPAS: [&str; 2] = ["autoscaling/v2", "horizontalpodautoscalers"];

#[tokio::test]
async fn a_higher_token_on_any_object_refuses_the_order_before_it_writes() {
    for (group, plural) in
        [("apps/v1", "deployments"), ("batch/v1", "cronjobs"), (HPAS[0], HPAS[1])]
    {
        let cluster = Cluster::with_web(1).await;
        cluster.cron_job("web");
        cluster.hpa("web", 1, 4);
        let named = [("deployments", "web"), ("cronjobs", "web"), ("replicas.web", "3")];
        let driver = services(&cluster, &named);
        let higher = json!({ "metadata": { "annotations": { "arbiter.region/token": "5.40" } } });
        cluster.change(group, plural, "web", false, higher);
        for goal in [Goal::Active, Goal::Standby, Goal::Fenced] {
            let stale = ensure(&*driver, goal, 5, 39).await.map(|_| ());
            assert_eq!(stale, Err(DriverError::StaleEpoch { seen: Token::new(5, 40) }), "{plural}");
        }
        assert_eq!(cluster.writes().len(), 0, "{plural}");
        reach(&*driver, Goal::Active, 5, 41).await.expect("a higher one is obeyed");
    }
}

#[tokio::test]
async fn every_write_carries_the_token_or_the_version_of_what_carries_it() {
    let cluster = Cluster::with_web(2).await;
    cluster.stateful_set("queue", 1).await;
    cluster.deployment("api", 1).await;
    cluster.hpa("api", 1, 5);
    cluster.cron_job("report");
    let named = [
        ("deployments", "web, api"),
        ("statefulsets", "queue"),
        ("cronjobs", "report"),
        ("active_replicas", "3"),
    ];
    let driver = services(&cluster, &named);
    for (goal, revision) in [(Goal::Active, 3), (Goal::Standby, 4), (Goal::Fenced, 5)] {
        reach(&*driver, goal, 2, revision).await.expect("is done");
    }
    let writes = cluster.writes();
    assert!(writes.len() > 12, "{writes:?}");
    for write in writes {
        assert_eq!(write.verb, "PATCH");
        let meta = &write.body["metadata"];
        assert!(meta["resourceVersion"].is_string(), "unconditioned: {write:?}");
        let token = meta["annotations"]["arbiter.region/token"].as_str();
        if !write.path.ends_with("/scale") {
            assert!(token.is_some_and(|token| token.starts_with("2.")), "{write:?}");
        }
    }
}

#[tokio::test]
async fn a_write_that_was_overtaken_is_made_again_a_few_times() {
    let cluster = Cluster::with_web(1).await;
    let driver = services(&cluster, &[("deployments", "web"), ("replicas.web", "3")]);
    cluster.spoil("PATCH", "deployments/web", 5, Instead::Overtaken);
    reach(&*driver, Goal::Active, 2, 9).await.expect("serves");
    assert_eq!(cluster.replicas("web"), 3);
    cluster.mend();
    cluster.spoil("PATCH", "deployments/web", u32::MAX, Instead::Overtaken);
    let text = retry(ensure(&*driver, Goal::Fenced, 3, 4).await, "8 times in a row");
    assert!(text.contains("Deployment web") && text.contains("has been modified"), "{text}");
    cluster.mend();
    let done = reach(&*driver, Goal::Fenced, 3, 4).await.expect("is fenced");
    assert_eq!(done.evidence, Some(EvidenceKind::ProviderAsserted));
}

/// It read before the higher order came, and writes after it.
#[tokio::test]
async fn an_order_that_is_overtaken_before_its_writes_makes_none() {
    for (path, plural) in [
        ("deployments/web", "deployments"),
        ("cronjobs/web", "cronjobs"),
        ("horizontalpodautoscalers/web", HPAS[1]),
    ] {
        let cluster = Cluster::with_web(1).await;
        cluster.cron_job("web");
        cluster.hpa("web", 1, 4);
        let named = [("deployments", "web"), ("cronjobs", "web"), ("replicas.web", "3")];
        let driver = services(&cluster, &named);
        cluster.spoil("PATCH", path, 1, Instead::Claimed("5.40"));
        let stale = ensure(&*driver, Goal::Active, 5, 39).await.map(|_| ());
        assert_eq!(stale, Err(DriverError::StaleEpoch { seen: Token::new(5, 40) }), "{plural}");
        let writes = cluster.writes();
        let refused = writes.iter().filter(|write| write.path.contains(path)).count();
        assert_eq!(refused, 1, "{plural}: {writes:?}");
    }
}

/// The lower order read first, and writes last: between its claim and its scale the higher came.
#[tokio::test]
async fn an_order_that_is_overtaken_between_its_writes_does_not_scale() {
    let cluster = Cluster::with_web(1).await;
    let named = [("deployments", "web"), ("replicas.web", "3")];
    let (old, new) = (services(&cluster, &named), services(&cluster, &named));
    // The old one's scale hangs until it is given up; the new order is carried out meanwhile.
    cluster.spoil("PATCH", "/scale", 1, Instead::Nothing);
    let hangs = ensure(&*old, Goal::Active, 2, 9).await;
    retry(hangs, "no answer");
    reach(&*new, Goal::Fenced, 3, 4).await.expect("is fenced");
    let replayed: Value = {
        let inside = cluster.inside();
        let scales = inside.asked.iter().find(|a| a.verb == "PATCH" && a.path.ends_with("/scale"));
        scales.expect("it was sent").body.clone()
    };
    // What hung on the way arrives after all.
    let late = cluster.store(|store| {
        let place = super::store::Place {
            group: "apps/v1".to_owned(),
            plural: "deployments".to_owned(),
            namespace: super::cluster::NAMESPACE.to_owned(),
            name: "web".to_owned(),
        };
        store.rescale(&place, &replayed)
    });
    assert_eq!(late.expect_err("is refused").reason, "Conflict");
    assert_eq!(cluster.replicas("web"), 0);
    let stale = ensure(&*old, Goal::Active, 2, 9).await.map(|_| ());
    assert_eq!(stale, Err(DriverError::StaleEpoch { seen: Token::new(3, 4) }));
}

#[tokio::test]
async fn of_two_orders_at_once_the_higher_stands() {
    let cluster = Cluster::with_web(2).await;
    cluster.cron_job("report");
    let named = [("deployments", "web"), ("cronjobs", "report"), ("replicas.web", "4")];
    let (old, new) = (services(&cluster, &named), services(&cluster, &named));
    for epoch in 0..5 {
        let (lower, higher) = tokio::join!(
            ensure(&*old, Goal::Active, 2 + epoch, 9),
            ensure(&*new, Goal::Fenced, 2 + epoch, 10)
        );
        if let Err(error) = lower {
            assert!(
                matches!(error, DriverError::StaleEpoch { .. } | DriverError::Retry(_)),
                "{error:?}"
            );
        }
        // The higher may have been done first or last, and pods may be ending.
        if higher.is_err() {
            reach(&*new, Goal::Fenced, 2 + epoch, 10).await.expect("is fenced");
        }
        let fact = seen(&*services(&cluster, &named)).await;
        assert_eq!(cluster.replicas("web"), 0);
        assert_eq!((fact.condition, fact.writable), (Condition::Stopped, false), "{fact:?}");
    }
}
