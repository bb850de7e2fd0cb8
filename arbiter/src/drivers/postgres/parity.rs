//! What must be alike on both sides for a promotion to be the same server: collations, extensions,
//! settings. Knows how to ask one server; the leader compares.

use super::Postgres;
use super::sql::{Session, Unreachable};
use crate::clock;
use arbiter_core::{Fact, PARITY};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a server is asked: none of it changes without a restart or an installation.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// First version that tells the collation of each database.
const COLLATIONS_SINCE: i64 = 150_000;

/// Settings that an application notices, or that a promoted server would lack.
const SETTINGS: &str = "SELECT name, setting FROM pg_settings WHERE name IN (
    'archive_mode', 'autovacuum', 'default_transaction_isolation', 'lc_messages', 'max_connections',
    'max_prepared_transactions', 'max_replication_slots', 'max_wal_senders',
    'max_worker_processes', 'shared_buffers', 'shared_preload_libraries', 'ssl', 'timezone',
    'track_commit_timestamp', 'wal_level', 'wal_log_hints', 'work_mem')
  UNION ALL SELECT 'server version', current_setting('server_version')";
/// What the operating system's collations say now; an index built under another version is corrupt.
const COLLATIONS: &str = "SELECT 'collation of database ' || datname,
    coalesce(pg_database_collation_actual_version(oid), 'none')
  FROM pg_database WHERE datallowconn";
/// Installed extensions of this database, and what of each is on this host's disk.
const EXTENSIONS: &str = "SELECT 'extension ' || e.extname, coalesce(a.default_version, 'missing')
  FROM pg_extension e LEFT JOIN pg_available_extensions a ON a.name = e.extname";

impl Postgres {
    /// Add what is to be compared, asked for now and then.
    pub(super) async fn parity(
        &self,
        session: &Session,
        fact: &mut Fact,
    ) -> Result<(), Unreachable> {
        let lock = || self.parity.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = lock().clone().filter(|(at, _)| clock::now().since(*at) < ASK_EVERY);
        let found = match known {
            Some((_, found)) => found,
            None => {
                let found = ask(session).await?;
                *lock() = Some((clock::now(), found.clone()));
                found
            }
        };
        fact.detail
            .extend(found.into_iter().map(|(name, value)| (PARITY.to_owned() + &name, value)));
        Ok(())
    }
}

async fn ask(session: &Session) -> Result<BTreeMap<String, String>, Unreachable> {
    let version = "SELECT current_setting('server_version_num')::int8 AS number";
    let version: i64 = session.row(version).await?.try_get("number")?;
    let mut found: BTreeMap<String, String> = session.pairs(SETTINGS).await?;
    found.extend(session.pairs(EXTENSIONS).await?);
    if version >= COLLATIONS_SINCE {
        found.extend(session.pairs(COLLATIONS).await?);
    }
    Ok(found)
}
