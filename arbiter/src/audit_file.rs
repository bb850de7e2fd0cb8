//! The audit log as lines of JSON: what is written, and whether a copy is whole. Knows text; never
//! where it came from.

use arbiter_core::{AuditChain, AuditRecord};
use serde::{Deserialize, Serialize};

/// Records that a copy lacks: they were no longer kept when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Number of the first.
    pub from: u64,
    /// Number of the last.
    pub to: u64,
}

/// A line of a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// Records are missing here.
    Gap {
        /// Which.
        gap: Gap,
    },
    /// A record.
    Record(Box<AuditRecord>),
}

impl Line {
    /// As text, with its end.
    ///
    /// # Errors
    /// Never for what these types hold; the serializer's otherwise.
    pub fn text(&self) -> serde_json::Result<String> {
        serde_json::to_string(self).map(|text| text + "\n")
    }

    /// The number that the copy has reached with it.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Gap { gap } => gap.to,
            Self::Record(record) => record.seq,
        }
    }
}

/// What a good copy holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Good {
    /// Records, each once.
    pub records: u64,
    /// Number of the first.
    pub first: u64,
    /// Number of the last.
    pub last: u64,
    /// Hash of the last.
    pub hash: String,
    /// What it tells to be missing.
    pub gaps: Vec<Gap>,
}

/// The first line of a copy that is not as the cluster wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// Check a copy from its first line to its last.
///
/// # Errors
/// [`Broken`]: the first line that does not follow.
pub fn check(text: &str) -> Result<Good, Broken> {
    let mut chain = AuditChain::default();
    let mut good = Good::default();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let broken = |why: String| Broken { line: at + 1, why };
        let line: Line = serde_json::from_str(line)
            .map_err(|error| broken(format!("it is no line of an audit log: {error}")))?;
        match line {
            Line::Gap { gap } => {
                chain.gap();
                good.gaps.push(gap);
            }
            Line::Record(record) => {
                let again = chain
                    .next(&record)
                    .map_err(|fault| broken(format!("record {}: {fault}", record.seq)))?;
                good.records += u64::from(again != arbiter_core::Checked::Again);
                if good.first == 0 {
                    good.first = record.seq;
                }
            }
        }
    }
    if let Some((last, hash)) = chain.last() {
        (good.last, good.hash) = (last, hash.to_owned());
    }
    Ok(good)
}

#[cfg(test)]
pub(crate) mod tests;
