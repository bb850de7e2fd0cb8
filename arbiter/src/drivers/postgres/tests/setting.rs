//! Settings: what is refused, and with which remedy.

use super::rig::instance;
use crate::drivers::DriverError;
use crate::drivers::postgres::settings::Settings;
use std::collections::BTreeMap;

fn refused(address: &str, settings: &[(&str, &str)]) -> String {
    let settings: BTreeMap<String, String> =
        settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    match Settings::read(&"db-eu".into(), &instance(address, settings)) {
        Err(DriverError::Refused(text)) => text,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_bad_setting_is_named_with_its_remedy() {
    let at = "127.0.0.1:5432";
    let missing = refused(at, &[]);
    assert!(missing.contains("db-eu") && missing.contains("data_dir is missing"), "{missing}");
    let word = refused(at, &[("data_dir", "/d"), ("rejoin", "overwrite")]);
    assert!(word.contains("overwrite") && word.contains("rebuild, rewind or refuse"), "{word}");
    let relative = refused(at, &[("data_dir", "d")]);
    assert!(relative.contains("absolute"), "{relative}");
    let address = refused("nowhere", &[("data_dir", "/d")]);
    assert!(address.contains("host:port"), "{address}");
    let user = refused(at, &[("data_dir", "/d"), ("user", "nobody-of-this-name")]);
    assert!(user.contains("no system user"), "{user}");
    let programs = refused(at, &[("data_dir", "/d"), ("bin_dir", "/nowhere")]);
    assert!(programs.contains("no program postgres"), "{programs}");
    let slot = refused(at, &[("data_dir", "/d"), ("slot", "db-us")]);
    assert!(slot.contains("underscores"), "{slot}");
}

#[test]
fn data_of_too_old_a_version_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    for version in ["9.6", "12"] {
        std::fs::write(dir.path().join("PG_VERSION"), format!("{version}\n")).unwrap();
        let old = refused("127.0.0.1:5432", &[("data_dir", &path)]);
        assert!(old.contains(&format!("PostgreSQL {version}'s")), "{old}");
    }
}
