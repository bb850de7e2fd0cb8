//! Documents that must agree with the code. Knows marks in Markdown and the core's tables.

use crate::{none, root, sources};
use arbiter_core::steps::{Actor, OnFailure, STEPS, Step};
use std::fmt::Write;

/// Words of design §2, in the order of GLOSSARY.md's headings.
const WORDS: &[&str] = &[
    "region",
    "data region",
    "witness",
    "failover group",
    "active",
    "standby",
    "primary",
    "replica",
    "leader",
    "follower",
    "term",
    "epoch",
    "revision",
    "token",
    "arbiter",
    "agent",
    "deadman",
    "resource",
    "driver",
    "layer",
    "lease",
    "fence",
    "evidence",
    "armed",
    "switchover",
    "failover",
    "failback",
    "drill",
    "plan",
    "step",
    "halt",
    "point of no return",
    "mode",
    "healthy",
    "suspect",
    "unreachable",
    "degraded",
    "drift",
    "replication lag",
    "RPO",
    "RTO",
    "split-brain",
    "incarnation",
];

fn document(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|_| panic!("{path} is missing"))
}

fn actor(on: Actor) -> &'static str {
    match on {
        Actor::Leader => "leader",
        Actor::Source => "source",
        Actor::Target => "target",
        Actor::Arbiters => "arbiters",
    }
}

fn failure(on_failure: OnFailure) -> &'static str {
    match on_failure {
        OnFailure::Refuse => "does not open",
        OnFailure::Abort => "abort, resume source",
        OnFailure::NextRow => "next row",
        OnFailure::Halt => "halt",
        OnFailure::RetryThenHalt => "retry, then halt",
        OnFailure::RetryForEver => "back-off without end",
        OnFailure::Degrade => "degraded",
        OnFailure::Never => "–",
    }
}

fn row(step: &Step) -> String {
    let (name, on, makes_true) = (step.name, actor(step.on), step.makes_true);
    let (switchover, failover) = (failure(step.switchover), failure(step.failover));
    format!("| `{name}` | {on} | {makes_true} | {switchover} | {failover} |\n")
}

/// The plan table as documents show it.
fn table() -> String {
    let mut out = String::from(
        "| step | on | makes true | switchover fails | failover fails |\n|---|---|---|---|---|\n",
    );
    for step in STEPS {
        out.push_str(&row(step));
    }
    out
}

/// Replace what stands between the marks; none where the marks are missing.
fn between(text: &str, new: &str) -> Option<String> {
    const MARKS: (&str, &str) = ("<!-- steps -->\n", "<!-- /steps -->");
    let (before, rest) = text.split_once(MARKS.0)?;
    let (_, after) = rest.split_once(MARKS.1)?;
    Some(format!("{before}{}{new}{}{after}", MARKS.0, MARKS.1))
}

/// `ARBITER_UPDATE=1 cargo test -p arbiter-tests --test tidy` writes it anew.
#[test]
fn documents_show_the_plan_table_of_the_core() {
    for path in ["README.md", "arbiter/docs/ARCHITECTURE.md"] {
        let found = document(path);
        let wanted = between(&found, &table()).unwrap_or_else(|| panic!("{path} has no marks"));
        if std::env::var_os("ARBITER_UPDATE").is_some() {
            std::fs::write(root().join(path), &wanted).expect("it can be written");
        }
        assert!(
            document(path) == wanted,
            "{path} shows another plan table: run \
             ARBITER_UPDATE=1 cargo test -p arbiter-tests --no-default-features --test tidy"
        );
    }
}

#[test]
fn the_glossary_has_every_word() {
    let glossary = document("arbiter/docs/GLOSSARY.md").to_lowercase();
    let missing: Vec<String> = WORDS
        .iter()
        .filter(|word| !glossary.contains(&format!("**{}**", word.to_lowercase())))
        .map(|word| word.to_string())
        .collect();
    none("GLOSSARY.md explains each word of the design", &missing);
}

#[test]
fn every_invariant_has_a_sentence_and_code() {
    let architecture = document("arbiter/docs/ARCHITECTURE.md");
    let files = sources();
    let mut wrong = Vec::new();
    for number in 1..=11 {
        let mark = format!("I{number}");
        if !architecture.lines().any(|line| line.starts_with(&format!("| **{mark}** |"))) {
            wrong.push(format!("{mark} has no sentence in ARCHITECTURE.md"));
        }
        let upholds = |line: &str| {
            let Some((_, comment)) = line.split_once("// ") else { return false };
            let words = comment.split(|c: char| !c.is_alphanumeric());
            !line.trim_start().starts_with("//!") && words.take(6).any(|word| word == mark)
        };
        let code = files.iter().filter(|file| file.is_rust() && file.path.starts_with("arbiter/"));
        let mut lines = code.flat_map(|file| file.untested().lines());
        if !lines.any(upholds) {
            wrong.push(format!("no code that upholds {mark} says // {mark}"));
        }
    }
    none("every invariant has a sentence and code that says it", &wrong);
}

#[test]
fn each_decision_has_its_parts() {
    let mut wrong = Vec::new();
    let files = sources();
    let decisions = files.iter().filter(|file| file.path.contains("arbiter/docs/decisions/"));
    let mut count = 0;
    for file in decisions {
        count += 1;
        for part in ["# ", "Status: ", "## Costs"] {
            if !file.text.lines().any(|line| line.starts_with(part)) {
                let mut text = String::new();
                let _ = write!(text, "{} lacks {part:?}", file.path);
                wrong.push(text);
            }
        }
    }
    assert!(count >= 5, "decisions are written down");
    none("a decision says whether it is in force, and what it costs", &wrong);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for file in sources().iter().filter(|file| file.path.ends_with(".md")) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for part in file.text.split("](").skip(1) {
            let Some((target, _)) = part.split_once(')') else { continue };
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            if !root().join(folder).join(target).exists() {
                wrong.push(format!("{}: {target}", file.path));
            }
        }
    }
    none("a link leads to a file", &wrong);
}
