//! Checksums of rows that the user names, so that both sides can be compared before a failback.
//!
//! Knows statements that it is given, and how seldom they are asked. The leader compares.

use super::Postgres;
use super::sql::{Session, Unreachable};
use crate::clock;
use arbiter_core::{CHECKSUM, Fact, Instant};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often they are asked: each reads the rows that it sums.
const ASK_EVERY: Duration = Duration::from_secs(600);
/// After one that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(300);

/// What is known of them.
#[derive(Default)]
pub(super) struct Checksums(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    running: bool,
    /// When the next is due.
    due: Option<Instant>,
    /// Up to when, and the checksum, by name.
    found: BTreeMap<String, String>,
    failed: Option<String>,
}

impl Postgres {
    /// Add what was found, and begin to ask anew where that is due. Nobody waits for it.
    pub(super) async fn checksums(&self, fact: &mut Fact) {
        if self.set.checksums.is_empty() {
            return;
        }
        let begin = {
            let mut known = self.sums.0.lock().unwrap_or_else(PoisonError::into_inner);
            let found = known.found.iter();
            fact.detail
                .extend(found.map(|(name, value)| (format!("{CHECKSUM}{name}"), value.clone())));
            fact.faults.extend(known.failed.clone());
            let due = known.due.is_none_or(|due| due <= clock::now());
            let begin = due && !known.running;
            known.running |= begin;
            begin
        };
        if !begin {
            return;
        }
        let ended = Ended(self.sums.0.clone());
        let Ok(session) = self.session().await else { return };
        let asked = self.set.checksums.clone();
        tokio::spawn(async move {
            let found = ask(&session, &asked).await;
            ended.with(found);
        });
    }
}

async fn ask(
    session: &Session,
    asked: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let failed = |name: &str, error: Unreachable| {
        format!("the rows of checksum.{name} are not compared: {error}; correct the statement")
    };
    let mut found = BTreeMap::new();
    for (name, sql) in asked {
        let limit = format!("SET statement_timeout = '{}s'", LIMIT.as_secs());
        session.run(&limit).await.map_err(|error| failed(name, error))?;
        let row = session.row_within(sql, LIMIT).await.map_err(|error| failed(name, error))?;
        let text = |at| row.try_get::<_, Option<String>>(at).map_err(Unreachable::from);
        let until = text(0).map_err(|error| failed(name, error))?;
        let sum = text(1).map_err(|error| failed(name, error))?;
        found.insert(name.clone(), format!("{} {}", one(until), one(sum)));
    }
    Ok(found)
}

/// A value without blanks: one parts it from the next.
fn one(value: Option<String>) -> String {
    value.unwrap_or_else(|| "null".to_owned()).split_whitespace().collect::<Vec<_>>().join("_")
}

/// Notes that they are asked no more, however that ended.
struct Ended(Arc<Mutex<Known>>);

impl Ended {
    fn with(&self, found: Result<BTreeMap<String, String>, String>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(found) => {
                known.due = Some(clock::now() + ASK_EVERY);
                (known.found, known.failed) = (found, None);
            }
            Err(why) => known.failed = Some(why),
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.running = false;
        let now = clock::now();
        if known.due.is_none_or(|due| due <= now) {
            known.due = Some(now + AGAIN_AFTER);
        }
    }
}
