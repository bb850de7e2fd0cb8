//! PostgreSQL: observed over its Unix socket, moved with its own tools.
//!
//! It knows one server, its data directory and its processes. It never knows of plans, peers other
//! than the one that an order names, or who may write: the executor and the [`Holder`] do.
//!
//! The procedure follows what was measured: a fast stop and a proof by `pg_controldata` and
//! `pg_waldump` for a switchover, an immediate one for a fence, promotion without waiting for a
//! checkpoint, and a return without rewind only where the line of changes shows that none is
//! needed. One file for each goal; `observe.rs` looks; the others are tools.

mod checksums;
mod commits;
pub(crate) mod control;
mod drain;
mod fence;
pub(crate) mod files;
mod gate;
pub(crate) mod history;
pub(crate) mod keep;
mod observe;
mod parity;
mod processes;
mod promote;
mod rebuild;
mod rehearsal;
mod rejoin;
mod rewind;
mod settings;
mod sql;
mod standby;
mod start;
mod upstream;
mod verify;
pub(crate) mod waldump;

#[cfg(test)]
mod tests;

use super::{Command, Declaration, Done, Driver, DriverError, ENSURE_LIMIT, Holder, Kind, Output};
use arbiter_core::agent::Waiting;
use arbiter_core::{
    CommitWait, Control as Held, EvidenceKind, Fact, Goal, Instance, InstanceId, Instant,
};
use arbiter_core::{Layer, Loss, Position, Terms, Token};
use async_trait::async_trait;
use control::Control;
use processes::{DirId, Process};
use settings::Settings;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// See [`super::KINDS`].
pub const KIND: Kind = Kind {
    config: cluster_config::Kind {
        name: "postgres",
        layer: "data",
        control: "owned",
        evidence: &[
            cluster_config::EvidenceKind::Confirmed,
            cluster_config::EvidenceKind::LeaseExpired,
        ],
        fence: cluster_config::Fence::Required,
        waits: true,
        address: true,
        settings: settings::SETTINGS,
    },
    open: |opening| Ok(Box::new(Postgres::open(opening.id, opening.instance, opening.holder)?)),
    rehearse: Some(rehearsal::open),
};

/// Limit of `pg_controldata`, which reads one small file.
const CONTROLDATA_LIMIT: Duration = Duration::from_secs(2);

/// Longest attempt at being a standby: it may copy everything.
const REJOIN_LIMIT: Duration = Duration::from_secs(48 * 3600);

/// The driver of one PostgreSQL instance.
pub struct Postgres {
    set: Settings,
    holder: Arc<dyn Holder>,
    /// Kept so that a fence asks no disk where the data is.
    dir: Mutex<Option<DirId>>,
    /// What the replica last heard of its primary, and when: it outlives the connection.
    heard: Mutex<Option<(Position, Instant)>>,
    /// Capacities below the primary's, and when they were compared.
    capacities: Mutex<Option<(Instant, Vec<String>)>>,
    /// What both sides must have alike, and when it was asked for.
    parity: Mutex<Option<(Instant, BTreeMap<String, String>)>>,
    /// Checksums of rows that the user names.
    sums: checksums::Checksums,
    /// End of the WAL of the stopped server, for the control file that it was computed from.
    end: Mutex<Option<(Control, Option<Position>)>>,
    /// Told to stop, by this process; where there is a start gate, that tells it too.
    asked_to_stop: AtomicBool,
    /// A checkpoint after a promotion is under way.
    checkpointing: Arc<AtomicBool>,
    /// One change of the configuration at a time: each reads, and writes what it read.
    rewriting: Mutex<()>,
    /// How it is being brought back onto its upstream's line, in words.
    rejoining: Mutex<String>,
    /// The upstream that has not kept the WAL that this standby needs.
    lacks_wal: Mutex<Option<String>>,
    /// What the newest divergence cost, once it was looked for.
    lost: Mutex<Option<Option<Loss>>>,
}

impl Postgres {
    /// Open instance `id`.
    ///
    /// # Errors
    /// `Refused`, naming the setting that is unknown, missing or wrong.
    pub fn open(
        id: &InstanceId,
        instance: &Instance,
        holder: Arc<dyn Holder>,
    ) -> Result<Self, DriverError> {
        Ok(Self {
            set: Settings::read(id, instance)?,
            holder,
            dir: Mutex::default(),
            heard: Mutex::default(),
            capacities: Mutex::default(),
            parity: Mutex::default(),
            sums: checksums::Checksums::default(),
            end: Mutex::default(),
            asked_to_stop: AtomicBool::new(false),
            checkpointing: Arc::default(),
            rewriting: Mutex::default(),
            rejoining: Mutex::default(),
            lacks_wal: Mutex::default(),
            lost: Mutex::default(),
        })
    }

    fn retry(&self, what: impl std::fmt::Display) -> DriverError {
        DriverError::Retry(format!("instance {}: {what}", self.set.id))
    }

    fn refuse(&self, what: impl std::fmt::Display) -> DriverError {
        DriverError::Refused(format!("instance {}: {what}", self.set.id))
    }

    /// Run one of PostgreSQL's programs to its end as the server's user, in plain English.
    async fn tool(
        &self,
        name: &str,
        args: &[&str],
        env: &[(&str, &str)],
        limit: Duration,
    ) -> Result<Output, DriverError> {
        let with_language = [&[("LC_ALL", "C")], env].concat();
        let command = Command {
            program: self.set.program(name),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: with_language.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            user: self.set.user.clone(),
            limit,
            log: None,
        };
        self.holder.run(&command).await
    }

    /// What the control file says.
    async fn control(&self) -> Result<Control, DriverError> {
        let dir = self.set.data_dir.display().to_string();
        let output = self.tool("pg_controldata", &["-D", &dir], &[], CONTROLDATA_LIMIT).await?;
        if output.code != Some(0) {
            let why = output.stderr.lines().next().unwrap_or("it was killed").to_owned();
            return Err(self.retry(format!("pg_controldata failed: {why}")));
        }
        control::parse(&output.stdout).map_err(|why| self.retry(why))
    }

    /// Every live process of this server, whoever started it.
    fn processes(&self) -> Result<Vec<Process>, DriverError> {
        let mut known = self.dir.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Asked anew while nothing runs: the directory may have been swapped.
        let dir = match *known {
            Some(dir) => Some(dir),
            None => processes::dir_id(&self.set.data_dir),
        };
        let Some(dir) = dir else { return Ok(Vec::new()) };
        let found = processes::holding(dir).map_err(|error| self.retry(error))?;
        *known = (!found.is_empty()).then_some(dir);
        Ok(found)
    }
}

#[async_trait]
impl Driver for Postgres {
    fn declares(&self) -> Declaration {
        Declaration {
            control: Held::Owned,
            evidence: vec![EvidenceKind::Confirmed, EvidenceKind::LeaseExpired],
            layer: Layer::Data,
        }
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        self.look().await
    }

    async fn ensure(&self, goal: Goal, _token: Token, terms: &Terms) -> Result<Done, DriverError> {
        match goal {
            Goal::Active => self.active(terms).await,
            Goal::Standby => self.standby(terms).await,
            Goal::Drained => self.drained(terms).await,
            Goal::Fenced => self.fenced(terms).await,
        }
    }

    fn limit(&self, goal: Goal) -> Duration {
        if goal == Goal::Standby { REJOIN_LIMIT } else { ENSURE_LIMIT }
    }

    async fn verify(&self, token: Token) -> Result<Fact, DriverError> {
        self.write(token).await
    }

    async fn commits(&self, wait: &CommitWait) -> Result<Waiting, DriverError> {
        self.wait_for(wait).await
    }

    async fn rehearse_fence(&self) -> Result<bool, DriverError> {
        self.rehearsed_fence().await
    }

    async fn gate(&self, armed: bool) -> Result<(), DriverError> {
        if armed { self.put_gate_in().await } else { self.take_gate_out() }
    }

    async fn start_as_is(&self) -> Result<(), DriverError> {
        if self.processes()?.is_empty() {
            let primary = !files::is_standby(&self.set.data_dir);
            self.asked_to_stop.store(false, Ordering::SeqCst);
            return self.start(primary).await;
        }
        Ok(())
    }

    async fn running(&self) -> Result<Vec<i32>, DriverError> {
        let found = self.processes()?;
        let server = processes::postmaster(&found).is_some();
        Ok(if server { found.iter().map(|process| process.pid).collect() } else { Vec::new() })
    }
}
