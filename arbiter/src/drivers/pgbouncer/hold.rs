//! How clients are held back: each database is paused, and every transaction through it ends.

use super::console::Session;
use super::look::is_session;
use super::{DriverError, PgBouncer};
use futures::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;

/// Wait between two looks at what is being paused.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl PgBouncer {
    /// Returns when nobody has a connection to a server any more. Until then it goes on; dropped,
    /// what is paused stays so.
    pub(super) async fn hold(&self) -> Result<(), DriverError> {
        let led: BTreeSet<String> = self.entries()?.into_iter().map(|entry| entry.name).collect();
        let session = self.session().await?;
        let open = self.open_ones(&session, &led).await?;
        // On disk first: a pause that nobody knows to be ours is never lifted.
        let mut marked = self.marker.names()?;
        marked.extend(open.iter().cloned());
        self.marker.set(&marked)?;
        // Each is waited for: one that took effect after the mark was gone would never be lifted.
        let paused = join_all(open.iter().map(|name| self.pause(name))).await;
        if let Some(why) = paused.into_iter().find_map(Result::err) {
            self.unmark(&session, marked).await?;
            return Err(why);
        }
        loop {
            let rows = session.databases().await?;
            let through = |name: &&String| {
                rows.get(*name).is_some_and(|row| !row.paused || row.connections > 0)
            };
            if !led.iter().any(|name| through(&name)) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Those of `led` that let clients through.
    async fn open_ones(
        &self,
        session: &Session,
        led: &BTreeSet<String>,
    ) -> Result<Vec<String>, DriverError> {
        let (rows, config) = (session.databases().await?, session.config().await?);
        let here = led.iter().filter_map(|name| Some((name, rows.get(name)?)));
        let here: Vec<_> = here.collect();
        if let Some((name, _)) = here.iter().find(|(_, row)| is_session(row, &config)) {
            return Err(DriverError::Refused(format!(
                "database {name} has pool_mode session: its clients cannot be held back"
            )));
        }
        let open = here.into_iter().filter(|(_, row)| !row.paused);
        Ok(open.map(|(name, _)| name.clone()).collect())
    }

    /// In a conversation of its own, since it is answered only once every transaction has ended.
    async fn pause(&self, name: &str) -> Result<(), DriverError> {
        Ok(self.own_session().await?.pause(name).await?)
    }

    /// Somebody holds the whole pooler back already, or it was stopped: what was not paused by us
    /// is not ours.
    async fn unmark(
        &self,
        session: &Session,
        mut marked: BTreeSet<String>,
    ) -> Result<(), DriverError> {
        let rows = session.databases().await?;
        marked.retain(|name| rows.get(name).is_some_and(|row| row.paused));
        self.marker.set(&marked)
    }
}
