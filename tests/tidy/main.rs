//! House rules as tests: lengths, direction of imports, clock bans, words, licences, documents.
//! Knows text and Cargo.toml files; never compiles or runs what it reads.

mod documents;
mod imports;
mod lengths;
mod licences;
mod words;

use std::path::{Path, PathBuf};

/// Folders and files that are never read: built things, what others wrote, inputs of fuzz targets.
const LEFT_OUT: &[&str] = &["target", "Cargo.lock", "LICENSE", "corpus", "regressions"];

/// A text file of the project.
pub struct Source {
    /// Path from the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Its lines, numbered from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// Rust without what follows `#[cfg(test)]`, which the house puts last in a file.
    pub fn untested(&self) -> &str {
        self.text.split("#[cfg(test)]").next().unwrap_or_default()
    }
}

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests stand in the root").to_owned()
}

/// Every text file of the project, in a fixed order.
pub fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    assert!(found.len() > 50, "too few files found under {}", root().display());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<Source>) {
    let entries = std::fs::read_dir(folder).expect("a folder of the project can be read");
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if LEFT_OUT.contains(&name.as_str()) || (name.starts_with('.') && name != ".ci") {
            continue;
        }
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.path().is_dir() {
            walk(&entry.path(), &path, found);
        } else if let Ok(text) = std::fs::read_to_string(entry.path()) {
            found.push(Source { path, text });
        }
    }
}

/// Fail with every offence at once.
#[track_caller]
pub fn none(rule: &str, offences: &[String]) {
    let list = offences.join("\n  ");
    assert!(offences.is_empty(), "{rule}: {} offences\n  {list}", offences.len());
}
