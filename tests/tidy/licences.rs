//! Licences of everything that is linked in. Knows SPDX expressions; never a licence's text.

use crate::{none, root};
use cargo_metadata::MetadataCommand;

/// What may be linked into a product under Apache-2.0 without further terms.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Offline machines need only what they build.
const OPTIONS: [&str; 3] = ["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"];

/// Whether an SPDX expression lets us choose allowed licences only.
fn allowed(expression: &str) -> bool {
    let text = expression.replace('/', " OR ");
    let text = text.trim();
    if let Some(parts) = split(text, " OR ") {
        return parts.iter().any(|part| allowed(part));
    }
    if let Some(parts) = split(text, " AND ") {
        return parts.iter().all(|part| allowed(part));
    }
    match text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => allowed(inner),
        None => ALLOWED.contains(&text),
    }
}

/// The parts between `word` outside of parentheses; none where it does not occur there.
fn split<'a>(text: &'a str, word: &str) -> Option<Vec<&'a str>> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0i32, 0);
    for (at, c) in text.char_indices() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth == 0 && at >= from && text[at..].starts_with(word) {
            parts.push(text[from..at].trim());
            from = at + word.len();
        }
    }
    parts.push(text[from..].trim());
    (parts.len() > 1).then_some(parts)
}

#[test]
fn every_dependency_may_be_linked() {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(OPTIONS.map(Into::into))
        .exec()
        .expect("cargo metadata runs");
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let licence = package.license.as_deref().unwrap_or("none");
        if !allowed(licence) {
            wrong.push(format!("{} {}: {licence}", package.name, package.version));
        }
    }
    assert!(metadata.packages.len() > 100, "too few packages seen");
    none("a licence is on the list", &wrong);
}

#[test]
fn our_own_licence_is_there() {
    let text = std::fs::read_to_string(root().join("arbiter/LICENSE")).expect("arbiter/LICENSE");
    assert!(text.contains("Apache License") && text.contains("Version 2.0, January 2004"));
    assert!(text.contains("END OF TERMS AND CONDITIONS"), "the whole text");
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("license = \"Apache-2.0\""));
}

#[test]
fn expressions_are_read() {
    assert!(allowed("MIT OR Apache-2.0") && allowed("MIT/Apache-2.0"));
    assert!(allowed("GPL-3.0-only OR MIT"));
    assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!allowed("MIT AND GPL-3.0-only") && !allowed("GPL-2.0") && !allowed("none"));
    assert!(!allowed("(MIT OR Apache-2.0) AND AGPL-3.0"));
}
