//! The Route 53 driver against moto with strict checks in front: the same contract, the same I7.

use super::moto::{self, Moto};
use super::{activate, creating, naming, open, refused, retry, traffic};
use arbiter::drivers::{Driver, DriverError};
use arbiter_core::{RegionId, Terms, Token};
use aws_sdk_route53::types::{ChangeAction, RrType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const APP: &str = "app.example.test.";
const TXT: &str = "_arbiter.default.example.test.";

fn driver(moto: &Moto, url: &str, zone: &str) -> Box<dyn Driver> {
    driver_of(moto, url, zone, "app.example.test")
}

fn driver_of(moto: &Moto, url: &str, zone: &str, names: &str) -> Box<dyn Driver> {
    let credentials = moto.credentials();
    let settings = [
        ("zone", "example.test"),
        ("name", names),
        ("ttl", "5"),
        ("hosted_zone_id", zone),
        ("name_servers", "192.0.2.53:53"),
        ("endpoint_url", url),
        ("credentials_file", credentials.to_str().expect("text")),
        ("value.eu", "192.0.2.1"),
        ("value.us", "192.0.2.2, 192.0.2.3"),
    ];
    open("route53", &settings).expect("opens")
}

fn values(values: &[&str]) -> Option<(Vec<String>, i64)> {
    Some((values.iter().map(|value| (*value).to_owned()).collect(), 5))
}

#[test]
fn the_front_keeps_the_published_contract() {
    assert_eq!(moto::check().trim(), "ok");
}

#[tokio::test]
async fn creates_switches_and_refuses_what_is_older() {
    let moto = Moto::start(1).await;
    let driver = driver(&moto, &moto.url, &moto.zone);
    refused(activate(&*driver, 1, 3, &naming("eu")).await, "arbiter traffic adopt");
    retry(activate(&*driver, 1, 3, &creating("eu")).await, "name servers");
    let fact = traffic(activate(&*driver, 1, 3, &creating("eu")).await.expect("creates"));
    assert_eq!((fact.token, fact.names), (Some(Token::new(1, 3)), Some(RegionId::from("eu"))));
    assert_eq!(moto.batches().len(), 1, "twice is once");
    activate(&*driver, 2, 9, &naming("us")).await.expect("switches");
    assert_eq!(moto.held(APP, RrType::A).await, values(&["192.0.2.2", "192.0.2.3"]));
    assert_eq!(moto.held(TXT, RrType::Txt).await, values(&["\"2.9\""]));
    let seen = Token::new(2, 9);
    let late = Terms { may_create: true, adopt: true, repair: true, ..naming("eu") };
    let stale = Err(DriverError::StaleEpoch { seen });
    assert_eq!(activate(&*driver, 2, 8, &late).await.map(|_| ()), stale.map(|_: ()| ()));
    driver.verify(seen).await.expect("is as it should be");
    let upserts = moto.batches().iter().any(|b| String::from_utf8_lossy(b).contains("UPSERT"));
    assert!(!upserts);
}

#[tokio::test]
async fn nothing_recorded_is_obeyed() {
    for before in [None, Some("192.0.2.1")] {
        let moto = Moto::start(0).await;
        if let Some(value) = before {
            moto.by_hand(ChangeAction::Create, APP, RrType::A, value, false).await;
        }
        let driver = driver(&moto, &moto.url, &moto.zone);
        let adopt = |region| Terms { adopt: true, ..naming(region) };
        activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
        all_refused(&moto, "at once").await;
        activate(&*driver, 2, 9, &naming("us")).await.expect("switches");
        all_refused(&moto, "after the switch").await;
        moto.by_hand(ChangeAction::Delete, TXT, RrType::Txt, "\"2.9\"", false).await;
        all_refused(&moto, "after the TXT was deleted").await;
        activate(&*driver, 2, 9, &adopt("us")).await.expect("adopts");
        moto.by_hand(ChangeAction::Delete, TXT, RrType::Txt, "\"2.9\"", false).await;
        all_refused(&moto, "after the adopted TXT was deleted").await;
        activate(&*driver, 2, 9, &adopt("us")).await.expect("adopts again");
        activate(&*driver, 3, 4, &naming("eu")).await.expect("switches back");
        moto.by_hand(ChangeAction::Delete, TXT, RrType::Txt, "\"3.4\"", false).await;
        all_refused(&moto, "after forth and back, and the TXT deleted").await;
    }
}

/// Replays each batch of the driver's; what was done by hand is not its.
async fn all_refused(moto: &Moto, when: &str) {
    let before = moto.all().await;
    for (number, batch) in moto.batches().iter().enumerate() {
        if !String::from_utf8_lossy(batch).contains("region arbiter") {
            continue;
        }
        let answer = moto.replay(batch).await;
        let refused = answer.starts_with("HTTP/1.1 400") && answer.contains("InvalidChangeBatch");
        assert!(refused, "batch {number} {when}: {answer}");
    }
    assert_eq!(moto.all().await, before, "{when}");
}

#[tokio::test]
async fn drift_is_seen_and_said() {
    let moto = Moto::start(0).await;
    let driver = driver(&moto, &moto.url, &moto.zone);
    activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
    moto.by_hand(ChangeAction::Upsert, APP, RrType::A, "198.51.100.9", false).await;
    let text = refused(activate(&*driver, 1, 3, &naming("eu")).await, "drift");
    assert!(text.contains("198.51.100.9"), "{text}");
    let fact = traffic(driver.observe().await.expect("looks"));
    assert!(fact.drift.contains("198.51.100.9"), "{}", fact.drift);
    let repair = Terms { repair: true, ..naming("eu") };
    activate(&*driver, 1, 3, &repair).await.expect("repairs");
    assert_eq!(moto.held(APP, RrType::A).await, values(&["192.0.2.1"]));
    moto.by_hand(ChangeAction::Delete, APP, RrType::A, "192.0.2.1", false).await;
    moto.by_hand(ChangeAction::Create, APP, RrType::A, "192.0.2.1", true).await;
    refused(activate(&*driver, 2, 3, &naming("us")).await, "plain records");
    moto.by_hand(ChangeAction::Delete, APP, RrType::A, "192.0.2.1", true).await;
    moto.by_hand(ChangeAction::Create, APP, RrType::Cname, "x.test.", false).await;
    refused(activate(&*driver, 2, 3, &naming("us")).await, "CNAME");
}

#[tokio::test]
async fn a_fault_is_said_without_a_secret() {
    let moto = Moto::start(0).await;
    let unknown = driver(&moto, &moto.url, "Z0000000000000");
    refused(unknown.observe().await, "NoSuchHostedZone");
    let down = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", down.local_addr().expect("an address"));
    drop(down);
    retry(driver(&moto, &url, &moto.zone).observe().await, "Route 53");
    for (status, code, refuses) in [
        ("403 Forbidden", "AccessDenied", true),
        ("403 Forbidden", "SignatureDoesNotMatch", true),
        ("400 Bad Request", "Throttling", false),
        ("503 Unavailable", "ServiceUnavailable", false),
    ] {
        let url = answering(status, code).await;
        let result = driver(&moto, &url, &moto.zone).observe().await;
        let text = if refuses { refused(result, code) } else { retry(result, code) };
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// Three questions make a read here: begun anew at each refusal, it would never be whole.
#[tokio::test]
async fn a_throttled_question_is_asked_again_and_not_the_whole_read() {
    let moto = Moto::start(0).await;
    let names = "app.example.test, api.example.test";
    let driver = driver_of(&moto, &moto.url, &moto.zone, names);
    activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
    moto.throttle();
    activate(&*driver, 2, 9, &naming("us")).await.expect("switches");
    let fact = traffic(driver.verify(Token::new(2, 9)).await.expect("is as it should be"));
    assert_eq!((fact.names, fact.drift.as_str()), (Some(RegionId::from("us")), ""));
}

/// A server that answers each request with one error.
async fn answering(status: &str, code: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let body = format!(
        "<ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Error>\
         <Type>Sender</Type><Code>{code}</Code><Message>The canonical string was hunter2</Message>\
         </Error><RequestId>1</RequestId></ErrorResponse>"
    );
    let body = if code.contains("Signature") { body } else { body.replace("hunter2", "sent") };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 8192];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}
