//! An API that refuses, errs, talks nonsense or says nothing, and credentials that are none.

use super::cluster::Cluster;
use super::http::{Instead, TOKEN};
use super::{ensure, one, open, reach, refused, retry, seen, services};
use arbiter::clock;
use arbiter_core::{Condition, Fact, Goal};
use std::time::Duration;

const WEB: [(&str, &str); 2] = [("deployments", "web"), ("replicas.web", "2")];

/// A look of a driver that has seen nothing yet.
async fn look(cluster: &Cluster) -> Fact {
    seen(&*services(cluster, &WEB)).await
}

#[tokio::test]
async fn credentials_that_are_none_are_named() {
    let cluster = Cluster::with_web(1).await;
    cluster.kubeconfig_with("an0ther-s3cret");
    let fact = look(&cluster).await;
    assert_eq!(fact.condition, Condition::Unknown);
    let fault = one(&fact.faults, "401");
    assert!(fault.contains("renew those of the kubeconfig"), "{fault}");
    let driver = services(&cluster, &WEB);
    refused(ensure(&*driver, Goal::Active, 2, 9).await, "401");
    // Renewed, they are used without a restart.
    cluster.kubeconfig();
    reach(&*driver, Goal::Active, 2, 9).await.expect("serves");
}

#[tokio::test]
async fn a_kubeconfig_that_is_none_is_named_and_never_quoted() {
    let cluster = Cluster::with_web(1).await;
    let path = cluster.path("bad").display().to_string();
    let settings = [&WEB[..], &[("kubeconfig_file", path.as_str())]].concat();
    let said = |fact: Fact| {
        assert_eq!(fact.condition, Condition::Unknown);
        format!("{fact:?}")
    };
    let missing = said(seen(&*open("kubernetes", &cluster, &settings)).await);
    assert!(missing.contains("cannot be read"), "{missing}");
    for (text, word) in [
        (format!("{TOKEN}: [\n"), "no kubeconfig"),
        (format!("users: {{token: {TOKEN}}}\n"), "no kubeconfig"),
        (format!("apiVersion: v1\nkind: Config\nusers: []\n# {TOKEN}\n"), "no current context"),
    ] {
        std::fs::write(&path, text).expect("writable");
        let said = said(seen(&*open("kubernetes", &cluster, &settings)).await);
        assert!(said.contains(word), "{word}: {said}");
        assert!(!said.contains(TOKEN), "{said}");
    }
    let no_context = [&WEB[..], &[("context", "nowhere")]].concat();
    let said = said(seen(&*services(&cluster, &no_context)).await);
    assert!(said.contains("no context \\\"nowhere\\\""), "{said}");
}

#[tokio::test]
async fn an_exec_plugin_that_fails_is_named_and_its_output_is_not_shown() {
    let cluster = Cluster::with_web(1).await;
    let path = cluster.path("exec");
    let text = std::fs::read_to_string(cluster.kubeconfig()).expect("readable");
    let token = format!("token: \"{TOKEN}\"");
    let exec = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, interactiveMode: Never, \
         args: [-c, \"echo {TOKEN}; exit 3\"]}}"
    );
    std::fs::write(&path, text.replace(&token, &exec)).expect("writable");
    let path = path.display().to_string();
    let settings = [&WEB[..], &[("kubeconfig_file", path.as_str())]].concat();
    let said = format!("{:?}", seen(&*open("kubernetes", &cluster, &settings)).await);
    assert!(said.contains("exec plugin"), "{said}");
    assert!(!said.contains(TOKEN), "{said}");
}

#[tokio::test]
async fn what_is_forbidden_is_named_and_stops_nothing_else() {
    let cluster = Cluster::with_web(1).await;
    cluster.deployment("api", 1).await;
    let named = [("deployments", "web, api"), ("active_replicas", "2")];
    cluster.spoil("", "deployments/api", u32::MAX, Instead::Status(403, None));
    let driver = services(&cluster, &named);
    let fact = seen(&*driver).await;
    assert_eq!(fact.condition, Condition::Unknown);
    let fault = one(&fact.faults, "deployments/api");
    assert!(fault.contains("403") && fault.contains("give the agent's user a Role"), "{fault}");
    assert_eq!(fact.detail["web"], "1 wanted, 1 available");
    refused(ensure(&*driver, Goal::Active, 2, 9).await, "403");
    assert_eq!(cluster.replicas("web"), 2);
    // A fence that cannot be looked at is no fence.
    cluster.mend();
    cluster.spoil("GET", "/pods", u32::MAX, Instead::Status(403, None));
    refused(ensure(&*driver, Goal::Fenced, 3, 4).await, "/pods");
}

#[tokio::test]
async fn owners_that_cannot_be_seen_are_not_taken_for_none() {
    let cluster = Cluster::with_web(1).await;
    cluster.spoil("", "scaledobjects", u32::MAX, Instead::Status(403, None));
    let driver = services(&cluster, &WEB);
    let fact = seen(&*driver).await;
    assert!(one(&fact.faults, "scaledobjects").contains("403"));
    assert_eq!(fact.condition, Condition::Healthy);
    reach(&*driver, Goal::Active, 2, 9).await.expect("nothing shows that KEDA is there");
    // The HPA that KEDA makes shows it.
    cluster.scaled_object("web", 1, 5);
    refused(ensure(&*driver, Goal::Active, 2, 10).await, "scaledobjects");
    cluster.mend();
    cluster.spoil("", "horizontalpodautoscalers", u32::MAX, Instead::Status(403, None));
    refused(ensure(&*driver, Goal::Active, 2, 10).await, "horizontalpodautoscalers");
    cluster.mend();
    // A cluster without KEDA does not know its objects.
    cluster.spoil("", "scaledobjects", u32::MAX, Instead::Status(404, None));
    cluster.delete("autoscaling/v2", "horizontalpodautoscalers", "keda-hpa-web");
    reach(&*driver, Goal::Active, 2, 11).await.expect("serves");
}

#[tokio::test]
async fn what_passes_is_asked_again_within_the_call() {
    for instead in [
        Instead::Status(429, Some("0")),
        Instead::Status(429, Some("1")),
        Instead::Status(429, None),
        Instead::Status(500, None),
        Instead::Status(503, Some("Wed, 21 Oct 2026 07:28:00 GMT")),
    ] {
        let cluster = Cluster::with_web(2).await;
        cluster.spoil("", "deployments/web", 2, instead.clone());
        let done = ensure(&*services(&cluster, &WEB), Goal::Standby, 2, 9).await;
        done.unwrap_or_else(|error| panic!("{instead:?}: {error}"));
        assert_eq!(cluster.replicas("web"), 1);
    }
}

#[tokio::test]
async fn what_stays_is_a_retry_and_unknown() {
    for (instead, word) in [
        (Instead::Status(429, None), "429"),
        (Instead::Status(500, None), "500"),
        (Instead::Body("<html>It works!</html>"), "not what a Kubernetes API gives"),
        (Instead::Body("{\"kind\":\"Secret\",\"items\":7}"), "not what a Kubernetes API gives"),
        (Instead::Body("{}"), "not what a Kubernetes API gives"),
    ] {
        let cluster = Cluster::with_web(1).await;
        cluster.spoil("", "", u32::MAX, instead);
        let fact = look(&cluster).await;
        assert_eq!(fact.condition, Condition::Unknown, "{word}");
        assert_eq!(fact.faults.len(), 1, "{:?}", fact.faults);
        assert!(fact.faults[0].contains(word), "{:?}", fact.faults);
        let driver = services(&cluster, &WEB);
        for goal in [Goal::Active, Goal::Fenced] {
            retry(ensure(&*driver, goal, 2, 9).await, word);
        }
        cluster.mend();
        reach(&*driver, Goal::Active, 2, 9).await.expect("serves");
    }
}

#[tokio::test]
async fn a_server_that_wants_to_be_left_alone_is() {
    let cluster = Cluster::with_web(1).await;
    cluster.spoil("", "", 1, Instead::Status(429, Some("20")));
    let driver = services(&cluster, &WEB);
    retry(ensure(&*driver, Goal::Active, 2, 9).await, "429");
    let before = cluster.inside().asked.len();
    let text = retry(ensure(&*driver, Goal::Active, 2, 9).await, "left alone");
    assert!(text.contains("s more"), "{text}");
    assert_eq!(cluster.inside().asked.len(), before, "it was asked nothing");
}

#[tokio::test]
async fn a_server_that_says_nothing_holds_no_call() {
    let cluster = Cluster::with_web(1).await;
    cluster.spoil("", "", u32::MAX, Instead::Nothing);
    let began = clock::now();
    let fact = look(&cluster).await;
    assert_eq!(fact.condition, Condition::Unknown);
    assert!(one(&fact.faults, "no answer within 3s").contains(&cluster.url), "{:?}", fact.faults);
    assert!(clock::now().since(began) < Duration::from_millis(4900), "an observation has 5 s");
    retry(ensure(&*services(&cluster, &WEB), Goal::Fenced, 2, 9).await, "no answer within 3s");
    // Nobody listens at all.
    let gone = [&WEB[..], &[("context", "other")]].concat();
    let fact = seen(&*services(&cluster, &gone)).await;
    assert!(one(&fact.faults, "127.0.0.1:1").contains("cannot be reached"), "{:?}", fact.faults);
}

/// Some servers repeat what they were sent.
#[tokio::test]
async fn the_token_is_in_no_text() {
    for code in [400, 401, 403, 404, 409, 422, 429, 500, 503] {
        let cluster = Cluster::with_web(1).await;
        let driver = services(&cluster, &WEB);
        cluster.spoil("", "", u32::MAX, Instead::Status(code, None));
        let error = ensure(&*driver, Goal::Active, 2, 9).await.expect_err("is refused");
        let fact = look(&cluster).await;
        let said = format!("{error} {error:?} {fact:?}");
        assert!(!said.contains(TOKEN), "{code}: {said}");
        assert!(said.contains(&code.to_string()), "{code}: {said}");
    }
}
