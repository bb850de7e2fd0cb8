//! Whether the nodes could take what serves when active: said before it matters.

use super::cluster::Cluster;
use super::http::Instead;
use super::{one, reach, seen, services};
use arbiter_core::{Fact, Goal};
use serde_json::json;

const WEB: [(&str, &str); 2] = [("deployments", "web"), ("replicas.web", "5")];

/// The fact once nodes and pods were looked at, which nobody waits for.
async fn with_room(cluster: &Cluster, more: &[(&str, &str)]) -> Fact {
    let driver = services(cluster, &[&WEB[..], more].concat());
    seen(&*driver).await;
    cluster
        .until(|cluster| {
            let inside = cluster.inside();
            let asked = |path: &str| inside.asked.iter().filter(|a| a.path == path).count();
            asked("/api/v1/nodes") > 0 && asked("/api/v1/pods") > 0
        })
        .await;
    for _ in 0..1000 {
        let fact = seen(&*driver).await;
        if fact.faults.iter().any(|fault| fault.contains("room")) {
            return fact;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    seen(&*driver).await
}

fn place_pods(cluster: &Cluster) {
    let pods = cluster.store(|store| store.list("v1", "pods", ""));
    for pod in pods {
        let name = pod["metadata"]["name"].as_str().expect("a name").to_owned();
        cluster.change("v1", "pods", &name, false, json!({ "spec": { "nodeName": "a" } }));
    }
}

#[tokio::test]
async fn too_little_room_is_an_obstacle_with_its_numbers() {
    let cluster = Cluster::with_web(1).await;
    cluster.node("a", "2", "8Gi");
    place_pods(&cluster);
    let fact = with_room(&cluster, &[]).await;
    let said = one(&fact.obstacles, "room");
    for part in
        ["Deployment web", "4 more pods", "cpu 500m, memory 1Gi each", "3 fit on the 1 nodes"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("cpu 1500m, memory 7Gi are free"), "{said}");
    assert_eq!(one(&fact.faults, "room"), said, "it shows before it matters");

    let advisory = with_room(&cluster, &[("capacity", "advisory")]).await;
    assert_eq!((advisory.obstacles.len(), advisory.faults.len()), (0, 1));

    cluster.node("b", "1", "8Gi");
    let fact = with_room(&cluster, &[]).await;
    assert_eq!((fact.obstacles.len(), fact.faults.len()), (0, 0), "{:?}", fact.faults);
}

#[tokio::test]
async fn what_is_not_to_be_looked_at_is_not() {
    let cluster = Cluster::with_web(1).await;
    let driver = services(&cluster, &[&WEB[..], &[("capacity", "ignored")]].concat());
    assert_eq!(seen(&*driver).await.faults, Vec::<String>::new());
    assert!(!cluster.inside().asked.iter().any(|asked| asked.path == "/api/v1/nodes"));
}

#[tokio::test]
async fn a_region_that_serves_needs_no_more_room() {
    let cluster = Cluster::with_web(1).await;
    cluster.node("a", "100m", "1Gi");
    let driver = services(&cluster, &WEB);
    reach(&*driver, Goal::Active, 2, 9).await.expect("serves");
    let fact = with_room(&cluster, &[]).await;
    assert_eq!(fact.obstacles, Vec::<String>::new());
}

#[tokio::test]
async fn nodes_that_cannot_be_read_are_said_and_long_lists_are_read_whole() {
    let cluster = Cluster::with_web(1).await;
    cluster.spoil("", "/api/v1/nodes", u32::MAX, Instead::Status(403, None));
    let fact = with_room(&cluster, &[]).await;
    assert!(one(&fact.faults, "room").contains("403"), "{:?}", fact.faults);
    assert_eq!(fact.obstacles, Vec::<String>::new());
    cluster.mend();
    // Seven nodes, two a page: only together they have room.
    cluster.inside().page = 2;
    for node in 0..7 {
        cluster.node(&format!("n{node}"), "600m", "2Gi");
    }
    let fact = with_room(&cluster, &[]).await;
    assert_eq!(fact.faults, Vec::<String>::new());
    let pages = cluster.inside().asked.iter().filter(|a| a.path == "/api/v1/nodes").count();
    assert!(pages >= 4, "{pages}");
}
