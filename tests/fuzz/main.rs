//! The kept inputs again, and random ones for [`RANDOM_FOR`]: what `./tests/run fuzz` does for
//! longer, and with an eye on what is reached.

use arbiter::clock;
use arbiter_tests::fuzz::{Counting, Kept, METHODS, TARGETS, kept, random, run, seeds};
use cargo_metadata::{DependencyKind, MetadataCommand};
use prost::Message;
use prost_types::FileDescriptorSet;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;
use std::time::Duration;

#[global_allocator]
static HEAP: Counting = Counting;

/// How long random inputs are fed, all targets together.
const RANDOM_FOR: Duration = Duration::from_secs(30);
/// Longest that one input may take: it is a few kilobytes.
const TOOK_MAX: Duration = Duration::from_secs(2);
/// Most files that are kept, and most bytes of them.
const FILES_MAX: usize = 200;
const BYTES_MAX: usize = 1 << 20;

/// Feed one input; an input that fails is written down, so that it can be kept.
fn feed(one: &Kept) {
    let began = clock::now();
    let ended = catch_unwind(|| run(one.target, &one.bytes));
    let took = clock::now().since(began);
    if ended.is_ok() && took <= TOOK_MAX {
        return;
    }
    let place = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(one.target);
    std::fs::write(&place, &one.bytes).expect("the input can be written");
    panic!(
        "{} fails on {} after {took:?}; the input is {}: once mended, keep it in \
         tests/fuzz/regressions/{}",
        one.target,
        one.name,
        place.display(),
        one.target
    );
}

#[test]
fn every_kept_input_is_taken() {
    let kept = kept();
    let made = seeds();
    kept.iter().chain(&made).for_each(feed);
    for (target, _) in TARGETS {
        let mut all = kept.iter().chain(&made);
        assert!(all.any(|one| one.target == *target), "no input of {target} is kept");
    }
    let bytes: usize = kept.iter().map(|one| one.bytes.len()).sum();
    assert!(kept.len() <= FILES_MAX && bytes <= BYTES_MAX, "{} files, {bytes} bytes", kept.len());
}

/// `ARBITER_FUZZ_SEED=N` feeds what seed N fed.
#[test]
fn random_inputs_are_taken() {
    let set = std::env::var("ARBITER_FUZZ_SEED").ok().and_then(|text| text.parse().ok());
    let seed = set.unwrap_or_else(|| clock::wall().0);
    println!("seed {seed}: ARBITER_FUZZ_SEED={seed} feeds the same again");
    let (mut kept, began) = (kept(), clock::now());
    kept.extend(seeds());
    let mut number = 0;
    while clock::now().since(began) < RANDOM_FOR {
        for (target, _) in TARGETS {
            feed(&random(target, &kept, seed, number));
            number += 1;
        }
    }
    println!("{number} inputs");
}

#[test]
fn seeds_reach_their_targets() {
    let made = seeds();
    for target in ["apply", "directive", "grpc", "handlers", "log", "proposal", "report"] {
        assert!(made.iter().any(|one| one.target == target), "no {target} is made");
    }
}

#[test]
fn a_seed_says_which_inputs_they_are() {
    let kept = kept();
    let bytes = |seed, number| random("redis", &kept, seed, number).bytes;
    assert_eq!(bytes(7, 40), bytes(7, 40));
    let all: BTreeSet<Vec<u8>> = (0..64).map(|number| bytes(7, number)).collect();
    assert!(all.len() > 48, "only {} different inputs of 64", all.len());
}

#[test]
fn every_method_is_fed() {
    let set = FileDescriptorSet::decode(arbiter_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
    let services = set.file.iter().flat_map(|file| &file.service);
    let methods = services.flat_map(|service| {
        service.method.iter().map(|method| format!("{}.{}", service.name(), method.name()))
    });
    let described: BTreeSet<String> = methods.collect();
    let fed: BTreeSet<String> = METHODS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(fed, described, "a method is fed by its line in tests/fuzz/grpc.rs");
}

/// A target is a line of the table, a file for cargo fuzz, and a binary of that name.
#[test]
fn every_target_is_one_of_cargo_fuzz() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/cargo");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
    for (target, _) in TARGETS {
        let file = folder.join(format!("fuzz_targets/{target}.rs"));
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(text.contains(&format!("fuzz::run(\"{target}\"")), "{} calls it", file.display());
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is a binary");
    }
}

/// The packages of a lock file, with the names of what each needs.
fn locked(place: &std::path::Path) -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(place).expect("a lock file");
    let packages = text.split("[[package]]").skip(1).map(|package| {
        let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
        let named = |key: &str| package.lines().find(|line| line.starts_with(key)).map(quoted);
        let name = named("name = ").unwrap_or_default();
        let version = named("version = ").unwrap_or_default();
        let needs = package.lines().filter(|line| line.starts_with(" \"")).map(quoted);
        let first = |need: String| need.split(' ').next().unwrap_or_default().to_owned();
        (format!("{name} {version}"), needs.map(first).collect())
    });
    packages.collect()
}

/// cargo fuzz's crate is none of the workspace, and nothing else reads its lock.
#[test]
fn cargo_fuzz_builds_the_versions_that_everything_else_does() {
    let own = ["arbiter-fuzz ", "arbitrary ", "libfuzzer-sys "];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let whole = locked(&folder.join("../Cargo.lock"));
    let fuzzed = locked(&folder.join("fuzz/cargo/Cargo.lock"));
    let alike =
        |name: &str| own.iter().any(|own| name.starts_with(own)) || whole.contains_key(name);
    let other: Vec<&String> = fuzzed.keys().filter(|name| !alike(name)).collect();
    let mend = "cargo metadata --manifest-path tests/fuzz/cargo/Cargo.toml mends what is missing, \
                cargo update --precise there what is another version";
    assert!(other.is_empty(), "{other:?}: {mend}");
    let offline = ["--offline".to_owned()];
    let metadata = MetadataCommand::new().no_deps().other_options(offline).exec();
    for package in metadata.expect("the workspace's manifests").packages {
        let Some(needs) = fuzzed.get(&format!("{} {}", package.name, package.version)) else {
            continue;
        };
        let always = package
            .dependencies
            .into_iter()
            .filter(|needed| !needed.optional && needed.kind != DependencyKind::Development);
        for needed in always {
            assert!(needs.contains(&needed.name), "{} needs {}: {mend}", package.name, needed.name);
        }
    }
}

#[test]
#[should_panic(expected = "bytes of heap")]
fn an_input_that_takes_too_much_is_seen() {
    arbiter_tests::fuzz::within_heap("nothing", || {
        drop(std::hint::black_box(vec![1u8; 64 << 20]));
    });
}
