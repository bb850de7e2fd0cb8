//! Words: what is never said to users, and what never stays in code.

use crate::{Source, none, sources};

/// The worst of the refused synonyms, with the word to use.
const REFUSED: &[(&str, &str)] = &[
    ("master", "primary, leader or active region"),
    ("slave", "replica"),
    ("primary region", "active region"),
    ("secondary region", "standby region"),
    ("dr site", "standby region"),
    ("tiebreaker", "witness"),
    ("arbitrator", "witness"),
    ("cutover", "switch traffic"),
    ("takeover", "failover"),
    ("planned failover", "switchover"),
    ("dual-primary", "split-brain"),
    ("unfence", "lift the fence"),
    ("stonith", "power-off"),
    ("foreign edit", "drift"),
    ("game day", "drill"),
    ("maintenance mode", "mode observe"),
];

/// Sources whose string literals reach users: events, refusals, errors.
const SPEAKING: &[&str] = &[
    "arbiter/core/src/",
    "arbiter/src/drivers/",
    "arbiter/src/leader/",
    "arbiter/src/node/",
    "arbiter/src/raft/",
    "arbiter/src/server/",
];

/// Where a protocol's own words are read and said.
const PROTOCOL: &[&str] = &["arbiter/src/drivers/redis/info.rs"];

/// The parts of a line that are string literals, as far as one line shows them: words between
/// quotes, and all of one that goes on from the line before.
fn quoted(line: &str) -> String {
    let code = line.split("//").next().unwrap_or_default();
    if !code.contains('"') {
        let text = code.trim();
        let goes_on = text.ends_with('\\');
        return if goes_on { text.to_owned() } else { String::new() };
    }
    code.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" ")
}

/// What users read: documents, help texts and rendered answers, the reference.
fn read_by_users(path: &str) -> bool {
    let glossary = path.ends_with("GLOSSARY.md");
    let document = path.ends_with(".md") && !path.contains("/decisions/");
    let help = path.starts_with("arbiter/src/cli/") || path.starts_with("cluster-config/");
    (document || help) && !glossary
}

#[test]
fn refused_words_are_not_used() {
    let mut wrong = Vec::new();
    let foreign = |path: &str| PROTOCOL.contains(&path);
    let speaks =
        |path: &str| !foreign(path) && SPEAKING.iter().any(|folder| path.starts_with(folder));
    for file in sources().iter().filter(|file| read_by_users(&file.path) || speaks(&file.path)) {
        for (number, line) in file.lines() {
            let line = if speaks(&file.path) { quoted(line) } else { line.to_owned() };
            let line = line.to_lowercase();
            for (word, instead) in REFUSED {
                let hit = line.match_indices(word).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    // "unfenced" is a state, and allowed; "unfence" as a verb is not.
                    let after = line[at + word.len()..].chars().next();
                    !before.is_some_and(char::is_alphanumeric)
                        && !after.is_some_and(char::is_alphanumeric)
                });
                if hit {
                    wrong.push(format!("{}:{number}: {word:?}; say {instead}", file.path));
                }
            }
        }
    }
    none("words come from GLOSSARY.md", &wrong);
}

#[test]
fn nothing_unfinished_stays() {
    // Split, so that this file does not offend.
    let banned = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("dbg", "!("),
        concat!("to", "do!("),
        concat!("unimplement", "ed!("),
    ];
    let mut wrong = Vec::new();
    for file in sources() {
        for (number, line) in file.lines() {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}:{number}: {word}", file.path));
            }
        }
    }
    none("nothing unfinished stays on main", &wrong);
}

#[test]
fn no_path_of_a_machine_stays() {
    let banned = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut wrong = Vec::new();
    for file in sources() {
        for (number, line) in file.lines() {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}:{number}: {word}", file.path));
            }
        }
    }
    none("no path of one machine stays in the project", &wrong);
}

#[test]
fn every_module_says_what_it_knows() {
    let written = |file: &Source| file.is_rust() && !file.text.trim().is_empty();
    let silent = sources().into_iter().filter(written);
    let silent = silent.filter_map(|file| {
        let first = file.text.lines().find(|line| !line.is_empty() && !line.starts_with("#!["));
        let says = first.is_some_and(|line| line.starts_with("//! ") && line.len() > 12);
        (!says).then_some(file.path)
    });
    none("a file begins with //! and what it knows", &silent.collect::<Vec<_>>());
}
