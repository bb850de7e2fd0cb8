//! Those who ask who is active: load balancers with the examples of `deploy/pull`, and the driver
//! of Traffic Manager before it writes.

use super::azure::Azure;
use super::trio::{NAMES, Trio, until};
use arbiter::drivers::{self, Command, Driver, DriverError, Holder, Output};
use arbiter_core::{Control, Fencing, Goal, Instance, Layer, RegionId, Terms, Token};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// GET: status and JSON body; 0 where nobody answers.
async fn get(url: &str) -> (u16, Value) {
    arbiter::tls::install();
    match reqwest::get(url).await {
        Ok(answer) => (answer.status().as_u16(), answer.json().await.unwrap_or_default()),
        Err(_) => (0, Value::Null),
    }
}

/// An example, as Terraform reads it.
fn example(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/pull").join(name);
    let text = std::fs::read_to_string(path).expect("it is there");
    serde_json::from_str::<Value>(&text).expect("it is JSON")["resource"].take()
}

/// Whoever asks again and again hears that no quorum answers, and never 200 after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_balancer_hears_that_there_is_no_quorum() {
    let (mut trio, mut eu, _us) = Trio::active().await;
    eu.answered().await;
    let alone = trio.leader();
    let url = trio.http(&alone, "/v1/groups/default/regions/eu-west/active");
    assert_eq!(get(&url).await.0, 200);
    let end = Arc::new(AtomicBool::new(false));
    let ended = end.clone();
    let asking = tokio::spawn(async move {
        let mut heard = Vec::new();
        while !ended.load(Ordering::SeqCst) {
            let (code, body) = get(&url).await;
            heard.push((code, body["reason"].as_str().unwrap_or_default().to_owned()));
        }
        heard
    });
    for name in trio.followers() {
        trio.stop_node(name).await;
    }
    let url = trio.http(&alone, "/v1/groups/default/regions/eu-west/active");
    until("it says 503", async || get(&url).await.0 == 503).await;
    end.store(true, Ordering::SeqCst);
    let heard = asking.await.expect("it asked");
    let first = heard.iter().position(|(code, _)| *code != 200).expect("it heard");
    assert_eq!(heard[first], (503, "no-quorum".to_owned()), "{:?}", &heard[first..]);
    assert!(heard[first..].iter().all(|(code, _)| *code == 503), "{:?}", &heard[first..]);
}

/// The paths that the examples let both clouds probe, and the codes that count there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_examples_probe_says_which_region_is_active() {
    let checks = example("route53.tf.json")["aws_route53_health_check"].take();
    let checks = checks.as_object().expect("checks").values();
    let mut probed: Vec<String> =
        checks.filter_map(|check| check["resource_path"].as_str()).map(str::to_owned).collect();
    let mut tables = example("traffic-manager.tf.json");
    let profiles = tables["azurerm_traffic_manager_profile"].take();
    let children = tables["azurerm_traffic_manager_nested_endpoint"].take();
    for (name, child) in children.as_object().expect("endpoints") {
        let of = format!("${{azurerm_traffic_manager_profile.{name}.id}}");
        assert_eq!(child["target_resource_id"], of.as_str());
        assert_eq!(child["minimum_child_endpoints"], 1);
        let monitor = &profiles[name]["monitor_config"][0];
        assert_eq!(monitor["expected_status_code_ranges"], serde_json::json!(["200-200"]));
        probed.push(monitor["path"].as_str().expect("a path").to_owned());
    }
    assert_eq!(probed.len(), 8);
    let (trio, _eu, _us) = Trio::active().await;
    for path in probed {
        let active = path.contains("/eu-west/");
        for name in NAMES {
            let (code, body) = get(&trio.http(name, &path)).await;
            assert_eq!((code == 200, active), (active, code == 200), "{path}: {code} {body}");
            assert!(active || code == 503 && body["reason"] == "not-active", "{path}: {body}");
        }
    }
}

struct Nobody;

#[async_trait::async_trait]
impl Holder for Nobody {
    async fn run(&self, _: &Command) -> Result<Output, DriverError> {
        Err(DriverError::Refused("nobody".to_owned()))
    }
    async fn start(&self, _: &Command, _: bool) -> Result<(), DriverError> {
        Err(DriverError::Refused("nobody".to_owned()))
    }
    fn processes(&self) -> Result<Vec<i32>, DriverError> {
        Ok(Vec::new())
    }
    async fn kill(&self) -> Result<(), DriverError> {
        Ok(())
    }
    fn armed(&self) -> bool {
        false
    }
    fn gate_dir(&self) -> PathBuf {
        PathBuf::new()
    }
}

fn driver(azure: &Azure, trio: &Trio) -> Box<dyn Driver> {
    let mut settings: BTreeMap<String, String> = azure.settings();
    for (from, to) in [("value.eu", "value.eu-west"), ("value.us", "value.us-east")] {
        let value = settings.remove(from).expect("it is set");
        settings.insert(to.to_owned(), value);
    }
    let arbiters = NAMES.map(|name| trio.http(name, ""));
    settings.insert("arbiters".to_owned(), arbiters.join(", "));
    let instance = Instance {
        resource: "dns".into(),
        region: "eu-west".into(),
        agent: "agent-eu".into(),
        kind: "traffic-manager".to_owned(),
        layer: Layer::Traffic,
        fencing: Fencing::BestEffort,
        control: Control::Api,
        evidence: Default::default(),
        waits: false,
        address: String::new(),
        settings,
    };
    let opened = drivers::open(&"default".into(), &"dns-eu".into(), &instance, Arc::new(Nobody));
    opened.expect("opens")
}

/// What real arbiters say allows a write to Traffic Manager, or does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_is_written_by_the_word_of_real_arbiters_only() {
    let (mut trio, mut eu, _us) = Trio::active().await;
    eu.answered().await;
    let azure = Azure::start("nowhere").await;
    let driver = driver(&azure, &trio);
    let activate = async |region: &str, epoch: u64| {
        let names = Some(RegionId::from(region));
        let terms = Terms { names, may_create: true, ..Terms::default() };
        driver.ensure(Goal::Active, Token::new(epoch, 1), &terms).await.map(|_| ())
    };
    let refused = |result: Result<(), DriverError>, word: &str| match result {
        Err(DriverError::Retry(text)) => assert!(text.contains(word), "{text}"),
        other => panic!("not refused: {other:?}"),
    };
    refused(activate("us-east", 1).await, "does not say that us-east is active");
    refused(activate("eu-west", 2).await, "a quorum is at epoch 1");
    assert!(azure.inner().puts.is_empty());
    activate("eu-west", 1).await.expect("a quorum says so");
    assert_eq!(azure.inner().puts.len(), 1);
    let alone = trio.leader();
    for name in trio.followers() {
        trio.stop_node(name).await;
    }
    // By hand, so that there is something to write.
    azure.by_hand(|profile| profile["tags"].as_object_mut().expect("tags").clear());
    let url = trio.http(&alone, "/v1/groups/default/regions/eu-west/active");
    until("no quorum is left", async || get(&url).await.0 == 503).await;
    tokio::time::timeout(Duration::from_secs(60), async {
        refused(activate("eu-west", 1).await, "no arbiter confirms that eu-west is active");
    })
    .await
    .expect("it ends");
    assert_eq!(azure.inner().puts.len(), 1);
}
