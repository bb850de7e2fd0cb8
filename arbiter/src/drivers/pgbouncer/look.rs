//! What is seen of a pooler, and what of it would break a switchover. Changes nothing.

use super::PgBouncer;
use super::console::{CONSOLE, Row, Rows, Unreachable};
use super::file::Entry;
use super::lead::elsewhere;
use arbiter_core::{Condition, Fact};
use nix::unistd::{AccessFlags, access};
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// The least that clients must be held for, in seconds: a plan's rows up to the promotion.
const QUERY_WAIT_MIN_S: u64 = 60;

impl PgBouncer {
    /// What is seen now; what cannot be seen is a fault.
    pub(super) async fn look(&self) -> Fact {
        let mut fact = Fact::default();
        // The conversation that stood may have ended with a pooler that runs again.
        let seen = match self.asked().await {
            Err(Unreachable::Failed(_)) => self.asked().await,
            seen => seen,
        };
        let entries = self.entries();
        match seen {
            Ok((rows, config)) => {
                let entries = entries.as_deref().unwrap_or_default();
                self.seen(&mut fact, entries, &rows, &config);
            }
            Err(why) => {
                let down = matches!(why, Unreachable::Down(_));
                fact.condition = if down { Condition::Dead } else { Condition::Unknown };
                fact.faults.push(format!(
                    "{why}: see socket_dir, admin_user, admin_password_file, and the pooler's \
                     admin_users and log"
                ));
            }
        }
        match entries {
            Ok(entries) => self.file_faults(&mut fact, &entries),
            Err(why) => fact.faults.push(why.to_string()),
        }
        fact
    }

    async fn asked(&self) -> Result<(Rows, BTreeMap<String, String>), Unreachable> {
        let session = self.session().await?;
        Ok((session.databases().await?, session.config().await?))
    }

    fn seen(
        &self,
        fact: &mut Fact,
        entries: &[Entry],
        rows: &Rows,
        config: &BTreeMap<String, String>,
    ) {
        let ours: Vec<(&Entry, &Row)> =
            entries.iter().filter_map(|e| Some((e, rows.get(&e.name)?))).collect();
        let marked = self.marker.names().unwrap_or_default();
        let paused = |(e, row): &&(&Entry, &Row)| row.paused && marked.contains(&e.name);
        fact.writable = ours.iter().any(|(_, row)| !row.paused);
        let held = ours.iter().any(|one| paused(&one));
        fact.condition = if held { Condition::Stopped } else { Condition::Healthy };
        let mut places: Vec<String> =
            ours.iter().map(|(_, row)| format!("{}:{}", row.host, row.port)).collect();
        places.dedup();
        fact.detail.insert("leads_to".to_owned(), places.join(", "));
        for (entry, row) in &ours {
            if row.paused && !marked.contains(&entry.name) {
                fact.faults.push(format!(
                    "database {0} was paused by somebody else, and stays so: RESUME {0}",
                    entry.name
                ));
            }
            if is_session(row, config) {
                fact.faults.push(format!(
                    "database {} has pool_mode session: its clients can only be held back once \
                     they leave; set pool_mode = transaction",
                    entry.name
                ));
            }
        }
        self.not_read(fact, entries, rows, config);
        self.not_ordered(fact, entries, rows);
        self.config_faults(fact, config);
    }

    /// What the file says, and PgBouncer does not.
    fn not_read(
        &self,
        fact: &mut Fact,
        entries: &[Entry],
        rows: &Rows,
        config: &BTreeMap<String, String>,
    ) {
        let other = entries.iter().filter(|entry| {
            !rows.get(&entry.name).is_some_and(|row| {
                row.host == entry.host && (entry.port.is_empty() || row.port == entry.port)
            })
        });
        let other: Vec<&str> = other.map(|entry| entry.name.as_str()).collect();
        if !other.is_empty() {
            let conffile = config.get("conffile").map_or("its file", String::as_str);
            fact.faults.push(format!(
                "PgBouncer has not what {} says of {}: have an %include of it in {conffile}, and \
                 RELOAD",
                self.set.databases_file.display(),
                other.join(", ")
            ));
        }
    }

    /// Clients that are led elsewhere than the last order said.
    fn not_ordered(&self, fact: &mut Fact, entries: &[Entry], rows: &Rows) {
        let ordered = self.ordered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(place) = ordered else { return };
        let led: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        let other = elsewhere(rows, &led, &place);
        if !other.is_empty() {
            fact.faults.push(format!(
                "clients of {} are not led to {place}, as was ordered: put host and port back in \
                 {}, and RELOAD",
                other.join(", "),
                self.set.databases_file.display()
            ));
        }
    }

    fn config_faults(&self, fact: &mut Fact, config: &BTreeMap<String, String>) {
        let listed = |key: &str| {
            let text = config.get(key).map(String::as_str).unwrap_or_default();
            text.split(',').any(|name| name.trim() == self.set.admin_user)
        };
        if !self.set.is_own_user() && !listed("admin_users") {
            fact.faults.push(format!(
                "{} may not PAUSE: add it to admin_users of {CONSOLE}.ini",
                self.set.admin_user
            ));
        }
        let unset = |key: &&str| config.get(*key).is_none_or(|value| value == "0");
        let endless: Vec<&str> =
            ["tcp_user_timeout", "tcp_keepidle"].into_iter().filter(unset).collect();
        if !endless.is_empty() {
            fact.faults.push(format!(
                "{} is not set: what is under way at a server that is lost holds its place in the \
                 pool for as long as TCP tries; set tcp_user_timeout = 5000 and tcp_keepidle = 5",
                endless.join(" and ")
            ));
        }
        let wait = config.get("query_wait_timeout").and_then(|text| text.parse::<u64>().ok());
        if let Some(wait) = wait.filter(|wait| (1..QUERY_WAIT_MIN_S).contains(wait)) {
            fact.faults.push(format!(
                "query_wait_timeout is {wait} s: clients that are held back longer get an error; \
                 set at least {QUERY_WAIT_MIN_S}"
            ));
        }
    }

    fn file_faults(&self, fact: &mut Fact, entries: &[Entry]) {
        let file = &self.set.databases_file;
        if entries.is_empty() {
            let what = "has no entry in [databases]: name the file that has them";
            fact.faults.push(format!("{} {what}", file.display()));
        }
        for name in self.set.databases.iter().flatten() {
            if entries.iter().all(|entry| entry.name != *name) {
                fact.faults.push(format!(
                    "{} has no entry {name}: correct the setting databases",
                    file.display()
                ));
            }
        }
        // It is replaced by a new file of that name.
        let dir = std::fs::canonicalize(file).ok().and_then(|file| Some(file.parent()?.to_owned()));
        let writable = dir.is_some_and(|dir| access(&dir, AccessFlags::W_OK).is_ok());
        if !writable {
            fact.faults.push(format!(
                "{} cannot be rewritten: let the agent's user write in its directory",
                file.display()
            ));
        }
    }
}

/// Whether clients of a database keep a connection for as long as they stay.
pub(super) fn is_session(row: &Row, config: &BTreeMap<String, String>) -> bool {
    let default = config.get("pool_mode").map_or("session", String::as_str);
    (if row.pool_mode.is_empty() { default } else { &row.pool_mode }) == "session"
}
