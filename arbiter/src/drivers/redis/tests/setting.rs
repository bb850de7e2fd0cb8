//! Settings: what is refused, and with which remedy.

use super::rig::instance;
use crate::drivers::redis::settings::{Settings, Use};
use crate::drivers::{self, DriverError};
use arbiter_core::Fencing;
use std::collections::BTreeMap;

fn read(address: &str, settings: &[(&str, &str)], fencing: Fencing) -> Result<Settings, String> {
    let settings: BTreeMap<String, String> =
        settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    match Settings::read(&"cache-eu".into(), &instance(address, settings, fencing)) {
        Ok(settings) => Ok(settings),
        Err(DriverError::Refused(text)) => Err(text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bad_setting_is_named_with_its_remedy() {
    let at = "127.0.0.1:6379";
    let dir = ("data_dir", "/d");
    for (address, settings, said) in [
        (at, vec![], "data_dir is missing"),
        (at, vec![("data_dir", "d")], "absolute"),
        ("nowhere", vec![dir], "host:port"),
        (at, vec![dir, ("user", "nobody-of-this-name")], "no system user"),
        (at, vec![dir, ("bin", "/nowhere/redis-server")], "name the redis-server"),
        (at, vec![dir, ("role", "queue")], "data or cache"),
        (at, vec![dir, ("role", "cache")], "fence = \"best-effort\""),
        (at, vec![dir, ("acl_user", "arbiter")], "password_file"),
        (at, vec![dir, ("min_replicas_to_write", "-1")], "whole number"),
        (at, vec![dir, ("port", "0")], "host:port"),
        (at, vec![dir, ("checksum_keys", "0")], "checksum_keys"),
    ] {
        let refused = read(address, &settings, Fencing::Required).unwrap_err();
        assert!(refused.contains("cache-eu") && refused.contains(said), "{said}: {refused}");
    }
}

#[test]
fn what_is_not_set_follows_from_what_is() {
    let set = [("data_dir", "/d/x"), ("acl_user", "arbiter"), ("password_file", "/p")];
    let set = read("[::1]:6380", &set, Fencing::Required).unwrap();
    assert_eq!((set.host.as_str(), set.port, set.role), ("::1", 6380, Use::Data));
    assert_eq!(set.config_path().to_str(), Some("/d/x/redis.conf"));
    assert_eq!(set.quarantine_dir.to_str(), Some("/d/x.quarantine"));
    assert_eq!(set.log_file.to_str(), Some("/d/x.log"));
    assert_eq!(set.replication, set.login);
    let cache = [("data_dir", "/d"), ("role", "cache")];
    assert_eq!(read("h:1", &cache, Fencing::BestEffort).unwrap().role, Use::Cache);
}

#[test]
fn an_unknown_setting_is_refused_with_the_known_ones() {
    let settings = BTreeMap::from([("data_dri".to_owned(), "/d".to_owned())]);
    let spec = instance("h:1", settings, Fencing::Required);
    let node = super::rig::Node::new("a", "", &[]);
    let refused = drivers::open(&"g".into(), &"a".into(), &spec, node.host.clone());
    let Err(DriverError::Refused(why)) = refused.map(|_| ()) else { panic!("it opens") };
    assert!(why.contains("\"data_dri\"") && why.contains("data_dir, bin"), "{why}");
}
