//! The goal *active*: a running primary, promoted or brought back.
//!
//! Knows the server's own steps, and which data must not lead. Never knows whether it may write:
//! the executor orders no promotion without a lease.

use super::info::{Info, Point};
use super::lineage::{self, Lineage};
use super::standing::Standing;
use super::start::Up;
use super::talk::{Session, Unreachable, text};
use super::upstream::split;
use super::{Redis, processes, rdb};
use crate::drivers::{Done, DriverError};
use arbiter_core::{Condition, Role};

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
        let session = self.start_replica().await?.0;
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
    pub(super) async fn bring_back(&self, known: bool) -> Result<(Session, Info), DriverError> {
        self.was_alone()?;
        let standing = self.standing();
        if !self.is_cache() {
            self.may_lead(standing.as_ref(), known)?;
        }
        let (session, info) = self.start().await?;
        if self.came_up_empty(standing.as_ref(), known, &info) {
            self.kill_all().await?;
            return Err(self.refuse(self.gone()));
        }
        Ok((session, info))
    }

    /// Whether what would come up may lead: an empty or older dataset would be copied over those of
    /// its replicas.
    fn may_lead(&self, standing: Option<&Standing>, known: bool) -> Result<(), DriverError> {
        let was = standing.cloned().unwrap_or_default();
        if !self.dump_file(&was).exists() && !self.append_dir(&was).is_dir() {
            let lost = is_lost(standing, known);
            return if lost { Err(self.refuse(self.gone())) } else { Ok(()) };
        }
        // What a primary had that nobody follows nobody else has.
        match self.less_on_disk(&was).filter(|_| !was.primary || was.followed) {
            Some(why) => Err(self.refuse(why)),
            None => Ok(()),
        }
    }

    /// Why what is on disk is less than what the server, when it was killed, had; none: it is not.
    pub(super) fn less_on_disk(&self, was: &Standing) -> Option<String> {
        if self.is_cache() || was.end.is_some() || was.accepted {
            return None;
        }
        let how = format!(
            "fail over to another that has more, or let it follow one; to accept the loss {}",
            self.how_to_accept()
        );
        let dir = self.append_dir(was);
        if was.appends || dir.is_dir() {
            // Redis writes this one while the other is not complete.
            let begun = std::fs::read_dir(&dir).into_iter().flatten().flatten();
            let begun = begun.into_iter().any(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.starts_with("temp-") && name.ends_with(".incr")
            });
            let incomplete = begun || was.appends && !was.appended;
            return incomplete.then(|| {
                format!(
                    "it was killed before everything that it had copied was in its appended \
                     file, and comes up with what was there before: {how}"
                )
            });
        }
        let seen = self.memory().seen.clone().or_else(|| was.seen.clone())?;
        // One from before there was a replica says nothing.
        let saved = rdb::point(&self.dump_file(was)).ok().flatten().unwrap_or_default();
        let less = saved.history != seen.history || saved.offset < seen.offset;
        less.then(|| {
            format!(
                "it was killed, its last save stands at {} and it was seen at {}, so it comes up \
                 with older data (appendonly yes avoids that): {how}",
                saved.offset, seen.offset
            )
        })
    }

    /// Nothing came up, and that is a loss: as when appendonly was switched on in the file, since
    /// Redis then reads no dump.
    pub(super) fn came_up_empty(
        &self,
        standing: Option<&Standing>,
        known: bool,
        info: &Info,
    ) -> bool {
        !self.is_cache() && info.keys() == 0 && is_lost(standing, known)
    }

    pub(super) fn gone(&self) -> String {
        format!(
            "its data is gone: nothing is in {}, and as a primary it would empty its replicas; fail \
             over to one of them, let it follow one, or restore the data. To accept the loss {}",
            self.set.data_dir.display(),
            self.how_to_accept()
        )
    }

    fn how_to_accept(&self) -> String {
        format!("write {{\"accepted\":true}} into {}", self.book.path().display())
    }

    /// Refuse to go on from data that is less than what it had, and was not caught up with.
    pub(super) fn not_behind(&self) -> Result<(), DriverError> {
        match self.standing().map(|standing| standing.behind) {
            Some(why) if !why.is_empty() => Err(self.refuse(why)),
            _ => Ok(()),
        }
    }

    /// See that the data is no part of a whole: Redis empties a replica before it loads a copy of
    /// its upstream's data, and says of it from then on that it is nowhere. What came up from its
    /// own disk is nowhere too, where changes are appended, and whole: what this process did not
    /// see come up so is started anew from there.
    pub(super) async fn have_whole(&self, info: &Info) -> Result<(), DriverError> {
        if info.is_loading() || info.is_copying() {
            return Err(self.retry("it copies its upstream's data: its own is only a part of that"));
        }
        let found = self.processes()?;
        let own = self.memory().from_disk.clone();
        let from_disk = own.is_some() && processes::server(&found) == own.as_ref();
        if info.point().is_some() || from_disk {
            return Ok(());
        }
        // Killed: of what it has in memory nothing must be saved.
        self.kill_all().await?;
        Err(self.retry("its data was not known to be whole: it is started anew from its disk"))
    }

    async fn promote(&self, session: &Session, info: &Info) -> Result<(), DriverError> {
        self.have_whole(info).await?;
        self.not_behind()?;
        let stood = info.point().or_else(|| {
            let standing = self.standing();
            self.rests_at(standing.as_ref()).map(|(point, _)| point)
        });
        // Before: whatever dies from here on was a primary.
        self.stand(|standing| {
            standing.primary = true;
            standing.upstream = String::new();
            standing.followed = false;
            standing.discardable = false;
            standing.is_current();
        })?;
        // Inherited, it would refuse every write until the lost region is back.
        self.settle(session).await.map_err(|error| self.retry(error))?;
        let told = session.ask(&["REPLICAOF", "NO", "ONE"]).await;
        told.map_err(|error| self.retry(format!("REPLICAOF NO ONE failed: {error}")))?;
        let now = session.info().await.map_err(|error| self.retry(error))?;
        if !now.is_primary() {
            return Err(self.retry("it stays a replica"));
        }
        if !self.is_cache()
            && let Err(error) = write_line(session, now.history(), stood).await
        {
            tracing::warn!(instance = %self.set.id, %error, "{} is not written", lineage::KEY);
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

/// Say in the dataset which histories it grew out of.
async fn write_line(
    session: &Session,
    history: &str,
    stood: Option<Point>,
) -> Result<(), Unreachable> {
    let before = Lineage::parse(&text(&session.ask(&["GET", lineage::KEY]).await?));
    let line = before.grown(history, stood).show();
    session.ask(&["SET", lineage::KEY, &line]).await.map(drop)
}

/// Whether data that is not there is a loss: not where it is known to have been empty, nor where
/// nobody knows of any. `known`: it led, or followed, before.
fn is_lost(standing: Option<&Standing>, known: bool) -> bool {
    match standing {
        Some(standing) if standing.accepted => false,
        Some(standing) if standing.known => standing.had_data,
        _ => known,
    }
}
