//! A fence is rehearsed by asking whether its writes would be allowed; none is made.

use super::cluster::Cluster;
use super::http::Instead;
use super::{reach, refused, services};
use arbiter_core::Goal;

const ALL: [(&str, &str); 2] = [("deployments", "web, api"), ("cronjobs", "nightly")];

async fn cluster() -> Cluster {
    let cluster = Cluster::with_web(2).await;
    cluster.deployment("api", 1).await;
    cluster.cron_job("nightly");
    cluster.scaled_object("api", 1, 5);
    cluster
}

#[tokio::test]
async fn what_may_be_fenced_is_proven_and_serves_on() {
    let cluster = cluster().await;
    let driver = services(&cluster, &ALL);
    reach(&*driver, Goal::Active, 2, 9).await.expect("serves");
    let before = (cluster.replicas("web"), cluster.replicas("api"));
    let before_it = cluster.inside().asked.len();
    assert_eq!(driver.rehearse_fence().await, Ok(true));
    assert_eq!((cluster.replicas("web"), cluster.replicas("api")), before);
    let asked = cluster.inside().asked.split_off(before_it);
    assert!(asked.iter().all(|one| one.verb != "PATCH" && one.verb != "PUT"), "{asked:?}");
    let reviews = asked.iter().filter(|one| one.path.ends_with("/selfsubjectaccessreviews"));
    // Three of each Deployment, two of the CronJob, one of the ScaledObject, and the pods.
    assert_eq!(reviews.count(), 10, "{asked:?}");
}

#[tokio::test]
async fn each_right_that_a_fence_lacks_is_named() {
    let cluster = cluster().await;
    let driver = services(&cluster, &ALL);
    for (path, said) in [
        ("/deployments/web/scale", "may not patch deployments/scale web in namespace"),
        ("/cronjobs/nightly", "patch cronjobs nightly"),
        ("/scaledobjects/api", "patch scaledobjects api"),
    ] {
        cluster.spoil("PATCH", path, u32::MAX, Instead::Status(403, None));
        refused(driver.rehearse_fence().await, said);
        cluster.mend();
    }
    cluster.spoil("GET", "/pods", u32::MAX, Instead::Status(403, None));
    refused(driver.rehearse_fence().await, "may not list pods in namespace");
    cluster.mend();
    assert_eq!(driver.rehearse_fence().await, Ok(true));
}
