//! A real write at a token, and the refusal of an older one.
//!
//! Knows one table. Never creates it on a server that is not a primary.

use super::Postgres;
use super::sql::{Session, Unreachable, within};
use crate::drivers::DriverError;
use arbiter_core::{Epoch, Fact, Revision, Token};
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// How long the write may take, a wait for a synchronous standby included. It is given up, never
/// cancelled.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

const CREATE: &str = "CREATE SCHEMA IF NOT EXISTS arbiter;
    CREATE TABLE IF NOT EXISTS arbiter.heartbeat (
        one int PRIMARY KEY CHECK (one = 1),
        epoch bigint NOT NULL, revision bigint NOT NULL, at timestamptz NOT NULL)";

impl Postgres {
    /// Write `token` into `arbiter.heartbeat` and look.
    ///
    /// # Errors
    /// `StaleEpoch` where a higher token stands there already; `Retry` where the write failed.
    pub(super) async fn write(&self, token: Token) -> Result<Fact, DriverError> {
        let session = self.session().await.map_err(|error| self.retry(error))?;
        let stored = within(WRITE_LIMIT, beat(&session, token)).await;
        let seen = stored.map_err(|error| self.retry(format!("a write failed: {error}")))?;
        if seen > token {
            return Err(DriverError::StaleEpoch { seen });
        }
        drop(session);
        self.look().await
    }
}

/// The token that stands in the table afterwards.
async fn beat(session: &Session, token: Token) -> Result<Token, Unreachable> {
    // As durable as a client's is: where commits wait for a standby that is lost, this must show.
    session.run("SET synchronous_commit = on; SET statement_timeout = '4s'").await?;
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
