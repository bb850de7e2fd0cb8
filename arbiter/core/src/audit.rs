//! The audit log: what people asked for and what became of it, each record bound to the one before
//! by a hash, so that a copy can be checked. Knows records; never where copies go.

mod chain;
mod describe;

pub use chain::{AuditChain, ChainFault, Checked};
pub(crate) use describe::{Described, describe};

use crate::{GroupId, WallMillis};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::Arc;

/// Records that State keeps, oldest dropped first; each arbiter copies them out as they come.
pub const AUDIT_KEPT_MAX: usize = 512;
/// Longest text of one field, in bytes; what is longer is cut, and ends in `…`.
pub const AUDIT_TEXT_BYTES_MAX: usize = 4096;
/// What the first record of a cluster has for the hash of the one before.
pub const AUDIT_BEGINS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The result of what was done.
pub const AUDIT_DONE: &str = "done";
/// What a hash is of, so that it is of nothing else.
const DOMAIN: &str = "region-arbiter audit 1";

/// One call of a person that would change something, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// From 1, without a gap.
    pub seq: u64,
    /// Index of the log entry that made it.
    pub index: u64,
    /// The proposer's wall clock.
    pub wall: WallMillis,
    /// Who asked, as the arbiter that took the call knows them.
    pub who: String,
    /// What was asked, such as `set-mode`.
    pub what: String,
    /// Its particulars, for people.
    pub detail: String,
    /// The group; none for the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// Why, in the asker's words.
    pub reason: String,
    /// [`AUDIT_DONE`], or the code of the refusal.
    pub result: String,
    /// [`AuditRecord::hash`] of the record before; [`AUDIT_BEGINS`] of the first.
    pub previous: String,
    /// SHA-256 of all of the above, in hexadecimal.
    pub hash: String,
}

impl AuditRecord {
    /// What [`AuditRecord::hash`] must be: SHA-256 of a fixed text and of every other field in
    /// the order of their declaration, each as its length in bytes, a colon, its text and a comma.
    /// Numbers are decimal, and no group is the empty text.
    pub fn computed_hash(&self) -> String {
        let group = self.group.as_ref().map_or("", |group| group.as_str());
        let numbers = [self.seq, self.index, self.wall.0].map(|number| number.to_string());
        let texts = [
            &self.who,
            &self.what,
            &self.detail,
            group,
            &self.reason,
            &self.result,
            &self.previous,
        ];
        let numbers = numbers.iter().map(String::as_str);
        let mut hash = Sha256::new();
        for field in std::iter::once(DOMAIN).chain(numbers).chain(texts) {
            hash.update(field.len().to_string());
            hash.update(":");
            hash.update(field);
            hash.update(",");
        }
        hash.finalize().iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// The end of the chain, and its newest records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditTrail {
    /// [`AuditRecord::seq`] of the newest; 0: none yet.
    pub seq: u64,
    /// [`AuditRecord::hash`] of the newest.
    pub head: String,
    /// Newest last. Shared: a State is copied for every entry, and few entries add a record.
    #[serde(serialize_with = "shared", deserialize_with = "owned")]
    kept: Arc<Vec<AuditRecord>>,
}

impl Default for AuditTrail {
    fn default() -> Self {
        Self { seq: 0, head: AUDIT_BEGINS.to_owned(), kept: Arc::default() }
    }
}

impl AuditTrail {
    /// The records that are kept, newest last.
    pub fn records(&self) -> &[AuditRecord] {
        &self.kept
    }

    /// Those that are kept and later than `seq`.
    pub fn after(&self, seq: u64) -> &[AuditRecord] {
        let known = self.kept.partition_point(|record| record.seq <= seq);
        self.kept.get(known..).unwrap_or_default()
    }

    /// Add a record: its number, its hash and that of the one before are given here.
    pub(crate) fn add(&mut self, record: AuditRecord) {
        let mut record = AuditRecord { seq: self.seq + 1, previous: self.head.clone(), ..record };
        for text in [&mut record.who, &mut record.what, &mut record.detail, &mut record.reason] {
            cut(text);
        }
        record.hash = record.computed_hash();
        (self.seq, self.head) = (record.seq, record.hash.clone());
        let kept = Arc::make_mut(&mut self.kept);
        kept.push(record);
        let surplus = kept.len().saturating_sub(AUDIT_KEPT_MAX);
        kept.drain(..surplus);
    }
}

fn cut(text: &mut String) {
    if text.len() > AUDIT_TEXT_BYTES_MAX {
        let end = text.floor_char_boundary(AUDIT_TEXT_BYTES_MAX);
        text.truncate(end);
        text.push('…');
    }
}

fn shared<S: Serializer>(kept: &Arc<Vec<AuditRecord>>, serializer: S) -> Result<S::Ok, S::Error> {
    kept.as_ref().serialize(serializer)
}

fn owned<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Vec<AuditRecord>>, D::Error> {
    Vec::deserialize(from).map(Arc::new)
}

#[cfg(test)]
mod tests;
