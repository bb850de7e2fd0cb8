//! Drivers: one file a kind of resource. A new kind is one new file and one line in [`KINDS`].
//!
//! A driver knows one kind of resource on one host, or one zone. It never knows of Raft, plans,
//! other resources, timeouts, retries, the order of steps, or the stored token: those belong to
//! the executor.

mod apart;
mod aws;
mod bucket;
pub mod command;
pub mod dns;
mod drill;
mod files;
pub mod kubernetes;
pub mod object_store;
pub mod pgbouncer;
pub mod postgres;
mod processes;
pub mod redis;
pub mod terraform_state;
pub mod velero;

pub use apart::Apart;

use arbiter_core::agent::Waiting;
use arbiter_core::{
    CommitWait, Control, EXTERNAL_FENCE, EvidenceKind, Fact, Goal, GroupId, Instance, InstanceId,
    Layer, Position, Terms, Token,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// What a kind can give.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// Who holds its processes.
    pub control: Control,
    /// Every kind of evidence it can ever give.
    pub evidence: Vec<EvidenceKind>,
    /// Its layer.
    pub layer: Layer,
}

/// A goal reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// For `Fenced`, and for `Drained` of a source: what proves it.
    pub evidence: Option<EvidenceKind>,
    /// Where the stream ended, for `Fenced` and `Drained`.
    pub end: Option<Position>,
    /// The stop was clean: the instance can come back as a standby by itself.
    pub clean: bool,
    /// What is seen now.
    pub facts: Fact,
}

/// Named by what the caller does next. The text says what failed and, for an operator, the remedy.
/// It never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DriverError {
    /// Try again, with back-off.
    #[error("{0}")]
    Retry(String),
    /// No retry will help without somebody's doing.
    #[error("{0}")]
    Refused(String),
    /// The resource has seen a higher token: obey nothing below it.
    #[error("the resource has seen the higher token {seen}")]
    StaleEpoch {
        /// The token it has seen.
        seen: Token,
    },
}

/// How a driver starts and stops processes so that the deadman holds them. The agent gives it.
///
/// `owned` resources run in a cgroup of their group, inside a PID namespace whose init is the
/// deadman, or (adopted) in a cgroup that the deadman kills.
#[async_trait]
pub trait Holder: Send + Sync {
    /// Run a program to its end as the resource's user, outside the held cgroup (tools such as
    /// `pg_controldata`). Returns its exit status, standard output and standard error.
    async fn run(&self, program: &Command) -> Result<Output, DriverError>;
    /// Start a server in the held cgroup and leave it running. It is refused (`Retry`) unless the
    /// group is unarmed, or armed with a deadline running where `writable`.
    async fn start(&self, program: &Command, writable: bool) -> Result<(), DriverError>;
    /// Take running processes of a server into the held cgroup, or hold the one that they are in.
    /// By default that cannot be done.
    async fn adopt(&self, pids: Vec<i32>) -> Result<(), DriverError> {
        let pids: Vec<String> = pids.iter().map(i32::to_string).collect();
        Err(DriverError::Refused(format!(
            "a server runs that the deadman does not hold (process {}): stop it, and the agent \
             starts it",
            pids.join(", ")
        )))
    }
    /// Process ids in the held cgroup, zombies left out, as this process sees them.
    fn processes(&self) -> Result<Vec<i32>, DriverError>;
    /// Kill every process of the held cgroup and wait until none is left.
    async fn kill(&self) -> Result<(), DriverError>;
    /// Prove that what is held could be killed, and that `server`, processes of a server, are among
    /// it. Kills nothing of it.
    async fn rehearse_kill(&self, server: Vec<i32>) -> Result<(), DriverError> {
        let held = self.processes()?;
        match server.iter().find(|pid| !held.contains(pid)) {
            Some(pid) => Err(DriverError::Retry(format!("process {pid} is not held"))),
            None => Ok(()),
        }
    }
    /// Whether the group is armed: an unarmed one is neither gated nor stopped.
    fn armed(&self) -> bool;
    /// Where the start gate file belongs: on a file system that a reboot empties.
    fn gate_dir(&self) -> PathBuf;
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment on top of the agent's.
    pub env: Vec<(String, String)>,
    /// Who runs it; none: whoever runs the agent.
    pub user: Option<String>,
    /// Its time limit.
    pub limit: std::time::Duration,
    /// Where standard output and error of a started server go.
    pub log: Option<PathBuf>,
}

/// What a program left.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; none when killed.
    pub code: Option<i32>,
    /// Standard output, lossily as text.
    pub stdout: String,
    /// Standard error, lossily as text.
    pub stderr: String,
}

/// Longest attempt at a goal, where a driver does not say otherwise.
pub const ENSURE_LIMIT: std::time::Duration = std::time::Duration::from_secs(600);

/// One resource in one region.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Control, evidence kinds, layer.
    fn declares(&self) -> Declaration;
    /// Look; change nothing.
    async fn observe(&self) -> Result<Fact, DriverError>;
    /// Make the goal true. Twice is once. Dropped mid-way it can be asked again, or another goal.
    async fn ensure(&self, goal: Goal, token: Token, terms: &Terms) -> Result<Done, DriverError>;
    /// The longest that one attempt at `goal` may take: a driver that is stuck must not be so for
    /// ever. What moves a lot of data takes its time.
    fn limit(&self, goal: Goal) -> std::time::Duration {
        let _ = goal;
        ENSURE_LIMIT
    }
    /// A real write, or its like, at this token.
    async fn verify(&self, token: Token) -> Result<Fact, DriverError>;
    /// Have the primary's commits wait for others before they are acknowledged. Twice is once. By
    /// default a kind cannot be told.
    ///
    /// # Errors
    /// `Retry`: the server does not wait so yet, or not surely.
    async fn commits(&self, wait: &CommitWait) -> Result<Waiting, DriverError> {
        match wait {
            CommitWait::Configured => Ok(Waiting::InEffect),
            _ => Err(DriverError::Refused("this kind cannot be told whom to wait for".into())),
        }
    }
    /// Put in (armed) or take out the start gate: with it nobody but the agent can start it.
    async fn gate(&self, armed: bool) -> Result<(), DriverError> {
        let _ = armed;
        Ok(())
    }
    /// Start the stopped server in the role that its data has, in the held cgroup. The agent asks
    /// for it only while the group is unarmed, no order stands, and the instance's setting `start`
    /// is `agent`: so the processes are owned from the first, without a restart to arm them.
    async fn start_as_is(&self) -> Result<(), DriverError> {
        Ok(())
    }
    /// Prove, on what runs, that its fence would work: credentials, permissions and paths. Stops
    /// nothing, and leaves what the deadman holds as it is. False: there is nothing to fence now,
    /// or the kind has no such proof.
    ///
    /// # Errors
    /// What would be in the way of a fence.
    async fn rehearse_fence(&self) -> Result<bool, DriverError> {
        Ok(false)
    }
    /// Process ids of a running server that this agent did not start, to be adopted into the held
    /// cgroup without a restart.
    async fn running(&self) -> Result<Vec<i32>, DriverError> {
        Ok(Vec::new())
    }
}

/// Opens a rehearsal.
pub type Rehearse = fn(&Opening<'_>) -> Result<Box<dyn Driver>, DriverError>;

/// A kind of resource: what the cluster file says of it, and its driver.
pub struct Kind {
    /// Its word, what it implies, and its settings.
    pub config: cluster_config::Kind,
    /// Opens its driver; its settings are known ones.
    pub open: fn(Opening<'_>) -> Result<Box<dyn Driver>, DriverError>,
    /// Opens the rehearsal of an instance, where the kind has one: a copy of what stands by is made
    /// active aside, checked and removed (its goal *active*); what one left is removed (any other).
    pub rehearse: Option<Rehearse>,
}

/// What a driver is opened with.
pub struct Opening<'a> {
    /// The group.
    pub group: &'a GroupId,
    /// The instance, to be named in every error.
    pub id: &'a InstanceId,
    /// What policy says of it.
    pub instance: &'a Instance,
    /// How its processes are held.
    pub holder: Arc<dyn Holder>,
}

/// Every kind that this build knows, in the order of `reference.toml`.
pub static KINDS: &[Kind] = &[
    postgres::KIND,
    redis::KIND,
    pgbouncer::KIND,
    object_store::KIND,
    kubernetes::KIND,
    kubernetes::secrets::KIND,
    velero::KIND,
    dns::RFC2136,
    dns::ROUTE53,
    dns::TRAFFIC_MANAGER,
    terraform_state::KIND,
    command::DATA,
    command::WORKLOAD,
    command::DELEGATED,
];

/// Open the driver of `instance` of `group`.
///
/// # Errors
/// `Refused` for an unknown kind or a bad setting, naming it.
pub fn open(
    group: &GroupId,
    id: &InstanceId,
    instance: &Instance,
    holder: Arc<dyn Holder>,
) -> Result<Box<dyn Driver>, DriverError> {
    if instance.kind == EXTERNAL_FENCE {
        return command::external_fence(group, instance);
    }
    if let Some(part) = drill::open(group, id, instance, &holder) {
        return part;
    }
    let name = instance.kind.as_str();
    let Some(kind) = KINDS.iter().find(|kind| kind.config.name == name) else {
        return Err(DriverError::Refused(format!("instance {id}: no driver of kind {name:?}")));
    };
    all_known(&kind.config, id, instance)?;
    (kind.open)(Opening { group, id, instance, holder })
}

fn all_known(
    kind: &cluster_config::Kind,
    id: &InstanceId,
    instance: &Instance,
) -> Result<(), DriverError> {
    let mine = |key: &str| kind.setting(key).is_some_and(|setting| !setting.file_only);
    let Some(unknown) = instance.settings.keys().find(|key| !mine(key)) else { return Ok(()) };
    let known: Vec<&str> =
        kind.settings.iter().filter(|s| !s.file_only).map(|setting| setting.key).collect();
    Err(DriverError::Refused(format!(
        "instance {id}: the setting {unknown:?} is unknown; known are {}",
        known.join(", ")
    )))
}
