//! Looking at the server; changes nothing but what is known of its data.
//!
//! Knows what a running server tells and what a stopped one's files tell. Never knows what is
//! wanted of it. What each number means to an operator stands in `facts.rs`.

use super::info::{Info, Point};
use super::standing::Standing;
use super::start::Up;
use super::talk::{Session, Unreachable};
use super::upstream::{NOBODY, join};
use super::{Redis, facts, rdb};
use crate::clock;
use crate::drivers::DriverError;
use arbiter_core::agent::GATE_MISSING;
use arbiter_core::{Condition, Fact, Position, Role, Upstream};
use std::collections::BTreeMap;
use std::time::Duration;

/// Settings that are looked at.
const CONFIGURED: [&str; 7] = [
    "dbfilename",
    "appenddirname",
    "appendfsync",
    "save",
    "maxmemory-policy",
    "repl-backlog-size",
    "min-replicas-to-write",
];
/// How long the stream's pace is measured.
const PACE_OVER: Duration = Duration::from_secs(30);

/// A place in a history, as the core counts: Redis has no numbered timelines, and its history
/// stands beside it.
pub(super) fn position(point: &Point) -> Position {
    Position { timeline: 0, offset: point.offset }
}

impl Redis {
    /// What is seen now. A server that does not answer is `Unknown`, never healthy.
    pub(super) async fn look(&self) -> Result<Fact, DriverError> {
        let mut fact = match self.up()? {
            Up::No => self.at_rest(),
            Up::Orphans(left) => {
                let mut fact = self.at_rest();
                fact.condition = Condition::Dead;
                fact.detail.insert("orphans".into(), left.len().to_string());
                fact
            }
            Up::Yes(_) => match self.ask().await {
                Ok(fact) => fact,
                Err(error) => self.unseen(&error.to_string()),
            },
        };
        if self.wants_gate() && !self.gated() {
            let missing = "the configuration does not include it any more";
            fact.detail.insert(GATE_MISSING.into(), missing.into());
        }
        Ok(fact)
    }

    async fn ask(&self) -> Result<Fact, Unreachable> {
        let session = self.session().await?;
        let info = session.info().await?;
        let configured = self.configured(&session).await;
        let rival = self.rival(&session, &info).await?;
        if let Err(error) = self.learn(&info, &configured) {
            tracing::warn!(instance = %self.set.id, %error, "what is known of the data is not kept");
        }
        let mut fact = self.fact(&info);
        let standing = self.standing();
        fact.obstacles.extend(rival);
        fact.obstacles.extend(facts::obstacles(&info));
        let behind = standing.as_ref().map(|standing| standing.behind.clone());
        fact.obstacles.extend(behind.filter(|why| !why.is_empty()));
        if !self.is_cache() {
            let pace = self.memory().pace;
            fact.faults.extend(facts::faults(&info, &configured, pace));
        }
        fact.detail.extend(facts::details(&info));
        self.compared(&info, &mut fact);
        tell_kept(&mut fact, standing.as_ref());
        Ok(fact)
    }

    fn fact(&self, info: &Info) -> Fact {
        let primary = info.is_primary();
        let point = info.point();
        let at = point.as_ref().map(position);
        Fact {
            condition: match (info.is_copying(), info.is_loading()) {
                (true, _) => Condition::Recovering,
                (false, true) => Condition::Starting,
                (false, false) => Condition::Healthy,
            },
            role: if primary { Role::Primary } else { Role::Replica },
            writable: primary || info.takes_writes(),
            position: at,
            // It counts what it applied: what it received and did not is applied at once.
            replayed: at.filter(|_| !primary),
            history: point.map(|point| point.history).unwrap_or_default(),
            upstream: if primary { None } else { self.hear(info) },
            ..Fact::default()
        }
    }

    /// What a replica heard of its primary: its own place in the stream, which pings move on each
    /// second, and how long ago. Redis tells no replica where its primary is.
    fn hear(&self, info: &Info) -> Option<Upstream> {
        let linked = info.is_linked() && !info.is_copying();
        let mut memory = self.memory();
        if let (true, Some(point)) = (linked, info.point()) {
            let age = Duration::from_secs(info.heard_seconds().unwrap_or(0));
            memory.heard = Some((point, clock::now().before(age)));
        }
        let (point, at) = memory.heard.clone()?;
        // Of another history it says nothing about this one.
        (point.history == info.history()).then(|| Upstream {
            position: position(&point),
            age: clock::now().since(at),
            streaming: linked,
        })
    }

    /// A server of which nothing is seen: nothing shows that a primary refuses writes.
    fn unseen(&self, why: &str) -> Fact {
        let role = self.standing().map_or(Role::Primary, |standing| standing.role());
        let mut fact = Fact { role, writable: role == Role::Primary, ..Fact::default() };
        fact.detail.insert("state".into(), why.to_owned());
        fact
    }

    /// What is seen of a server of which no process runs.
    pub(super) fn at_rest(&self) -> Fact {
        let standing = self.standing();
        let rests = self.rests_at(standing.as_ref());
        let role = standing.as_ref().map_or(Role::Primary, Standing::role);
        let mut fact = Fact {
            condition: if self.locked_out() { Condition::Stopped } else { Condition::Dead },
            role,
            ..Fact::default()
        };
        if let Some((point, exact)) = rests {
            fact.position = Some(position(&point));
            fact.replayed = fact.position.filter(|_| role == Role::Replica);
            fact.history = point.history;
            if !exact {
                fact.detail.insert("position".into(), "as last seen, or further".into());
            }
        }
        tell_kept(&mut fact, standing.as_ref());
        fact
    }

    /// Where the data of the stopped server stands, and whether that is exact: where it stopped
    /// cleanly; of one that was killed and appends its changes, where it was last seen; else where
    /// it was saved.
    pub(super) fn rests_at(&self, standing: Option<&Standing>) -> Option<(Point, bool)> {
        let default = Standing::default();
        let was = standing.unwrap_or(&default);
        if let Some(end) = &was.end {
            return Some((end.clone(), true));
        }
        if was.appends {
            let seen = self.memory().seen.clone().or_else(|| was.seen.clone());
            return seen.filter(|_| was.appended).map(|seen| (seen, false));
        }
        let saved = rdb::point(&self.dump_file(was)).ok().flatten();
        saved.map(|saved| (saved, true))
    }

    /// Settings that matter here; none of those that it does not tell.
    pub(super) async fn configured(&self, session: &Session) -> BTreeMap<String, String> {
        session.config(&CONFIGURED).await.unwrap_or_default()
    }

    /// Keep what is known of the data of a running server, for when it does not run. Of a replica
    /// without its upstream nothing is learnt: it may have come up with less than it had.
    pub(super) fn learn(
        &self,
        info: &Info,
        configured: &BTreeMap<String, String>,
    ) -> Result<(), DriverError> {
        let point = info.point();
        if info.is_loading() || info.is_copying() || !info.is_primary() && !info.is_linked() {
            return self.stand(|standing| standing.appended &= !info.is_copying());
        }
        if let Some(point) = &point {
            let mut memory = self.memory();
            memory.seen = Some(point.clone());
            self.pace(&mut memory, point);
        }
        let text = |name: &str| configured.get(name).cloned().unwrap_or_default();
        let rewrites = info.is("aof_rewrite_in_progress") || info.is("aof_rewrite_scheduled");
        self.stand(|standing| {
            let before = standing.clone();
            learn_role(standing, info);
            standing.had_data = info.keys() > 0;
            standing.appends = info.is("aof_enabled");
            standing.appended = standing.appends && (standing.appended || !rewrites);
            standing.dump = text("dbfilename");
            standing.append_dir = text("appenddirname");
            standing.is_current();
            if *standing != before {
                standing.seen = point.or_else(|| standing.seen.take());
            }
        })
    }

    /// How fast the stream is written.
    fn pace(&self, memory: &mut super::Memory, point: &Point) {
        let now = clock::now();
        match &memory.paced {
            Some((before, at)) if before.history == point.history => {
                let took = now.since(*at);
                if took >= PACE_OVER {
                    let bytes = point.offset.saturating_sub(before.offset);
                    memory.pace = Some(bytes / took.as_secs().max(1));
                    memory.paced = Some((point.clone(), now));
                }
            }
            _ => memory.paced = Some((point.clone(), now)),
        }
    }
}

/// Where what it gave up lies, and what that cost.
fn tell_kept(fact: &mut Fact, standing: Option<&Standing>) {
    let Some(standing) = standing else { return };
    fact.lost = standing.lost.clone().map(Box::new);
    if let Some(newest) = standing.saved.last() {
        let shown = format!("{newest} ({} kept)", standing.saved.len());
        fact.detail.insert("quarantined".into(), shown);
    }
}

/// Its role is that of its data; but one that follows nobody is on its way to one.
fn learn_role(standing: &mut Standing, info: &Info) {
    if info.is_primary() {
        standing.followed &= standing.primary;
        standing.followed |= info.followers().iter().any(|follower| follower.online);
        standing.primary = true;
        standing.upstream = String::new();
    } else if info.upstream() != NOBODY {
        let (host, port) = info.upstream();
        standing.primary = false;
        standing.upstream = join(host, port);
    }
}
