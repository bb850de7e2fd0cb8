//! A fake PostgreSQL or Redis: role on disk, processes, start gate, position in its stream. Knows
//! one server; not who runs it, nor why.

use super::clock::Nanos;
use arbiter_core::{CommitWait, Condition, Fact, InstanceId, Position, Role, Upstream};
use std::collections::BTreeSet;
use std::time::Duration;

/// One server and its data directory.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// It is a Redis: its histories have names, and no timelines.
    pub redis: bool,
    /// Processes exist.
    pub running: bool,
    /// They are in a frozen cgroup.
    pub frozen: bool,
    /// The data directory says primary.
    pub primary: bool,
    /// The start gate is in: it starts only with the start file.
    pub gate: bool,
    /// The start file is there; on a file system that a reboot empties.
    pub start_file: bool,
    /// It was stopped on purpose.
    pub asked: bool,
    /// End of its stream.
    pub position: Position,
    /// Every timeline that it stands on, the oldest first: its one identity and where it began. Two
    /// servers that were promoted to one number stand on two.
    pub lineage: Vec<(u64, Position)>,
    /// Whom it follows.
    pub upstream: Option<InstanceId>,
    /// What it last heard of its primary, and when.
    pub heard: Option<(Position, Nanos)>,
    /// The stream is up.
    pub streaming: bool,
    /// Receiving was stopped on purpose.
    pub detached: bool,
    /// Whom its commits wait for; on disk.
    pub waits: CommitWait,
    /// Up to where clients were told that their writes are safe.
    pub acknowledged: u64,
    /// When it wrote up to where, while it was primary.
    pub written: Vec<(Nanos, Position)>,
    /// Its drivers' fences hang until then.
    pub stuck_until: Nanos,
}

impl Postgres {
    /// A running server at the start of its first timeline.
    pub fn new(redis: bool, primary: bool, upstream: Option<InstanceId>) -> Self {
        let start = Position { timeline: u32::from(!redis), offset: 0 };
        Self {
            redis,
            running: true,
            frozen: false,
            primary,
            gate: false,
            start_file: false,
            asked: false,
            position: start,
            lineage: vec![(0, start)],
            upstream,
            heard: None,
            streaming: false,
            detached: false,
            waits: CommitWait::Configured,
            acknowledged: 0,
            written: Vec::new(),
            stuck_until: 0,
        }
    }

    /// A client writes, if it may.
    pub fn write(&mut self, now: Nanos) {
        if self.accepts() {
            self.position.offset += 10;
            self.written.push((now, self.position));
        }
    }

    /// Whether it accepts a write now.
    pub fn accepts(&self) -> bool {
        self.running && !self.frozen && self.primary
    }

    /// All its processes are gone.
    pub fn kill(&mut self, asked: bool) {
        self.running = false;
        self.asked = asked;
        self.streaming = false;
    }

    /// It receives, and runs.
    pub fn follow(&mut self) {
        self.detached = false;
        self.start_file = true;
        if !self.running {
            self.start();
        }
    }

    /// Start it in the role that its data says. False: the gate refuses.
    pub fn start(&mut self) -> bool {
        if self.gate && !self.start_file {
            return false;
        }
        self.running = true;
        self.asked = false;
        true
    }

    /// Become primary on a timeline of its own, which nobody else's has the identity of.
    pub fn promote(&mut self, identity: u64) {
        if !self.primary {
            self.primary = true;
            let timeline = self.position.timeline + u32::from(!self.redis);
            self.position = Position { timeline, ..self.position };
            self.lineage.push((identity, self.position));
            self.written.clear();
            self.acknowledged = self.position.offset;
        }
        self.upstream = None;
        self.detached = false;
        self.streaming = false;
    }

    /// Clients are told of what it wrote, where whoever is waited for has it. `has`: up to where
    /// the standby of that name has received.
    pub fn acknowledge(&mut self, has: impl Fn(&str) -> Option<u64>) {
        if !self.accepts() {
            return;
        }
        let own = self.position.offset;
        let each = |names: &BTreeSet<String>| names.iter().map(|name| has(name).unwrap_or(0)).min();
        let told = match &self.waits {
            CommitWait::Configured | CommitWait::Alone => own,
            CommitWait::Blocked => 0,
            CommitWait::Standbys(names) => each(names).unwrap_or(own),
            CommitWait::Isolated(names) => {
                names.iter().filter_map(|name| has(name)).max().unwrap_or(0)
            }
        };
        self.acknowledged = self.acknowledged.max(told.min(own));
    }

    /// Those who are waited for have all that was acknowledged.
    pub fn is_waiting(&self, has: impl Fn(&str) -> Option<u64>) -> bool {
        match &self.waits {
            CommitWait::Standbys(names) => {
                names.iter().all(|name| has(name) >= Some(self.acknowledged))
            }
            _ => true,
        }
    }

    /// The name of its history; a PostgreSQL's is told by its timelines.
    fn history(&self) -> String {
        let newest = self.lineage.last().filter(|_| self.redis);
        newest.map_or(String::new(), |(identity, _)| format!("history-{identity}"))
    }

    /// Where its timeline began.
    pub fn fork(&self) -> Position {
        self.lineage.last().map_or(self.position, |(_, fork)| *fork)
    }

    /// Up to where its history and that of `other` are one.
    pub fn shared(&self, other: &Postgres) -> u64 {
        let pairs = self.lineage.iter().zip(&other.lineage);
        let same = pairs.take_while(|(own, theirs)| own.0 == theirs.0).count();
        let end = |of: &Postgres| of.lineage.get(same).map_or(of.position, |(_, fork)| *fork);
        end(self).offset.min(end(other).offset)
    }

    /// Whether it can follow a primary that stands as `other`: all that it has is there too.
    pub fn can_follow(&self, other: &Postgres) -> bool {
        self.shared(other) == self.position.offset
    }

    /// Now its data is as that of `other`, up to `position`.
    pub fn copy(&mut self, other: &Postgres, position: Position) {
        self.position = position;
        self.lineage.clone_from(&other.lineage);
    }

    fn waits_for(&self) -> BTreeSet<String> {
        match &self.waits {
            CommitWait::Standbys(names) | CommitWait::Isolated(names) => names.clone(),
            _ => BTreeSet::new(),
        }
    }

    /// What a driver sees.
    pub fn fact(&self, now: Nanos) -> Fact {
        let up = self.running && !self.frozen;
        let condition = match (up, self.asked) {
            (true, _) => Condition::Healthy,
            (false, true) => Condition::Stopped,
            (false, false) => Condition::Dead,
        };
        let role = if self.primary { Role::Primary } else { Role::Replica };
        let upstream = self.heard.filter(|_| !self.primary).map(|(position, at)| Upstream {
            position,
            age: Duration::from_nanos(now - at),
            streaming: self.streaming,
        });
        Fact {
            condition,
            role,
            writable: self.accepts(),
            position: Some(self.position),
            replayed: Some(self.position).filter(|_| !self.primary),
            upstream,
            data_id: if self.redis { String::new() } else { "data".to_owned() },
            fork: Some(self.fork()).filter(|_| !self.redis),
            history: self.history(),
            waits_for: Some(self.waits_for()).filter(|_| self.primary && up),
            ..Fact::default()
        }
    }
}
