//! What is shipped parses, and `reference.toml` is what the schema says.

use arbiter::policy_file;
use std::path::{Path, PathBuf};

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster-config").join(name)
}

fn reference() -> String {
    cluster_config::reference(&policy_file::registry())
}

#[test]
fn every_example_parses() {
    let mut seen = 0;
    for entry in std::fs::read_dir(here("examples")).unwrap() {
        let path = entry.unwrap().path();
        if let Err(faults) = policy_file::load(&path) {
            panic!("{faults}");
        }
        seen += 1;
    }
    assert!(seen >= 3);
}

/// `ARBITER_UPDATE=1 cargo test -p arbiter --test config` writes it anew.
#[test]
fn the_reference_is_fresh() {
    let path = here("reference.toml");
    let wanted = reference();
    if std::env::var_os("ARBITER_UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "reference.toml is stale: run ARBITER_UPDATE=1 cargo test -p arbiter --test config"
    );
}

/// Uncommented, its keys are all known and of the right type.
#[test]
fn the_reference_names_real_keys() {
    let text = reference();
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| is_key(key)) => rest,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let faults = policy_file::parse(&uncommented, "reference.toml").unwrap_err();
    for fault in &faults.0 {
        assert!(!fault.what.contains("unknown"), "{fault}");
        assert!(!fault.what.contains("not TOML"), "{fault}");
        assert!(!fault.remedy.starts_with("write"), "{fault}");
    }
}

fn is_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
