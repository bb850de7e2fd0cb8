//! Lengths of files, functions and lines. Knows rustfmt's layout.

use crate::{Source, none, sources};

/// Lines in a file; golden and generated ones excepted.
const FILE_LINES_MAX: usize = 500;
/// Lines in a function, from its name to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Characters in a line.
const LINE_CHARS_MAX: usize = 100;

fn generated(path: &str) -> bool {
    path.contains("/golden/") || path.ends_with("reference.toml")
}

#[test]
fn files_are_short() {
    let long = sources().into_iter().filter(|file| !generated(&file.path)).filter_map(|file| {
        let count = file.text.lines().count();
        (count > FILE_LINES_MAX).then(|| format!("{}: {count} lines", file.path))
    });
    none("a file has at most 500 lines: split it by what it knows", &long.collect::<Vec<_>>());
}

#[test]
fn lines_are_short() {
    let mut long = Vec::new();
    for file in sources().iter().filter(|file| !generated(&file.path)) {
        let code = [".rs", ".proto", ".md"].iter().any(|end| file.path.ends_with(end));
        for (number, line) in file.lines().filter(|_| code) {
            // A table row, a text in quotes and an address cannot be broken.
            let quoted = file.is_rust() && line.contains('"');
            let whole = quoted || line.starts_with('|') || line.contains("http");
            let table = file.path.ends_with("core/src/steps.rs");
            if line.chars().count() > LINE_CHARS_MAX && !whole && !table {
                long.push(format!("{}:{number}", file.path));
            }
        }
    }
    none("a line has at most 100 characters", &long);
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for file in sources().iter().filter(|file| file.is_rust()) {
        for (number, name, count) in functions(file) {
            if count > FUNCTION_LINES_MAX {
                long.push(format!("{}:{number}: fn {name} has {count} lines", file.path));
            }
        }
    }
    none("a function has at most 70 lines: name its parts", &long);
}

/// Line, name and length of each function.
fn functions(file: &Source) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = declared(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indent}}}");
        // A declaration without a body ends in a semicolon before any brace opens.
        let opens = lines[at..].iter().position(|line| line.ends_with('{') || line.ends_with('}'));
        let ends = lines[at..].iter().position(|line| line.ends_with(';'));
        if ends.is_some_and(|ends| opens.is_none_or(|opens| ends < opens)) {
            continue;
        }
        if let Some(length) = lines[at..].iter().position(|line| *line == closing) {
            found.push((at + 1, name, length + 1));
        }
    }
    found
}

/// The name of the function that a line declares.
fn declared(line: &str) -> Option<String> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let words = ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe", "extern", "\"C\""];
    let modifiers = before.split_whitespace();
    if !modifiers.clone().all(|word| words.contains(&word) || word.starts_with("pub(in")) {
        return None;
    }
    let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[test]
fn long_functions_are_seen() {
    let body = "    let a = 1;\n".repeat(80);
    let text =
        format!("/// Doc.\npub async fn long(\n    a: u8,\n) -> u8 {{\n{body}}}\nfn one() {{}}\n");
    let file = Source { path: "x.rs".into(), text };
    assert_eq!(functions(&file).first(), Some(&(2, "long".to_owned(), 84)));
}
