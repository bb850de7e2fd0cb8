//! A real write at a token, the refusal of an older one, and the user's own checks.
//!
//! Knows one table, and statements that it is given. Never creates the table on a server that is
//! not a primary.

use super::Postgres;
use super::commits::is_blocked;
use super::sql::{Session, Unreachable, quote, within};
use crate::clock;
use crate::drivers::DriverError;
use arbiter_core::{Epoch, Fact, Revision, Token};
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// How long the write may take, a wait for a synchronous standby included. It is given up, never
/// cancelled.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// How long the user's checks may take, all of them. A server gives up one that takes longer.
const CHECKS_LIMIT: Duration = Duration::from_secs(3);

const CREATE: &str = "CREATE SCHEMA IF NOT EXISTS arbiter;
    CREATE TABLE IF NOT EXISTS arbiter.heartbeat (
        one int PRIMARY KEY CHECK (one = 1),
        epoch bigint NOT NULL, revision bigint NOT NULL, at timestamptz NOT NULL)";

impl Postgres {
    /// Write `token` into `arbiter.heartbeat`, ask the user's checks, and look.
    ///
    /// # Errors
    /// `StaleEpoch` where a higher token stands there already; `Retry` where the write or a check
    /// failed, naming the check.
    pub(super) async fn write(&self, token: Token) -> Result<Fact, DriverError> {
        let session = self.session().await.map_err(|error| self.retry(error))?;
        let stored = within(WRITE_LIMIT, beat(&session, token)).await;
        let seen = stored.map_err(|error| self.retry(format!("a write failed: {error}")))?;
        if seen > token {
            return Err(DriverError::StaleEpoch { seen });
        }
        // Once more: what kept the new primary from being settled may be gone.
        self.settle(&session).await;
        self.ask_checks(&session).await?;
        drop(session);
        self.look().await
    }

    /// Each of the user's checks must succeed, and show nothing that is not so.
    async fn ask_checks(&self, session: &Session) -> Result<(), DriverError> {
        if self.set.verify.is_empty() {
            return Ok(());
        }
        let failed = |name: &str, why: &str| self.retry(format!("the check verify.{name} {why}"));
        let limit = format!("SET statement_timeout = '{}ms'", CHECKS_LIMIT.as_millis());
        session.run(&limit).await.map_err(|error| self.retry(error))?;
        let began = clock::now();
        for (name, sql) in &self.set.verify {
            let left = CHECKS_LIMIT.saturating_sub(clock::now().since(began));
            match session.holds(sql, left).await {
                Ok(true) => {}
                Ok(false) => return Err(failed(name, "is not so")),
                Err(error) => return Err(failed(name, &format!("failed: {error}"))),
            }
        }
        Ok(())
    }
}

/// The token that stands in the table afterwards.
async fn beat(session: &Session, token: Token) -> Result<Token, Unreachable> {
    // As durable as a client's is: where commits wait for a standby that is lost, this must show.
    let sql = "SELECT current_setting('synchronous_standby_names') AS names, coalesce(
        (SELECT setting FROM pg_file_settings WHERE name = 'default_transaction_read_only'
            AND applied ORDER BY seqno DESC LIMIT 1), 'off') AS read_only";
    let row = session.row(sql).await?;
    let (names, read_only): (String, String) = (row.try_get("names")?, row.try_get("read_only")?);
    // But for where policy keeps every client waiting until there is one again.
    let wait = if is_blocked(&names) { "local" } else { "on" };
    // Where the server is set to let nobody write, no client can.
    let set = format!(
        "SET synchronous_commit = {wait}; SET statement_timeout = '4s'; \
         SET default_transaction_read_only = {}",
        quote(&read_only)
    );
    session.run(&set).await?;
    let (epoch, revision) = (token.epoch.0, token.revision.0);
    let sql = format!(
        "WITH written AS (
            INSERT INTO arbiter.heartbeat AS now VALUES (1, {epoch}, {revision}, clock_timestamp())
            ON CONFLICT (one) DO UPDATE SET epoch = excluded.epoch, revision = excluded.revision,
                at = excluded.at WHERE (now.epoch, now.revision) <= ({epoch}, {revision})
            RETURNING epoch, revision)
         SELECT epoch, revision FROM written
         UNION ALL SELECT epoch, revision FROM arbiter.heartbeat WHERE NOT EXISTS
            (SELECT FROM written) LIMIT 1"
    );
    let row = match session.row_within(&sql, WRITE_LIMIT).await {
        Err(error) if missing(&error) => {
            session.run_within(CREATE, WRITE_LIMIT).await?;
            session.row_within(&sql, WRITE_LIMIT).await?
        }
        other => other?,
    };
    let (epoch, revision): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Token { epoch: Epoch(epoch as u64), revision: Revision(revision as u64) })
}

fn missing(error: &Unreachable) -> bool {
    error.is(&SqlState::UNDEFINED_TABLE) || error.is(&SqlState::INVALID_SCHEMA_NAME)
}
