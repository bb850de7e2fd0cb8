//! The goal *active*: a running primary, promoted or started as what its data is.
//!
//! Knows the server's own steps. Never knows whether it may write: [`Holder::start`] refuses where
//! it may not, and the executor orders no promotion without a lease.
//!
//! [`Holder::start`]: crate::drivers::Holder::start

use super::commits::set_names;
use super::sql::{Session, Unreachable, quote};
use super::start::Up;
use super::{Postgres, files};
use crate::clock;
use crate::drivers::{Done, DriverError};
use arbiter_core::{CommitWait, Condition, Role, Terms};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long one call waits for a promotion; the executor asks again, and it goes on meanwhile.
const PROMOTE_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long one look at a promotion waits for the next: `pg_promote` itself looks every 100 ms.
const PROMOTE_POLL: Duration = Duration::from_millis(5);
/// How long a stop that was begun, and then undone by an abort, may still take.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// How long an immediate stop may take.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(1);
/// How long the checkpoint after a promotion may take.
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(600);

/// The timeline of the latest checkpoint, and the present one.
const TIMELINES: &str = "SELECT timeline_id::int8 AS checkpoint,
    ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int8 AS now
    FROM pg_control_checkpoint()";

impl Postgres {
    /// Make it a running primary. Asked twice it is done once.
    pub(super) async fn active(&self, terms: &Terms) -> Result<Done, DriverError> {
        self.bring_up().await?;
        let session = self.session().await.map_err(|error| self.retry(error))?;
        if self.in_recovery(&session).await? {
            self.promote(&session, &terms.promoted).await?;
        }
        self.settle(&session).await;
        drop(session);
        let facts = self.look().await?;
        if facts.role != Role::Primary || facts.condition != Condition::Healthy {
            return Err(self.retry("the server is not seen as a primary yet"));
        }
        Ok(Done { facts, ..Done::default() })
    }

    /// A server that answers, in the role that its data has.
    async fn bring_up(&self) -> Result<(), DriverError> {
        match self.up()? {
            Up::Yes(server) => {
                self.have_held(&server).await?;
                return if self.gated() { self.hold() } else { Ok(()) };
            }
            Up::Starting(server) => {
                self.have_held(&server).await?;
                return self.await_start().await;
            }
            // An aborted switchover: a fast stop cannot be undone, and may hang on a standby.
            Up::Stopping(_) => {
                if !self.stop(STOP_PATIENCE).await? {
                    self.stop_now(IMMEDIATE_LIMIT).await?;
                }
                self.kill_all().await?;
            }
            // They hold the shared memory, and would go on writing beside a new server.
            Up::Orphans(_) => self.kill_all().await?,
            Up::No => {}
        }
        self.start(!files::is_standby(&self.set.data_dir)).await
    }

    async fn in_recovery(&self, session: &Session) -> Result<bool, DriverError> {
        let row = session.row("SELECT pg_is_in_recovery() AS replica").await;
        row.map(|row| row.get("replica")).map_err(|error| self.retry(error))
    }

    async fn promote(&self, session: &Session, wait: &CommitWait) -> Result<(), DriverError> {
        // Inherited names would make every commit wait for the lost region.
        let names = self.names_of(wait);
        set_names(session, &names).await.map_err(|error| self.retry(error))?;
        let asked = session
            .run(
                "SELECT pg_wal_replay_resume() WHERE pg_is_wal_replay_paused();
                 SELECT pg_promote(wait => false)",
            )
            .await;
        let began = clock::now();
        while self.in_recovery(session).await? {
            // Refused only while it still is a standby: else an earlier promotion has just ended.
            if let Err(Unreachable::Failed { message, .. }) = &asked {
                return Err(self.retry(format!("pg_promote failed: {message}")));
            }
            if clock::now().since(began) > PROMOTE_WAIT_MAX {
                return Err(self.retry("the promotion goes on: WAL is still being replayed"));
            }
            tokio::time::sleep(PROMOTE_POLL).await;
        }
        Ok(())
    }

    /// What a new primary needs soon, and none of which may keep it from serving. Twice is once.
    pub(super) async fn settle(&self, session: &Session) {
        let result = async {
            self.set_primary_conninfo(session, "").await?;
            for slot in &self.set.peer_slots {
                let slot = quote(slot);
                let sql = format!(
                    "SELECT pg_create_physical_replication_slot({slot}, true) WHERE NOT EXISTS
                     (SELECT FROM pg_replication_slots WHERE slot_name = {slot})"
                );
                session.run(&sql).await?;
            }
            let row = session.row(TIMELINES).await?;
            Ok::<bool, Unreachable>(row.get::<_, i64>("checkpoint") != row.get::<_, i64>("now"))
        };
        match result.await {
            // A standby can be rewound onto it only after a checkpoint on the new timeline.
            Ok(true) => self.checkpoint_behind().await,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(instance = %self.set.id, %error, "the new primary is not settled");
            }
        }
    }

    /// Begin a checkpoint that nobody waits for.
    async fn checkpoint_behind(&self) {
        if self.checkpointing.swap(true, Ordering::SeqCst) {
            return;
        }
        let ended = Ended(self.checkpointing.clone());
        if let Ok(session) = self.session().await {
            tokio::spawn(async move {
                let _ended = ended;
                if let Err(error) = session.run_within("CHECKPOINT", CHECKPOINT_LIMIT).await {
                    tracing::warn!(%error, "the checkpoint after the promotion failed");
                }
            });
        }
    }
}

/// Clears the mark of a checkpoint under way, however it ends.
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}
