//! What is seen of a pooler, and what of it would break a switchover.

use super::rig::*;
use crate::drivers::DriverError;
use arbiter_core::Condition;

const DATABASES: &str = "[databases]\napp = host=127.0.0.1 port=1\n";

/// The one fault that is seen.
async fn only_fault(pooler: &Pooler) -> String {
    let mut faults = pooler.look().await.faults;
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

#[tokio::test]
async fn a_pooler_that_does_not_run_is_dead_and_one_that_refuses_is_not_known() {
    let mut pooler = Pooler::stopped(DATABASES, "auth_type = plain", &[]);
    assert_eq!(pooler.look().await.condition, Condition::Dead);
    assert!(only_fault(&pooler).await.contains("nobody listens on 127.0.0.1"));
    let refused = pooler.hold().await.unwrap_err();
    assert!(matches!(refused, DriverError::Retry(_)));

    let wrong = pooler.path("wrong");
    std::fs::write(&wrong, "not-the-secret\n").unwrap();
    let right = pooler.path("right");
    std::fs::write(&right, "sesame\n").unwrap();
    let file = pooler.path("databases.ini");
    let with = |path: &std::path::Path| {
        let path = path.display().to_string();
        open(pooler.port, &file, &[("admin_password_file", &path)]).unwrap()
    };
    let (denied, missing, lets) = (with(&wrong), with(&pooler.path("none")), with(&right));
    pooler.driver = lets;
    pooler.run_unasked().await;
    assert_eq!(pooler.look().await.condition, Condition::Healthy);
    assert_eq!(pooler.look().await.faults, Vec::<String>::new());
    pooler.driver = denied;
    let seen = pooler.look().await;
    assert_eq!((seen.condition, seen.writable), (Condition::Unknown, false));
    let fault = only_fault(&pooler).await;
    assert!(fault.contains("admin_password_file") && !fault.contains("not-the"), "{fault}");
    pooler.driver = missing;
    assert!(only_fault(&pooler).await.contains("/none cannot be read"));
}

#[tokio::test]
async fn the_console_is_asked_over_its_socket_where_one_is_set() {
    let mut pooler = Pooler::start(DATABASES, "", &[]).await;
    let dir = pooler.path("").display().to_string();
    let file = pooler.path("databases.ini");
    pooler.driver = open(pooler.port, &file, &[("socket_dir", &dir)]).unwrap();
    assert_eq!(pooler.look().await.faults, Vec::<String>::new());
    pooler.stop();
    pooler.driver = open(pooler.port, &file, &[("socket_dir", "/nonexistent")]).unwrap();
    assert!(only_fault(&pooler).await.contains("nobody listens on /nonexistent/.s.PGSQL."));
}

#[tokio::test]
async fn who_may_not_pause_and_who_waits_too_short_is_told() {
    let endless = Pooler::start(DATABASES, "tcp_keepidle = 0", &[]).await;
    assert!(only_fault(&endless).await.starts_with("tcp_keepidle is not set"));
    let mut pooler = Pooler::start(DATABASES, "query_wait_timeout = 20", &[]).await;
    assert!(only_fault(&pooler).await.contains("query_wait_timeout is 20 s"));
    let file = pooler.path("databases.ini");
    pooler.driver = open(pooler.port, &file, &[("admin_user", "guest")]).unwrap();
    let faults = pooler.look().await.faults;
    assert!(faults.iter().any(|fault| fault.contains("guest may not PAUSE")), "{faults:?}");
    let refused = pooler.hold().await.unwrap_err();
    assert!(refused.to_string().contains("admin access needed"), "{refused}");
    assert!(!pooler.path("databases.ini.arbiter-paused").exists());
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_told() {
    let pooler = Pooler::start(DATABASES, "", &[("databases", "app, gone")]).await;
    assert!(only_fault(&pooler).await.contains("has no entry gone"));
    let fault_of = async |path: &std::path::Path| {
        let driver = open(pooler.port, path, &[]).unwrap();
        driver.look().await.faults.join("\n")
    };
    let file = pooler.path("other.ini");
    assert!(fault_of(&file).await.contains("databases_file"));
    std::fs::write(&file, "[pgbouncer]\n").unwrap();
    assert!(fault_of(&file).await.contains("has no entry in [databases]"));
    std::fs::write(&file, "[databases]\n* = host=127.0.0.1\n").unwrap();
    assert!(fault_of(&file).await.contains("an entry *"));
    std::fs::write(&file, "[databases]\nmine = host=127.0.0.1 port=1\n").unwrap();
    let fault = fault_of(&file).await;
    assert!(fault.contains("says of mine") && fault.contains("pgbouncer.ini"), "{fault}");
}

#[test]
fn a_wrong_setting_is_refused_by_name() {
    let file = std::path::Path::new("/etc/pgbouncer/databases.ini");
    for (key, value, said) in [
        ("databases_file", "databases.ini", "databases_file: give an absolute path"),
        ("databases_file", "", "databases_file is missing"),
        ("server.us-east", "10.0.1.2", "server.us-east is \"10.0.1.2\""),
        ("socket_dir", "run", "socket_dir: give an absolute path"),
        ("admin_password_file", "x", "admin_password_file: give an absolute path"),
    ] {
        let refused = open(6432, file, &[(key, value)]).err().expect("it is refused").to_string();
        assert!(refused.contains("instance pool-eu") && refused.contains(said), "{refused}");
    }
}
