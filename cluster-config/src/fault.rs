//! Faults of a configuration, each with its place. Knows lines and keys; never what a key means.

use std::collections::BTreeMap;
use std::fmt;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file as the caller named it.
    pub file: String,
    /// Line, from 1; 1 where it is about the file as a whole.
    pub line: usize,
    /// Dotted path of the key, such as `groups.default.rpo`.
    pub key: String,
    /// What is wrong, with the values.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, key, what, remedy } = self;
        write!(f, "{file}:{line}: {key}: {what} — {remedy}")
    }
}

/// All faults of a file, in its order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    pub(crate) fn one(file: &str, what: String, remedy: &str) -> Self {
        let (file, key, remedy) = (file.to_owned(), "file".to_owned(), remedy.to_owned());
        Self(vec![Fault { file, line: 1, key, what, remedy }])
    }
}

impl fmt::Display for Faults {
    /// A line a fault, then their number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "{fault}")?;
        }
        let count = self.0.len();
        write!(f, "{count} fault{}; nothing was started", if count == 1 { "" } else { "s" })
    }
}

/// Collects faults, and knows the line of each key that was seen.
pub(crate) struct Book<'a> {
    text: &'a str,
    file: String,
    places: BTreeMap<String, usize>,
    faults: Vec<Fault>,
    /// Text that is not TOML was found: what is missing may only be unreadable.
    pub(crate) broken: bool,
}

impl<'a> Book<'a> {
    pub(crate) fn new(text: &'a str, file: &str) -> Self {
        let (places, faults) = (BTreeMap::new(), Vec::new());
        Self { text, file: file.to_owned(), places, faults, broken: false }
    }

    /// Remember where a key stands.
    pub(crate) fn place(&mut self, path: &str, offset: usize) {
        let line = self.line_at(offset);
        self.places.entry(path.to_owned()).or_insert(line);
    }

    /// Whether the file has this key.
    pub(crate) fn knows(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    pub(crate) fn line_at(&self, offset: usize) -> usize {
        let end = offset.min(self.text.len());
        1 + self.text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count()
    }

    /// Note a fault at `key`, or at the nearest table above it that the file has.
    pub(crate) fn fault(&mut self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let mut path = key;
        let line = loop {
            if let Some(line) = self.places.get(path) {
                break *line;
            }
            match path.rsplit_once('.') {
                Some((above, _)) => path = above,
                None => break 1,
            }
        };
        self.fault_at(line, key, what, remedy);
    }

    pub(crate) fn fault_at(
        &mut self,
        line: usize,
        key: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.faults.push(Fault {
            file: self.file.clone(),
            line,
            key: key.to_owned(),
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    pub(crate) fn finish(mut self) -> Option<Faults> {
        self.faults.sort_by(|a, b| (a.line, &a.key).cmp(&(b.line, &b.key)));
        self.faults.dedup();
        (!self.faults.is_empty()).then_some(Faults(self.faults))
    }
}

/// The known word nearest to `word`, if any is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this Jaro-Winkler similarity a suggestion would mislead.
    const SIMILARITY_MIN: f64 = 0.7;
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// "did you mean" with the nearest word, else the list of all.
pub(crate) fn suggest(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.is_empty() => "define one first".to_owned(),
        None => format!("one of: {}", known.join(", ")),
    }
}
