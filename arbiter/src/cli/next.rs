//! Every command that a text of ours names is one that the command line takes. Knows the sources as
//! text.

use super::{Cli, Question};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};

/// Where texts for people are made.
const FOLDERS: [&str; 3] = ["src", "core/src", "../cluster-config/src"];
/// What a command ends at, in a text.
const ENDS: [&str; 8] = [",", ";", "`", ")", "\n", " or ", " and ", ": "];
/// What may stand for a value that is filled in: a name or number, a mode, a kind of plan.
const VALUES: [&str; 3] = ["7", "manual", "switchover"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs") && !["tests.rs", "testing.rs", "next.rs"].contains(&&*name)
        {
            found.push(path);
        }
    }
}

/// The string literals of Rust, their escapes resolved; comments and tests left out.
fn literals(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut chars = text.chars().peekable();
    let mut found = Vec::new();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().find(|c| *c == '\n');
            }
            '\'' => {
                // A character, which may be a quote, or a lifetime.
                let mut ahead = chars.clone();
                let first = ahead.next();
                if first == Some('\\') || ahead.next() == Some('\'') {
                    chars.next();
                    chars.by_ref().nth(usize::from(first == Some('\\')));
                }
            }
            '"' => found.push(literal(&mut chars)),
            _ => {}
        }
    }
    found
}

fn literal(chars: &mut std::iter::Peekable<std::str::Chars>) -> String {
    let mut out = String::new();
    while let Some(c) = chars.next().filter(|c| *c != '"') {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
            Some('n') => out.push('\n'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// The commands that a text names, each as words after `arbiter`.
fn commands(text: &str) -> Vec<Vec<String>> {
    let asked = Question::augment_subcommands(clap::Command::new("arbiter"));
    let known: Vec<&str> = asked.get_subcommands().map(clap::Command::get_name).collect();
    let mut found = Vec::new();
    for (at, _) in text.match_indices("arbiter ") {
        let part_of_a_word = |c: char| c.is_alphanumeric() || "-_./".contains(c);
        if text[..at].ends_with(part_of_a_word) {
            continue;
        }
        let rest = &text[at..];
        let end = ENDS.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
        let words: Vec<String> = rest[..end].split_whitespace().skip(1).map(filled).collect();
        let Some(first) = words.first() else { continue };
        let named = known.contains(&first.as_str());
        let filled_in = first == "{}" && words.iter().any(|word| word.starts_with("--"));
        if named || filled_in {
            found.push(words);
        }
    }
    found
}

/// A word with whatever is filled in as `{}`.
fn filled(word: &str) -> String {
    let mut out = String::new();
    let mut depth = 0;
    for c in word.chars() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                out.push_str("{}");
            }
            _ if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

fn parses(words: &[String]) -> bool {
    VALUES.iter().any(|value| {
        let words = words.iter().map(|word| word.replace("{}", value));
        Cli::try_parse_from(std::iter::once("arbiter".to_owned()).chain(words)).is_ok()
    })
}

#[test]
fn every_command_that_is_named_can_be_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut wrong, mut seen) = (Vec::new(), Vec::new(), 0);
    FOLDERS.iter().for_each(|folder| sources(&root.join(folder), &mut files));
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source");
        for words in literals(&text).iter().flat_map(|literal| commands(literal)) {
            seen += 1;
            if !parses(&words) {
                wrong.push(format!("{}: arbiter {}", file.display(), words.join(" ")));
            }
        }
    }
    assert!(seen > 60, "only {seen} commands found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_that_cannot_be_run_is_seen() {
    let text = "let next = \"run: arbiter attest --group {group} --instance {id}; or wait\";";
    let found = literals(text);
    let words = commands(&found[0]);
    assert_eq!(words, [["attest", "--group", "{}", "--instance", "{}"]]);
    assert!(!parses(&words[0]));
    assert!(parses(&commands("see `arbiter mode {wanted} --group {}`")[0]));
    assert!(commands("arbiter {name} is unreachable").is_empty());
}
