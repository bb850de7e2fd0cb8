//! Checking a copy of the audit log, record by record. Knows no file.

use super::{AUDIT_BEGINS, AuditRecord};
use thiserror::Error;

/// Why a record does not continue the chain.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChainFault {
    /// Its fields were changed after it was written.
    #[error("its hash is {found}, its fields give {computed}: it was changed")]
    Changed {
        /// What the record says.
        found: String,
        /// What its fields give.
        computed: String,
    },
    /// It names another record before it than the copy has.
    #[error("it follows a record of hash {named}, the one before it in the copy has {before}")]
    Unlinked {
        /// What the record says.
        named: String,
        /// The hash of the one before.
        before: String,
    },
    /// A record is missing, or stands twice.
    #[error("record {found} stands where {expected} should")]
    Misplaced {
        /// Its number.
        found: u64,
        /// What should stand here.
        expected: u64,
    },
}

/// How a record continues the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is bound to the one before it.
    Linked,
    /// The copy begins with it, or it follows a gap that the copy tells of: nothing here shows
    /// what it is bound to.
    First,
    /// The same record again, as a copy made at least once may have it.
    Again,
}

/// Checks records in order.
#[derive(Clone, Debug, Default)]
pub struct AuditChain {
    last: Option<(u64, String)>,
    gap: bool,
}

impl AuditChain {
    /// Take the next record.
    ///
    /// # Errors
    /// [`ChainFault`]: the copy is not what the cluster wrote, or not all of it.
    pub fn next(&mut self, record: &AuditRecord) -> Result<Checked, ChainFault> {
        let computed = record.computed_hash();
        if record.hash != computed {
            return Err(ChainFault::Changed { found: record.hash.clone(), computed });
        }
        let checked = self.place(record)?;
        self.last = Some((record.seq, record.hash.clone()));
        self.gap = false;
        Ok(checked)
    }

    fn place(&self, record: &AuditRecord) -> Result<Checked, ChainFault> {
        let before = match &self.last {
            None if record.seq == 1 => AUDIT_BEGINS,
            None => return Ok(Checked::First),
            Some((seq, hash)) if record.seq == *seq && record.hash == *hash => {
                return Ok(Checked::Again);
            }
            Some((seq, _)) if self.gap && record.seq > *seq => return Ok(Checked::First),
            Some((seq, _)) if record.seq != seq + 1 => {
                let (found, expected) = (record.seq, seq + 1);
                return Err(ChainFault::Misplaced { found, expected });
            }
            Some((_, hash)) => hash,
        };
        if record.previous == before {
            return Ok(Checked::Linked);
        }
        let (named, before) = (record.previous.clone(), before.to_owned());
        Err(ChainFault::Unlinked { named, before })
    }

    /// The copy says that records are missing here.
    pub fn gap(&mut self) {
        self.gap = true;
    }

    /// Number and hash of the last record.
    pub fn last(&self) -> Option<(u64, &str)> {
        self.last.as_ref().map(|(seq, hash)| (*seq, hash.as_str()))
    }
}
