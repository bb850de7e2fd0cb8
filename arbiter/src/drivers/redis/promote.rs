//! The goal *active*: a running primary, promoted or brought back.
//!
//! Knows the server's own steps, and which data must not lead. Never knows whether it may write:
//! the executor orders no promotion without a lease.

use super::info::Info;
use super::standing::Standing;
use super::start::Up;
use super::talk::{Session, Unreachable};
use super::upstream::split;
use super::{Redis, processes, rdb};
use crate::clock;
use crate::drivers::{Done, DriverError};
use arbiter_core::{Condition, Role};
use std::time::Duration;

/// How long one call waits for a promotion, which takes no longer than a command.
const PROMOTE_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long one look at a promotion waits for the next.
const PROMOTE_POLL: Duration = Duration::from_millis(5);

impl Redis {
    /// Make it a running primary. Asked twice it is done once.
    pub(super) async fn active(&self) -> Result<Done, DriverError> {
        let (session, info) = match self.up()? {
            Up::Yes(server) => {
                self.have_held(&server).await?;
                self.await_start().await?
            }
            Up::Orphans(_) => {
                self.kill_all().await?;
                self.bring_back(true).await?
            }
            Up::No => self.bring_back(true).await?,
        };
        self.alone(&session, &info).await?;
        self.asked_to_stop.store(false, std::sync::atomic::Ordering::SeqCst);
        if !info.is_primary() {
            self.promote(&session, &info).await?;
        }
        self.settle(&session).await.map_err(|error| self.retry(error))?;
        drop(session);
        let facts = self.look().await?;
        if facts.role != Role::Primary || facts.condition != Condition::Healthy {
            return Err(self.retry("the server is not seen as a primary yet"));
        }
        Ok(Done { facts, ..Done::default() })
    }

    /// Start the stopped server in the role that its data has, which the group, unarmed, leaves to
    /// the agent; where nothing is known of the data, as it is configured.
    pub(super) async fn come_back(&self) -> Result<(), DriverError> {
        let standing = self.standing();
        let upstream = match &standing {
            Some(standing) if standing.primary => None,
            Some(standing) => Some(standing.upstream.clone()),
            None => self.configured_upstream(),
        };
        let Some(upstream) = upstream else {
            let (session, info) = self.bring_back(standing.is_some()).await?;
            self.alone(&session, &info).await?;
            return self.promote(&session, &info).await;
        };
        self.was_alone()?;
        let (session, _) = self.start().await?;
        match split(&upstream) {
            // It followed this one before, or was told to by whoever set it up.
            Some(to) => self.follow_at(&session, to).await,
            None => Ok(()),
        }
    }

    /// `replicaof` of the configuration, as `host:port`.
    fn configured_upstream(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.set.config_path()).ok()?;
        let told = text.lines().rev().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [key, host, port] if key.eq_ignore_ascii_case("replicaof") => Some((*host, *port)),
                _ => None,
            }
        });
        told.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
            .map(|(host, port)| super::upstream::join(host, port))
    }

    /// Start the stopped server, once it is shown that its data may lead; `known`: it led, or
    /// followed, before.
    async fn bring_back(&self, known: bool) -> Result<(Session, Info), DriverError> {
        self.was_alone()?;
        let standing = self.standing();
        if !self.is_cache() {
            self.may_lead(standing.as_ref(), known)?;
        }
        let (session, info) = self.start().await?;
        // As when appendonly was switched on in the file: it then reads no dump.
        let had_data = standing.is_some_and(|standing| standing.had_data);
        if !self.is_cache() && had_data && info.keys() == 0 {
            self.kill_all().await?;
            return Err(self.refuse(self.came_up_empty()));
        }
        Ok((session, info))
    }

    /// Whether what would come up may lead: an empty or older dataset would be copied over those of
    /// its replicas.
    fn may_lead(&self, standing: Option<&Standing>, known: bool) -> Result<(), DriverError> {
        let default = Standing::default();
        if standing == Some(&default) {
            // Somebody accepts what there is.
            return Ok(());
        }
        let was = standing.unwrap_or(&default);
        let dump = self.dump_file(was);
        let appended = self.append_dir(was).is_dir();
        if !dump.exists() && !appended {
            let fresh = !known || standing.is_some_and(|standing| !standing.had_data);
            return if fresh { Ok(()) } else { Err(self.refuse(self.came_up_empty())) };
        }
        if was.appended || appended {
            return Ok(());
        }
        let seen = self.memory().seen.clone().or_else(|| was.seen.clone());
        let saved = rdb::point(&dump).ok().flatten();
        let (Some(seen), Some(saved)) = (seen, saved) else { return Ok(()) };
        let elsewhere = !was.primary || was.followed;
        if elsewhere && saved.history == seen.history && saved.offset < seen.offset {
            return Err(self.refuse(format!(
                "it was killed, its last save stands at {}, and it was seen at {}: what it would \
                 come up with is older than what another has; fail over to that, and set appendonly \
                 yes. To accept the loss write {{}} into {}",
                saved.offset,
                seen.offset,
                self.book.path().display()
            )));
        }
        Ok(())
    }

    fn came_up_empty(&self) -> String {
        format!(
            "its data is gone: nothing is in {}, and as a primary it would empty its replicas; fail \
             over to one of them, or restore the data. To start it empty write {{}} into {}",
            self.set.data_dir.display(),
            self.book.path().display()
        )
    }

    /// Refuse data that is only a part of a whole: one that a copy was begun over.
    pub(super) fn is_whole(&self, info: &Info) -> Result<(), DriverError> {
        if info.is_loading() || info.is_copying() {
            return Err(self.retry("it copies its upstream's data: its own is only a part of that"));
        }
        let found = self.processes()?;
        let own = self.memory().from_disk.clone();
        let from_disk = own.is_some() && processes::server(&found) == own.as_ref();
        if info.point().is_none() && !from_disk {
            return Err(self.retry(
                "its data is not known to be whole: a copy of its upstream's was begun and did not \
                 end; restart it, or let it follow a primary first",
            ));
        }
        Ok(())
    }

    async fn promote(&self, session: &Session, info: &Info) -> Result<(), DriverError> {
        self.is_whole(info)?;
        // Before: whatever dies from here on was a primary.
        self.stand(|standing| {
            standing.primary = true;
            standing.upstream = String::new();
            standing.followed = false;
            standing.discardable = false;
            standing.end = None;
        })?;
        let began = clock::now();
        // Inherited, it would refuse every write until the lost region is back.
        self.settle(session).await.map_err(|error| self.retry(error))?;
        let told = session.ask(&["REPLICAOF", "NO", "ONE"]).await;
        told.map_err(|error| self.retry(format!("REPLICAOF NO ONE failed: {error}")))?;
        while !session.info().await.map_err(|error| self.retry(error))?.is_primary() {
            if clock::now().since(began) > PROMOTE_WAIT_MAX {
                return Err(self.retry("it stays a replica"));
            }
            tokio::time::sleep(PROMOTE_POLL).await;
        }
        Ok(())
    }

    /// What a primary needs, and what an aborted switchover left. Twice is once.
    async fn settle(&self, session: &Session) -> Result<(), Unreachable> {
        const NAME: &str = "min-replicas-to-write";
        let wanted = self.set.min_replicas.to_string();
        let now = session.config(&[NAME]).await?;
        if now.get(NAME).is_some_and(|now| *now != wanted) {
            session.set(NAME, &wanted).await?;
        }
        session.ask(&["CLIENT", "UNPAUSE"]).await.map(drop)
    }

    /// Let clients write again that were paused.
    pub(super) async fn resume(&self, session: &Session) -> Result<(), DriverError> {
        let told = session.ask(&["CLIENT", "UNPAUSE"]).await;
        told.map(drop).map_err(|error| self.retry(error))
    }
}
