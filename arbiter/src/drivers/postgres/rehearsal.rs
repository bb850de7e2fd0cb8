//! A rehearsal: a throw-away copy of the standby is promoted on another port, written to, checked
//! and removed. The standby itself goes on replicating meanwhile.
//!
//! Knows how a copy is kept from everything outside it. The promotion is the driver's own, so that
//! what is rehearsed is what a failover does.

use super::rebuild::COPY_LIMIT;
use super::rewind::last_error;
use super::{Postgres, files, gate};
use crate::clock;
use crate::drivers::drill::{Checks, Said};
use crate::drivers::{Command, Declaration, Done, Driver, DriverError, Holder, Opening, Output};
use arbiter_core::{CHECKSUM, Condition, Fact, Goal, Instance, InstanceId, Role, Terms, Token};
use async_trait::async_trait;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The copy, beside the data.
const COPY: &str = "rehearsal";
/// How fast it is copied where `rebuild_rate` says nothing, as pg_basebackup takes it.
const RATE: &str = "64M";
/// How long a promotion of the copy may take, its start and the replay included.
const PROMOTION_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Wait between two tries of a start or a promotion that go on by themselves.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// What keeps a copy to itself: it follows nobody, archives nothing, and starts none of the workers
/// that are known to reach out. Given at start, where it wins over every file.
const ALONE: &[&str] = &[
    "primary_conninfo=",
    "primary_slot_name=",
    "restore_command=",
    "recovery_end_command=",
    "archive_cleanup_command=",
    "archive_mode=off",
    "synchronous_standby_names=",
    "max_logical_replication_workers=0",
    "cron.launch_active_jobs=off",
    "timescaledb.max_background_workers=0",
    "listen_addresses=127.0.0.1",
    "external_pid_file=",
    "logging_collector=off",
    "huge_pages=off",
    "shared_buffers=64MB",
];

/// The rehearsal of one instance.
struct Rehearsal {
    /// The standby that is copied.
    own: Postgres,
    /// What policy says of it.
    instance: Instance,
    holder: Arc<dyn Holder>,
    checks: Checks,
    said: Said,
}

/// See [`crate::drivers::Kind::rehearse`].
///
/// # Errors
/// As [`Postgres::open`].
pub(super) fn open(opening: &Opening<'_>) -> Result<Box<dyn Driver>, DriverError> {
    let own = Postgres::open(opening.id, opening.instance, opening.holder.clone())?;
    Ok(Box::new(Rehearsal {
        own,
        instance: opening.instance.clone(),
        holder: opening.holder.clone(),
        checks: Checks::read(opening)?,
        said: Said::default(),
    }))
}

impl Rehearsal {
    async fn rehearse(&self, token: Token) -> Result<String, DriverError> {
        self.remove().await?;
        let facts = self.own.look().await?;
        if facts.role != Role::Replica || facts.condition != Condition::Healthy {
            return Err(self.own.retry("is no standby that runs: there is nothing to copy"));
        }
        let dir = self.own.beside(COPY);
        let began = clock::now();
        self.copy(&dir).await?;
        let copied = clock::now().since(began);
        let aside = Arc::new(Aside::new(self.holder.clone(), &dir));
        let copy = self.open_copy(&dir, aside.clone())?;
        let done = self.promoted(&copy, token, &aside).await;
        let took = clock::now().since(began) - copied;
        let checked = match done {
            Ok(()) => {
                let port = copy.set.port;
                self.checks.run(&*self.holder, token, &format!("127.0.0.1:{port}")).await
            }
            Err(error) => Err(error),
        };
        drop(copy);
        self.remove().await?;
        let checked = checked?;
        Ok(format!(
            "copied in {copied:.1?}, promoted and written to in {took:.1?}, {checked}, removed"
        ))
    }

    /// A copy of the running standby, by itself.
    async fn copy(&self, dir: &Path) -> Result<(), DriverError> {
        let why = "a rehearsal promotes a copy";
        self.own.may_be_swapped(why)?;
        let session = self.own.session().await.map_err(|error| self.own.retry(error))?;
        let row = session.row(super::rebuild::SIZE).await;
        let bytes: i64 = row.map_err(|error| self.own.retry(error))?.get(0);
        drop(session);
        self.own.room_for_copy(bytes.unsigned_abs(), why)?;
        let failed = |error: io::Error| self.own.retry(format!("{}: {error}", dir.display()));
        self.own.empty_copy(dir).map_err(failed)?;
        let (socket, port) = self.own.socket_place();
        let (socket, port) = (socket.display().to_string(), port.to_string());
        let to = dir.display().to_string();
        let user = &self.own.set.admin_user;
        // What replays beside it reads and writes the same disk.
        let rate = self.own.set.rebuild_rate.as_deref().unwrap_or(RATE);
        let args = ["-D", &to, "-h", &socket, "-p", &port, "-U", user, "-w", "-c", "fast", "-X"];
        let args = [&args[..], &["stream", "--max-rate", rate]].concat();
        let output = self.own.tool("pg_basebackup", &args, &[], COPY_LIMIT).await?;
        if output.code != Some(0) {
            return Err(self.own.refuse(format!(
                "it cannot be copied for a rehearsal: {}; does pg_hba.conf let {user} replicate \
                 over the local socket?",
                last_error(&output)
            )));
        }
        self.configure(dir).map_err(failed)
    }

    /// The copy reads a configuration of its own, without the start gate of the instance.
    fn configure(&self, dir: &Path) -> io::Result<()> {
        let from = self.own.set.config_path();
        let text = gate::without_lines(&fs::read_to_string(&from)?);
        let base = from.parent().unwrap_or(Path::new("/"));
        let text: String = text.lines().map(|line| absolute(line, base) + "\n").collect();
        files::replace(&dir.join("postgresql.conf"), &text, dir)?;
        files::make_standby(dir)
    }

    fn open_copy(&self, dir: &Path, aside: Arc<Aside>) -> Result<Postgres, DriverError> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(|error| self.own.retry(error))?.port();
        let mut instance = self.instance.clone();
        let keys = ["config_file", "slot", "peer_slots", "log_file", "synchronous_standby_names"];
        keys.iter().for_each(|key| drop(instance.settings.remove(*key)));
        instance.settings.retain(|key, _| !key.starts_with(CHECKSUM));
        let mut set = |key: &str, value: String| instance.settings.insert(key.to_owned(), value);
        set("data_dir", dir.display().to_string());
        set("bin_dir", self.own.set.bin_dir.display().to_string());
        set("socket_dir", self.own.socket_place().0.display().to_string());
        set("listen", "127.0.0.1".to_owned());
        set("port", port.to_string());
        instance.address = format!("127.0.0.1:{port}");
        let id = InstanceId(format!("{COPY} of {}", self.own.set.id));
        Postgres::open(&id, &instance, aside)
    }

    /// Promote the copy as a failover would, and write to it.
    async fn promoted(
        &self,
        copy: &Postgres,
        token: Token,
        aside: &Aside,
    ) -> Result<(), DriverError> {
        let began = clock::now();
        let terms = Terms::default();
        loop {
            let tried = match copy.ensure(Goal::Active, token, &terms).await {
                Ok(_) => copy.verify(token).await.map(drop),
                Err(error) => Err(error),
            };
            match tried {
                Err(DriverError::Retry(_))
                    if aside.runs() && clock::now().since(began) < PROMOTION_LIMIT =>
                {
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                Err(error) => {
                    let last = aside.last_words();
                    return Err(self.own.refuse(format!("{error}{last}")));
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Nothing of a copy is left: no process and no file.
    async fn remove(&self) -> Result<(), DriverError> {
        let dir = self.own.beside(COPY);
        if !dir.exists() {
            return Ok(());
        }
        let none = Arc::new(Aside::new(self.holder.clone(), &dir));
        if dir.join("PG_VERSION").exists() {
            self.open_copy(&dir, none)?.kill_all().await?;
        }
        let failed = |error: io::Error| self.own.retry(format!("{}: {error}", dir.display()));
        fs::remove_dir_all(&dir).map_err(failed)
    }
}

/// An include of a file beside the configuration, named from the root.
fn absolute(line: &str, base: &Path) -> String {
    let trimmed = line.trim_start();
    let named = ["include_if_exists", "include_dir", "include"].iter().find_map(|word| {
        let rest = trimmed.strip_prefix(word)?.trim_start();
        let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
        let path = rest.strip_prefix('\'')?.split('\'').next()?;
        (!path.starts_with('/')).then(|| format!("{word} '{}'", base.join(path).display()))
    });
    named.unwrap_or_else(|| line.to_owned())
}

#[async_trait]
impl Driver for Rehearsal {
    fn declares(&self) -> Declaration {
        crate::drivers::drill::declaration()
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        Ok(self.said.fact())
    }

    async fn ensure(&self, goal: Goal, token: Token, _: &Terms) -> Result<Done, DriverError> {
        if goal == Goal::Active {
            let text = self.rehearse(token).await?;
            return Ok(self.said.done(text));
        }
        self.remove().await?;
        Ok(Done::default())
    }

    fn limit(&self, _: Goal) -> Duration {
        COPY_LIMIT + self.checks.limit()
    }

    async fn verify(&self, _: Token) -> Result<Fact, DriverError> {
        Ok(self.said.fact())
    }
}

/// Runs a copy beside the held processes: it ends with who runs it. No deadman need hold what
/// nobody is led to.
struct Aside {
    holder: Arc<dyn Holder>,
    dir: PathBuf,
    server: Mutex<Option<Ends>>,
    output: Arc<Mutex<Option<Output>>>,
}

/// A task that ends when it is dropped.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Aside {
    fn new(holder: Arc<dyn Holder>, dir: &Path) -> Self {
        Self { holder, dir: dir.to_owned(), server: Mutex::default(), output: Arc::default() }
    }

    /// It was started and has not ended.
    fn runs(&self) -> bool {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Why it ended, in its own words.
    fn last_words(&self) -> String {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.as_ref().map(|output| format!(": {}", last_error(output))).unwrap_or_default()
    }
}

#[async_trait]
impl Holder for Aside {
    async fn run(&self, program: &Command) -> Result<Output, DriverError> {
        self.holder.run(program).await
    }

    async fn start(&self, program: &Command, _: bool) -> Result<(), DriverError> {
        let mut server = program.clone();
        let dir = format!("data_directory={}", self.dir.display());
        let alone = ALONE.iter().map(|option| (*option).to_owned()).chain([dir]);
        server.args.extend(alone.flat_map(|option| ["-c".to_owned(), option]));
        server.limit = COPY_LIMIT;
        let (holder, output) = (self.holder.clone(), self.output.clone());
        let run = async move {
            let ended = holder.run(&server).await;
            let said = |error: DriverError| Output {
                code: None,
                stdout: String::new(),
                stderr: error.to_string(),
            };
            let ended = ended.unwrap_or_else(said);
            *output.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        };
        let task = Ends(tokio::spawn(run));
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(())
    }

    fn processes(&self) -> Result<Vec<i32>, DriverError> {
        Ok(Vec::new())
    }

    async fn kill(&self) -> Result<(), DriverError> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }

    fn armed(&self) -> bool {
        false
    }

    fn gate_dir(&self) -> PathBuf {
        self.holder.gate_dir()
    }
}
