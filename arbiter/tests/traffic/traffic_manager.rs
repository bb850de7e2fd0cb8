//! The Traffic Manager driver against a fixture of the published contract, over HTTP.

use super::azure::{Azure, Odd, Quorum};
use super::{activate, creating, naming, open, refused, retry, traffic};
use arbiter::drivers::{Driver, DriverError};
use arbiter_core::{NOTE, RegionId, Terms, Token};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TAG: &str = "arbiter-token-default";

fn driver_of(settings: &BTreeMap<String, String>) -> Result<Box<dyn Driver>, DriverError> {
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    open("traffic-manager", &settings)
}

fn driver(azure: &Azure) -> Box<dyn Driver> {
    driver_of(&azure.settings()).expect("opens")
}

fn held(target: &str, token: &str) -> (Vec<String>, Option<String>) {
    (vec![target.to_owned()], Some(token.to_owned()))
}

/// The profile, and eu active at epoch 1 in it.
async fn written() -> (Azure, Box<dyn Driver>) {
    let azure = Azure::start("eu").await;
    let driver = driver(&azure);
    activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
    (azure, driver)
}

#[tokio::test]
async fn creates_switches_and_refuses_what_is_older() {
    let azure = Azure::start("eu").await;
    let driver = driver(&azure);
    refused(activate(&*driver, 1, 3, &naming("eu")).await, "arbiter traffic adopt dns");
    let fact = traffic(activate(&*driver, 1, 3, &creating("eu")).await.expect("creates"));
    assert_eq!((fact.token, fact.names), (Some(Token::new(1, 3)), Some(RegionId::from("eu"))));
    assert_eq!(azure.held(), held("app-eu.example.test", "1.3"));
    activate(&*driver, 1, 3, &creating("eu")).await.expect("twice is once");
    assert_eq!(azure.inner().puts.len(), 1, "twice is once");
    azure.inner().quorum = Quorum::Says("us", 2);
    let fact = traffic(activate(&*driver, 2, 9, &naming("us")).await.expect("switches"));
    assert_eq!((fact.names, fact.drift.as_str()), (Some(RegionId::from("us")), ""));
    assert_eq!(azure.held(), held("app-us.example.test", "2.9"));
    let last = azure.inner().puts.last().cloned().expect("a profile");
    assert_eq!(last["tags"]["owner"], "shop team");
    assert_eq!(last["properties"]["dnsConfig"]["ttl"], 20);
    let seen = Token::new(2, 9);
    let late = Terms { may_create: true, adopt: true, repair: true, ..naming("eu") };
    let stale = activate(&*driver, 2, 8, &late).await;
    assert!(matches!(stale, Err(DriverError::StaleEpoch { seen: at }) if at == seen), "{stale:?}");
    driver.verify(seen).await.expect("is as it should be");
    assert_eq!(azure.inner().puts.len(), 2);
    azure.kept_the_contract();
}

#[tokio::test]
async fn each_write_follows_the_word_of_a_quorum() {
    let (azure, driver) = written().await;
    let asked = azure.inner().asked.clone();
    let put = asked.iter().position(|what| *what == "put").expect("one");
    assert_eq!(asked[put - 1], "active", "{asked:?}");
    let behind = asked[put..].iter().filter(|what| **what == "get").count();
    assert!(behind >= 3, "it is read back until it stays: {asked:?}");
    for (said, word) in [
        (Quorum::Says("us", 2), "a quorum is at epoch 2"),
        (Quorum::Says("eu", 3), "a quorum is at epoch 3"),
        (Quorum::Refuses("no-quorum"), "503 no-quorum"),
        (Quorum::Refuses("no-leader"), "503 no-leader"),
        (Quorum::Garbage, "as no arbiter does"),
    ] {
        azure.inner().quorum = said;
        let text = retry(activate(&*driver, 2, 7, &naming("eu")).await, word);
        assert!(text.contains("nothing was written"), "{text}");
    }
    assert_eq!(azure.inner().puts.len(), 1);
    // One that says so is enough, whatever became of the others.
    let mut settings = azure.settings();
    let arbiters = format!("http://127.0.0.1:1, {}", azure.url);
    settings.insert("arbiters".to_owned(), arbiters);
    let driver = driver_of(&settings).expect("opens");
    azure.inner().quorum = Quorum::Says("us", 2);
    activate(&*driver, 2, 7, &naming("us")).await.expect("switches");
}

#[tokio::test]
async fn drift_is_seen_and_said() {
    let (azure, driver) = written().await;
    azure.by_hand(|profile| {
        let endpoints = profile["properties"]["endpoints"].as_array_mut().expect("endpoints");
        endpoints[1]["properties"]["endpointStatus"] = json!("Enabled");
    });
    let text = refused(activate(&*driver, 1, 3, &naming("eu")).await, "drift");
    assert!(text.contains("app-us.example.test"), "{text}");
    retry(driver.verify(Token::new(1, 3)).await, "drift");
    let fact = traffic(driver.observe().await.expect("looks"));
    assert!(fact.drift.contains("app-us.example.test"), "{}", fact.drift);
    let repair = Terms { repair: true, ..naming("eu") };
    activate(&*driver, 1, 3, &repair).await.expect("repairs");
    assert_eq!(azure.held(), held("app-eu.example.test", "1.3"));
    // The tag is gone, or is somebody else's.
    for tag in [Value::Null, json!("hello")] {
        azure.by_hand(|profile| match &tag {
            Value::Null => drop(profile["tags"].as_object_mut().expect("tags").remove(TAG)),
            text => profile["tags"][TAG] = text.clone(),
        });
        let text =
            refused(activate(&*driver, 1, 3, &repair).await, "the tag arbiter-token-default");
        assert!(text.contains("arbiter traffic adopt dns"), "{text}");
        let adopt = Terms { adopt: true, ..naming("eu") };
        activate(&*driver, 1, 3, &adopt).await.expect("adopts");
        assert_eq!(azure.held(), held("app-eu.example.test", "1.3"));
    }
    // Azure tells names of tags apart without regard to case.
    azure.by_hand(|profile| {
        let tags = profile["tags"].as_object_mut().expect("tags");
        let token = tags.remove(TAG).expect("it stands there");
        tags.insert(TAG.to_ascii_uppercase(), token);
    });
    activate(&*driver, 1, 3, &naming("eu")).await.expect("is as it should be");
    azure.kept_the_contract();
}

/// Nothing refuses a write that comes late. It is seen.
#[tokio::test]
async fn a_late_write_of_an_older_token_is_seen() {
    let (azure, driver) = written().await;
    let older = azure.inner().profile.clone();
    azure.inner().quorum = Quorum::Says("us", 2);
    activate(&*driver, 2, 9, &naming("us")).await.expect("switches");
    azure.inner().profile = older;
    retry(driver.verify(Token::new(2, 9)).await, "still holds 1.3, not 2.9");
    let fact = traffic(driver.observe().await.expect("looks"));
    assert_eq!(fact.names, Some(RegionId::from("eu")));
    assert!(fact.drift.contains("is 1.3, not 2.9"), "{}", fact.drift);
    activate(&*driver, 2, 9, &naming("us")).await.expect("writes it anew");
    assert_eq!(azure.held(), held("app-us.example.test", "2.9"));
}

#[tokio::test]
async fn it_is_read_back_until_it_stays() {
    let azure = Azure::start("eu").await;
    let driver = driver(&azure);
    let before = azure.inner().profile.clone().expect("one");
    // Reads: the one before the write, then two that show it late.
    azure.inner().shown = [before.clone(), before.clone(), before.clone()].into();
    activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
    assert_eq!(azure.inner().puts.len(), 1);
    // Two servers, of which one does not have it: shown, not shown, shown.
    let (azure, driver) = written().await;
    azure.inner().quorum = Quorum::Says("us", 2);
    let before = azure.inner().profile.clone().expect("one");
    let mut after = before.clone();
    after["tags"][TAG] = json!("2.9");
    after["properties"]["endpoints"][0]["properties"]["endpointStatus"] = json!("Disabled");
    after["properties"]["endpoints"][1]["properties"]["endpointStatus"] = json!("Enabled");
    azure.inner().shown = [before.clone(), after.clone(), after.clone(), before.clone()].into();
    retry(activate(&*driver, 2, 9, &naming("us")).await, "does not stay");
    assert_eq!(azure.inner().puts.len(), 2, "and no second write");
    activate(&*driver, 2, 9, &naming("us")).await.expect("stays now");
    assert_eq!(azure.inner().puts.len(), 2);
    azure.kept_the_contract();
}

/// The answer to a write says nothing of what became of it: that is read.
#[tokio::test]
async fn what_became_of_a_write_is_read() {
    let (azure, driver) = written().await;
    azure.inner().quorum = Quorum::Says("us", 2);
    let fails = Odd::Error(500, "InternalServerError", None);
    azure.inner().puts_odd = [(fails.clone(), false)].into();
    retry(activate(&*driver, 2, 9, &naming("us")).await, "500 InternalServerError");
    assert_eq!(azure.held(), held("app-eu.example.test", "1.3"));
    azure.inner().puts_odd = [(fails, true)].into();
    activate(&*driver, 2, 9, &naming("us")).await.expect("it was made");
    assert_eq!(azure.held(), held("app-us.example.test", "2.9"));
    assert_eq!(azure.inner().puts.len(), 3);
}

#[tokio::test]
async fn what_no_change_mends_is_in_the_way() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 5] = [
        (|profile| profile["properties"]["profileStatus"] = json!("Disabled"), "enable it"),
        (|profile| profile["properties"]["trafficRoutingMethod"] = json!("Subnet"), "Priority"),
        (
            |profile| drop(profile["properties"]["endpoints"].as_array_mut().map(|all| all.pop())),
            "no endpoint with the target app-us.example.test.",
        ),
        (
            |profile| {
                let nested = json!({ "name": "child", "properties": { "minChildEndpoints": 1 } });
                let endpoints = profile["properties"]["endpoints"].as_array_mut();
                endpoints.expect("endpoints").push(nested);
            },
            "\"child\" of the profile has no target",
        ),
        (
            |profile| {
                profile["properties"]["endpoints"][1]["properties"]["target"] =
                    json!("other.example.test");
            },
            "value.us",
        ),
    ];
    for (change, word) in cases {
        let azure = Azure::start("eu").await;
        let driver = driver(&azure);
        azure.by_hand(change);
        let fact = driver.observe().await.expect("looks");
        assert!(fact.obstacles.iter().any(|text| text.contains(word)), "{:?}", fact.obstacles);
        refused(activate(&*driver, 1, 3, &creating("eu")).await, word);
        assert_eq!(azure.inner().puts, Vec::<Value>::new());
    }
}

#[tokio::test]
async fn its_weakness_is_a_note_and_no_fault() {
    let (azure, driver) = written().await;
    let fact = driver.observe().await.expect("looks");
    assert!(fact.detail[NOTE].contains("no If-Match"), "{:?}", fact.detail);
    assert_eq!(fact.faults, Vec::<String>::new());
    let mut settings = azure.settings();
    let federated = azure.file("federated").display().to_string();
    settings.insert("federated_token_file".to_owned(), federated);
    let fact = driver_of(&settings).expect("opens").observe().await.expect("looks");
    assert!(fact.faults[0].contains("client_secret_file says nothing"), "{:?}", fact.faults);
    azure.kept_the_contract();
}

#[test]
fn a_setting_that_is_wrong_is_named() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let good = runtime.block_on(Azure::start("eu")).settings();
    for (key, value, word) in [
        ("management_url", "azure", "management_url"),
        ("authority_host", "https://user:hunter2@login.test", "authority_host"),
        ("arbiters", "https://user:hunter2@10.0.1.1:7401", "arbiters"),
        ("arbiters", " , ", "arbiters"),
        ("client_secret_file", "", "client_secret_file is missing"),
        ("client_secret_file", "azure.secret", "absolute"),
        ("token_name", "a/b", "token_name"),
        ("value.us", "a.test, b.test", "value.us"),
        ("value.eu", "", "value.eu"),
        ("ttl", "soon", "ttl"),
    ] {
        let mut settings = good.clone();
        settings.insert(key.to_owned(), value.to_owned());
        let error = driver_of(&settings).err().unwrap_or_else(|| panic!("{key} {value} opens"));
        let text = refused::<()>(Err(error), word);
        assert!(!text.contains("hunter2"), "{text}");
    }
}
