//! Clients are led to whom an order names, or it is said why not.

use super::rig::*;
use crate::drivers::DriverError;
use arbiter_core::Terms;
use nix::sys::stat::stat;

#[tokio::test]
async fn a_region_has_its_own_place_where_one_is_set() {
    let (old, new) = (Server::start().await, Server::start().await);
    let set = [("server.us-east", &*new.address())];
    let pooler = Pooler::start(&databases(&old, &["app"]), "", &set).await;
    let client = pooler.client("app").await;
    assert_eq!(first(&client, WHO).await, Ok(old.port.to_string()));
    let before = stat(&pooler.path("databases.ini")).unwrap();
    let elsewhere = Terms { upstream: "10.9.9.9:5432".into(), ..new.terms() };
    pooler.lead(&elsewhere).await.unwrap();
    // Nobody was held back: what is idle is connected anew, and sees no error.
    assert_eq!(first(&client, WHO).await, Ok(new.port.to_string()));
    let after = stat(&pooler.path("databases.ini")).unwrap();
    assert_eq!(
        (after.st_uid, after.st_gid, after.st_mode),
        (before.st_uid, before.st_gid, before.st_mode)
    );
}

#[tokio::test]
async fn an_agent_that_died_between_file_and_reload_is_made_up_for() {
    let (old, new) = (Server::start().await, Server::start().await);
    let pooler = Pooler::start(&databases(&old, &["app"]), "", &[]).await;
    std::fs::write(pooler.path("databases.ini"), databases(&new, &["app"])).unwrap();
    let faults = pooler.look().await.faults;
    assert!(faults.iter().any(|fault| fault.contains("RELOAD")), "{faults:?}");
    pooler.lead(&new.terms()).await.unwrap();
    assert_eq!(pooler.look().await.faults, Vec::<String>::new());
    let client = pooler.client("app").await;
    assert_eq!(first(&client, WHO).await, Ok(new.port.to_string()));
}

#[tokio::test]
async fn whom_to_lead_to_is_never_guessed() {
    let pooler = Pooler::start("[databases]\napp = host=127.0.0.1 port=1\n", "", &[]).await;
    let nowhere = Terms { names: Some("us-east".into()), ..Terms::default() };
    let refused = pooler.lead(&nowhere).await.unwrap_err();
    assert!(
        matches!(&refused, DriverError::Refused(why) if why.contains("set pools")),
        "{refused}"
    );
    assert!(pooler.read("databases.ini").contains("port=1\n"));
}

#[tokio::test]
async fn a_file_that_pgbouncer_does_not_read_is_told() {
    let databases = "[databases]\napp = host=127.0.0.1 port=1\n";
    let pooler = Pooler::start(databases, "", &[]).await;
    let other = pooler.path("other.ini");
    std::fs::write(&other, databases).unwrap();
    let driver = open(pooler.port, &other, &[]).unwrap();
    let terms =
        Terms { upstream: "127.0.0.1:2".into(), names: Some("us-east".into()), ..Terms::default() };
    let refused = driver.lead(&terms).await.unwrap_err();
    let said = |why: &str| why.contains("does not read") && why.contains("other.ini");
    assert!(matches!(&refused, DriverError::Refused(why) if said(why)), "{refused}");
}

#[tokio::test]
async fn whoever_leads_clients_away_from_what_was_ordered_is_told_of() {
    let server = Server::start().await;
    let pooler = Pooler::start(&databases(&server, &["app"]), "", &[]).await;
    pooler.lead(&server.terms()).await.unwrap();
    assert_eq!(pooler.look().await.faults, Vec::<String>::new());
    let away = "[databases]\napp = host=127.0.0.1 port=1\n";
    std::fs::write(pooler.path("databases.ini"), away).unwrap();
    pooler.operator("RELOAD").await;
    let faults = pooler.look().await.faults;
    let said = format!("clients of app are not led to {}", server.address());
    assert!(faults.len() == 1 && faults[0].starts_with(&said), "{faults:?}");
}
