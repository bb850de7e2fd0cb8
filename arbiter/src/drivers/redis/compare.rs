//! What a replica has is compared with its primary, key by key, now and then, under names and by
//! patterns that the user gives.
//!
//! Knows which keys come next, and how seldom they are asked. Each time it goes on where it ended:
//! in time it sees all of them, and no time costs more than another. What differed is looked at
//! again each time. Keys may be secrets: no fault and no log names them.

use super::Redis;
use super::digest::{Both, Key, Verdicts, bytes_of};
use super::info::Info;
use super::talk::{COMMAND_LIMIT, Session, Unreachable, text};
use super::upstream::join;
use crate::clock;
use crate::drivers::files;
use arbiter_core::{COMPARED, DIFFERS, Fact, Instant};
use redis::{ConnectionAddr, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often they are compared.
const EVERY: Duration = Duration::from_secs(600);
/// After a time that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How long one may take, all names together.
const LIMIT: Duration = Duration::from_secs(300);
/// Keys that a server goes through for one page.
const SCAN_COUNT: &str = "200";
/// Pages that are read of each server for one name.
const SCANS_MAX: usize = 200;
/// Keys that are remembered to differ, of one name.
const DIFFERING_MAX: usize = 1000;
/// Beside the data: the keys that differ.
const LIST: &str = "arbiter-differs.txt";

/// What is known of them.
#[derive(Default)]
pub(super) struct Comparisons(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    running: bool,
    /// When the next is due.
    due: Option<Instant>,
    /// Whom it was compared with.
    with: String,
    names: BTreeMap<String, Named>,
    failed: Option<String>,
}

/// What is known under one name.
#[derive(Clone, Default)]
struct Named {
    /// How far each server's keys were gone through.
    own: Walk,
    source: Walk,
    differing: BTreeSet<Key>,
    said: String,
}

/// A place among the keys of one server.
#[derive(Clone, Default)]
struct Walk {
    database: Option<u32>,
    cursor: String,
}

impl Comparisons {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next look compares, whenever the last did.
    #[cfg(test)]
    pub fn hurry(&self) {
        self.known().due = None;
    }
}

impl Redis {
    /// Add what was found, and begin anew where that is due. Nobody waits for it.
    pub(super) fn compared(&self, info: &Info, fact: &mut Fact) {
        if self.set.checksums.is_empty() {
            return;
        }
        let (host, port) = info.upstream();
        let with = join(host, port);
        let begin = {
            let mut known = self.comparisons.known();
            if info.is_primary() || known.with != with {
                (known.due, known.failed) = (None, None);
                (known.with, known.names) = (with, BTreeMap::new());
            }
            let follows = !info.is_primary() && info.is_linked() && !info.is_copying();
            if !info.is_primary() {
                known.tell(fact);
            }
            let due = known.due.is_none_or(|due| due <= clock::now());
            let begin = follows && due && !known.running;
            known.running |= begin;
            begin
        };
        if begin {
            self.begin((host.to_owned(), port), info.databases());
        }
    }

    fn begin(&self, (host, port): (String, u16), databases: BTreeSet<u32>) {
        let ended = Ended(self.comparisons.0.clone());
        let (with, names) = {
            let known = self.comparisons.known();
            (known.with.clone(), known.names.clone())
        };
        let run = Run {
            own: self.address(),
            source: ConnectionAddr::Tcp(host, port),
            login: self.set.login.clone(),
            asked: self.set.checksums.clone(),
            keys_max: self.set.checksum_keys,
            list: self.set.data_dir.join(LIST),
            with,
            names,
        };
        tokio::spawn(async move {
            let with = run.with.clone();
            let over = || Err(Unreachable::Hung(LIMIT));
            let found = tokio::time::timeout(LIMIT, run.all(databases)).await;
            ended.with(&with, found.unwrap_or_else(|_| over()));
        });
    }
}

impl Known {
    fn tell(&self, fact: &mut Fact) {
        let said = self.names.iter().filter(|(_, named)| !named.said.is_empty());
        let said = said.map(|(name, named)| (format!("{COMPARED}{name}"), named.said.clone()));
        fact.detail.extend(said);
        fact.faults.extend(self.failed.iter().map(|why| {
            format!(
                "its keys are not compared with {}: {why}; acl_user needs to be allowed scan, \
                 select, eval_ro, memory|usage and to read, on both",
                self.with
            )
        }));
    }
}

/// One time, with all that it needs.
struct Run {
    own: ConnectionAddr,
    source: ConnectionAddr,
    login: super::settings::Login,
    asked: BTreeMap<String, String>,
    keys_max: usize,
    list: PathBuf,
    with: String,
    names: BTreeMap<String, Named>,
}

impl Run {
    async fn all(mut self, own: BTreeSet<u32>) -> Result<BTreeMap<String, Named>, Unreachable> {
        let both = Both {
            own: Session::open(self.own.clone(), &self.login).await?,
            source: Session::open(self.source.clone(), &self.login).await?,
        };
        let there = both.source.info().await?.databases();
        let mut found = BTreeMap::new();
        for (name, pattern) in &self.asked {
            let mut named = self.names.remove(name).unwrap_or_default();
            let half = self.keys_max.div_ceil(2);
            let mut keys = named.own.next(&both.own, pattern, &own, half).await?;
            keys.extend(named.source.next(&both.source, pattern, &there, half).await?);
            keys.extend(named.differing.iter().cloned());
            let verdicts = compare(&both, keys).await?;
            named.said = said(&verdicts, &self.with, &self.list);
            named.differing = verdicts.differ.into_iter().take(DIFFERING_MAX).collect();
            found.insert(name.clone(), named);
        }
        list(&self.list, &found)?;
        Ok(found)
    }
}

async fn compare(both: &Both, keys: BTreeSet<Key>) -> Result<Verdicts, Unreachable> {
    let mut found = Verdicts::default();
    let keys: Vec<Key> = keys.into_iter().collect();
    for of_one in keys.chunk_by(|one, other| one.database == other.database) {
        let Verdicts { alike, unknown, differ } = both.compare(of_one).await?;
        found.alike += alike;
        found.unknown += unknown;
        found.differ.extend(differ);
    }
    Ok(found)
}

fn said(verdicts: &Verdicts, with: &str, list: &std::path::Path) -> String {
    let Verdicts { alike, unknown, differ } = verdicts;
    let besides = match unknown {
        0 => String::new(),
        unknown => format!("; {unknown} changed meanwhile, are about to expire or too large"),
    };
    if differ.is_empty() {
        return format!("{alike} keys are as on {with}{besides}");
    }
    let (count, list) = (differ.len(), list.display());
    format!("{DIFFERS}{count} keys are not as on {with}, {alike} are{besides}; {list} names them")
}

/// Write down which keys differ, for nobody but the owner of the data.
fn list(path: &std::path::Path, found: &BTreeMap<String, Named>) -> Result<(), Unreachable> {
    let lines = found.iter().flat_map(|(name, named)| {
        let keys = named.differing.iter();
        keys.map(move |key| format!("{name} {} {}\n", key.database, key.name.escape_ascii()))
    });
    let text: String = lines.collect();
    let written = match path.parent() {
        Some(like) if !text.is_empty() => files::write_private(path, &text, like),
        _ => files::remove(path),
    };
    written.map_err(|error| Unreachable::Failed(format!("{}: {error}", path.display())))
}

impl Walk {
    /// About `wanted` keys from where it is, or fewer at the end of all databases, from where it
    /// begins anew.
    async fn next(
        &mut self,
        session: &Session,
        pattern: &str,
        databases: &BTreeSet<u32>,
        wanted: usize,
    ) -> Result<BTreeSet<Key>, Unreachable> {
        let mut found = BTreeSet::new();
        for _ in 0..SCANS_MAX {
            let first = databases.range(self.database.unwrap_or(0)..).next();
            let Some(database) = first.copied().filter(|_| found.len() < wanted) else { break };
            if self.database != Some(database) {
                *self = Self { database: Some(database), cursor: "0".to_owned() };
            }
            session.ask(&["SELECT", &database.to_string()]).await?;
            let words = ["SCAN", &self.cursor, "MATCH", pattern, "COUNT", SCAN_COUNT];
            let words = words.map(str::as_bytes);
            let (cursor, names) = page(session.ask_bytes(&words, COMMAND_LIMIT).await?)?;
            found.extend(names.into_iter().map(|name| Key { database, name }));
            self.cursor = cursor;
            if self.cursor == "0" {
                self.database = Some(database + 1);
            }
        }
        if databases.range(self.database.unwrap_or(0)..).next().is_none() {
            *self = Self::default();
        }
        Ok(found)
    }
}

fn page(answer: Value) -> Result<(String, Vec<Vec<u8>>), Unreachable> {
    match answer {
        Value::Array(mut parts) if parts.len() == 2 => {
            let names = bytes_of(parts.pop().unwrap_or(Value::Nil));
            Ok((text(&parts[0]), names))
        }
        _ => Err(Unreachable::Failed("a page of keys is not understood".to_owned())),
    }
}

/// Notes that they are compared no more, however that ended.
struct Ended(Arc<Mutex<Known>>);

impl Ended {
    fn with(&self, with: &str, found: Result<BTreeMap<String, Named>, Unreachable>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Its primary is another one by now.
        if known.with != with {
            return;
        }
        match found {
            Ok(found) => {
                known.due = Some(clock::now() + EVERY);
                (known.names, known.failed) = (found, None);
            }
            Err(why) => known.failed = Some(why.to_string()),
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
