//! Clients are held back, none of them sees an error, and what an operator paused stays so.

use super::rig::*;
use crate::drivers::{Driver, DriverError};
use arbiter_core::{Condition, Goal, Terms, Token};
use std::time::Duration;

#[tokio::test]
async fn clients_wait_for_the_transactions_of_others_and_go_on_at_the_new_primary() {
    let (old, new) = (Server::start().await, Server::start().await);
    let pooler = Pooler::start(&databases(&old, &["app", "two"]), "", &[]).await;
    let (busy, waiting) = (pooler.client("app").await, pooler.client("app").await);
    assert_eq!(first(&waiting, WHO).await, Ok(old.port.to_string()));
    first(&busy, "BEGIN; CREATE TABLE t (id int)").await.unwrap();

    let mut query = None;
    let ends = async {
        until("app is paused", async || pooler.paused("app").await).await;
        query = Some(tokio::spawn(async move { first(&waiting, WHO).await }));
        first(&busy, "INSERT INTO t VALUES (1)").await.expect("a transaction goes on");
        assert_eq!(pooler.look().await.condition, Condition::Stopped);
        first(&busy, "COMMIT").await.expect("and ends");
    };
    let (held, ()) = tokio::join!(pooler.hold(), ends);
    let query = query.expect("it was asked");
    let facts = held.unwrap().facts;
    assert_eq!((facts.condition, facts.writable), (Condition::Stopped, false));
    assert_eq!(facts.faults, Vec::<String>::new());
    assert_eq!(pooler.read("databases.ini.arbiter-paused"), "app\ntwo\n");
    assert!(!query.is_finished(), "it is held back");
    let held = pooler.driver.session().await.unwrap().databases().await.unwrap();
    assert!(held.values().all(|row| row.connections == 0), "{held:?}");
    pooler.hold().await.expect("twice is once");

    let led = pooler.lead(&new.terms()).await.unwrap().facts;
    assert_eq!((led.condition, led.writable), (Condition::Healthy, true));
    assert_eq!(led.detail["leads_to"], new.address());
    assert_eq!(query.await.unwrap(), Ok(new.port.to_string()), "no error, and the new primary");
    assert_eq!(first(&busy, WHO).await, Ok(new.port.to_string()));
    assert!(!pooler.path("databases.ini.arbiter-paused").exists());
    assert_eq!(pooler.read("databases.ini"), databases(&new, &["app", "two"]), "all else stays");
    pooler.lead(&new.terms()).await.expect("twice is once");
}

#[tokio::test]
async fn who_gives_up_lets_clients_go_on_where_they_were() {
    let server = Server::start().await;
    let pooler = Pooler::start(&databases(&server, &["app"]), "", &[]).await;
    let (busy, waiting) = (pooler.client("app").await, pooler.client("app").await);
    first(&busy, "BEGIN; SELECT 1").await.unwrap();
    // Longer than a command of the console may take: that it was given up says nothing.
    let attempt = tokio::time::timeout(Duration::from_millis(2500), pooler.hold()).await;
    assert!(attempt.is_err(), "a transaction is open");
    assert!(pooler.paused("app").await, "dropped, it stays so");
    let query = tokio::spawn(async move { first(&waiting, WHO).await });
    pooler.lead(&Terms::default()).await.unwrap();
    assert_eq!(query.await.unwrap(), Ok(server.port.to_string()));
    first(&busy, "COMMIT").await.unwrap();
    assert_eq!(pooler.read("databases.ini"), databases(&server, &["app"]));
    pooler.hold().await.unwrap();
    assert_eq!(pooler.look().await.condition, Condition::Stopped);
}

#[tokio::test]
async fn what_somebody_else_paused_is_never_resumed() {
    let (old, new) = (Server::start().await, Server::start().await);
    let pooler = Pooler::start(&databases(&old, &["app", "two"]), "", &[]).await;
    pooler.operator("PAUSE two").await;
    let seen = pooler.look().await;
    assert_eq!((seen.condition, seen.writable), (Condition::Healthy, true));
    assert!(seen.faults.iter().any(|f| f.contains("two was paused by somebody")), "{seen:?}");
    pooler.hold().await.unwrap();
    assert_eq!(pooler.read("databases.ini.arbiter-paused"), "app\n");
    pooler.lead(&new.terms()).await.unwrap();
    assert_eq!((pooler.paused("app").await, pooler.paused("two").await), (false, true));
    pooler.operator("RESUME two").await;
    let client = pooler.client("two").await;
    assert_eq!(first(&client, WHO).await, Ok(new.port.to_string()), "it is led all the same");
}

#[tokio::test]
async fn a_pooler_that_is_paused_as_a_whole_is_not_ours_to_resume() {
    let server = Server::start().await;
    let pooler = Pooler::start(&databases(&server, &["app"]), "", &[]).await;
    let client = pooler.client("app").await;
    first(&client, WHO).await.unwrap();
    pooler.operator("PAUSE").await;
    let refused = pooler.hold().await.unwrap_err();
    assert!(matches!(&refused, DriverError::Retry(why) if why.contains("paused")), "{refused}");
    assert!(!pooler.path("databases.ini.arbiter-paused").exists(), "nothing was paused by us");
    let query = tokio::spawn(async move { first(&client, WHO).await });
    pooler.lead(&server.terms()).await.unwrap();
    assert!(!pooler.operator("SHOW VERSION").await.is_empty());
    assert!(!query.is_finished(), "the operator's pause stands");
    pooler.operator("RESUME").await;
    assert_eq!(query.await.unwrap(), Ok(server.port.to_string()));
}

#[tokio::test]
async fn a_pooler_that_was_restarted_is_held_again() {
    let server = Server::start().await;
    let mut pooler = Pooler::start(&databases(&server, &["app"]), "", &[]).await;
    pooler.hold().await.unwrap();
    pooler.stop();
    pooler.run().await;
    let seen = pooler.look().await;
    assert_eq!((seen.condition, seen.writable), (Condition::Healthy, true), "it forgets a pause");
    pooler.hold().await.unwrap();
    assert!(!pooler.look().await.writable);
    pooler.lead(&server.terms()).await.unwrap();
    assert!(!pooler.paused("app").await);
}

#[tokio::test]
async fn clients_of_a_session_pool_are_not_waited_for() {
    let server = Server::start().await;
    let all = databases(&server, &["app", "two"]).replacen("=5\n", "=5 pool_mode=session\n", 1);
    let pooler = Pooler::start(&all, "", &[]).await;
    let refused = pooler.hold().await.unwrap_err();
    let said = "database app has pool_mode session";
    assert!(matches!(&refused, DriverError::Refused(why) if why.contains(said)), "{refused}");
    assert!(!pooler.paused("two").await, "nobody is held back for nothing");
    let faults = pooler.look().await.faults;
    assert!(faults.len() == 1 && faults[0].contains(said), "{faults:?}");
    let other = Pooler::start(&all, "", &[("databases", "two")]).await;
    other.hold().await.expect("app is not led");
    assert_eq!((other.paused("app").await, other.paused("two").await), (false, true));
}

#[tokio::test]
async fn a_pooler_is_no_server() {
    let pooler = Pooler::stopped("[databases]\napp = host=x\n", "", &[]);
    for goal in [Goal::Standby, Goal::Fenced] {
        let done = pooler.driver.ensure(goal, Token::new(2, 7), &Terms::default()).await;
        assert!(matches!(done, Err(DriverError::Refused(_))), "{goal}");
    }
}
