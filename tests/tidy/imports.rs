//! Direction of imports: core <- {raft, drivers, probes} <- {leader, server, agent} <- cli <- main.
//! Knows `crate::` paths and dependency lists.

use crate::{none, root, sources};

/// What a part of `arbiter/src` never names, and why.
const NEVER: &[(&str, &[&str], &str)] = &[
    (
        "tls",
        &["agent", "cli", "drivers", "lab", "leader", "probes", "raft", "server", "wire"],
        "it knows who, and nothing of what",
    ),
    ("clock", &["agent", "cli", "drivers", "lab", "leader", "raft", "server", "wire"], "a leaf"),
    (
        "wire",
        &["agent", "cli", "drivers", "lab", "leader", "probes", "raft", "server"],
        "it only translates",
    ),
    (
        "raft",
        &["agent", "cli", "drivers", "lab", "leader", "probes", "server"],
        "consensus knows not what commands mean",
    ),
    (
        "drivers",
        &["agent", "cli", "lab", "leader", "probes", "raft", "server"],
        "a driver knows one kind of resource",
    ),
    ("probes", &["agent", "cli", "lab", "leader", "raft", "server"], "a probe knows one target"),
    ("leader", &["agent", "cli", "lab"], "it decides for whoever asks"),
    ("server", &["agent", "cli", "lab"], "server and agent meet on the wire only"),
    (
        "agent",
        &["cli", "lab", "leader", "probes", "raft", "server"],
        "server and agent meet on the wire only",
    ),
    ("lab", &["agent", "cli", "leader", "raft", "server"], "it starts the binary"),
];

/// The part of `arbiter/src` that a file belongs to.
fn part(path: &str) -> Option<&str> {
    let below = path.strip_prefix("arbiter/src/")?;
    Some(below.split('/').next()?.trim_end_matches(".rs"))
}

/// Parts that a line of Rust names: `crate::x`, or a name in braces right after `crate::`.
fn named(line: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for after in line.split("crate::").skip(1) {
        let list = after.strip_prefix('{').map_or(after, |list| list);
        let many = after.starts_with('{');
        for item in list.split(',').take(if many { usize::MAX } else { 1 }) {
            let word = item.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_');
            parts.push(word.collect());
        }
    }
    parts
}

#[test]
fn parts_know_only_what_stands_below_them() {
    let mut wrong = Vec::new();
    for file in sources().iter().filter(|file| file.is_rust()) {
        let Some(own) = part(&file.path) else { continue };
        let Some((_, never, why)) = NEVER.iter().find(|(name, ..)| *name == own) else { continue };
        for line in file.untested().lines().filter(|line| !line.trim_start().starts_with("//")) {
            for found in named(line).iter().filter(|found| never.contains(&found.as_str())) {
                wrong.push(format!("{} names {found}: {why}", file.path));
            }
        }
    }
    none("imports go one way", &wrong);
}

/// Only these may name what stands left of them.
const ONLY: &[(&str, &[&str])] = &[
    ("openraft::", &["arbiter/src/raft", "tests/"]),
    ("rocksdb::", &["arbiter/src/raft", "tests/"]),
    (
        "tokio_postgres",
        &[
            "arbiter/src/drivers/pgbouncer",
            "arbiter/src/drivers/postgres",
            "arbiter/src/lab",
            "tests/",
        ],
    ),
    (
        "redis::",
        &[
            "arbiter/src/drivers/redis",
            "arbiter/src/drivers/mod.rs",
            "arbiter/src/fuzzing.rs",
            "tests/fuzz/",
        ],
    ),
    (
        "aws_sdk_route53",
        &["arbiter/src/drivers/aws.rs", "arbiter/src/drivers/dns", "arbiter/tests/traffic"],
    ),
    ("kube::", &["arbiter/src/drivers/kubernetes"]),
    ("k8s_openapi::", &["arbiter/src/drivers/kubernetes", "arbiter/src/drivers/velero"]),
    ("hickory_", &["arbiter/src/drivers/dns", "arbiter/src/dns_client", "arbiter/src/lab"]),
    ("feed_rs::", &["arbiter/src/probes/provider_status"]),
    ("clap::", &["arbiter/src/cli", "arbiter/src/agent/deadman"]),
    ("toml::", &["cluster-config/src"]),
];

#[test]
fn large_dependencies_are_named_in_one_place() {
    let mut wrong = Vec::new();
    for file in sources().iter().filter(|file| file.is_rust() && !file.path.contains("/tidy/")) {
        for (word, places) in ONLY {
            let code = file.text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let names = code.into_iter().any(|line| line.contains(word));
            if names && !places.iter().any(|place| file.path.starts_with(place)) {
                wrong.push(format!("{} names {word}", file.path));
            }
        }
    }
    none("a large dependency is named in one place", &wrong);
}

#[test]
fn the_core_is_pure() {
    let manifest = std::fs::read_to_string(root().join("arbiter/core/Cargo.toml")).unwrap();
    let all = manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split('[').next());
    let dependencies: Vec<&str> = all
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()))
        .collect();
    assert_eq!(dependencies, ["serde", "sha2", "thiserror"], "arbiter-core depends on these only");
    let mut wrong = Vec::new();
    for file in sources().iter().filter(|file| file.path.starts_with("arbiter/core/src")) {
        let untested = file.untested();
        for (at, line) in untested.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in ["async fn", "std::fs", "std::net", "std::thread", "std::env", "println!"] {
                if code.contains(word) && !file.path.contains("/tests") {
                    wrong.push(format!("{}:{}: {word}", file.path, at + 1));
                }
            }
        }
    }
    none("the core has no clock, no I/O and no async", &wrong);
}

#[test]
fn schema_and_wire_know_no_core() {
    for manifest in ["proto/Cargo.toml", "cluster-config/Cargo.toml"] {
        let text = std::fs::read_to_string(root().join(manifest)).unwrap();
        assert!(!text.contains("arbiter-core"), "{manifest} must not depend on the core");
    }
}

#[test]
fn one_file_reads_clocks() {
    let banned = ["Instant::now(", "SystemTime::now(", "clock_gettime("];
    let mut wrong = Vec::new();
    for file in sources().iter().filter(|file| file.is_rust() && !file.path.contains("/tidy/")) {
        for (number, line) in file.lines().filter(|_| file.path != "arbiter/src/clock.rs") {
            let code = line.split("//").next().unwrap_or_default();
            for word in banned.iter().filter(|word| code.contains(**word)) {
                wrong.push(format!("{}:{number}: {word}) — use clock::now()", file.path));
            }
        }
    }
    none("only arbiter/src/clock.rs reads clocks", &wrong);
}

#[test]
fn names_in_braces_are_seen() {
    assert_eq!(named("use crate::raft::Handle;"), ["raft"]);
    assert_eq!(named("use crate::{clock, server::Face};"), ["clock", "server"]);
    assert_eq!(named("let x = crate::leader::run(crate::agent::y());"), ["leader", "agent"]);
}
