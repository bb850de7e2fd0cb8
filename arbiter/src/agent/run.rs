//! The agent's loop: events into the core's machine, its actions out to hands, disk and stream.
//!
//! Nothing here judges, and nothing here waits: what takes time is a task that ends with an event.

use super::companion::{Companion, News};
use super::deadman::gate_dir;
use super::guards;
use super::held::Holds;
use super::holder::GroupHolder;
use super::link::Ask;
use super::means::has_watchdog;
use super::options::AgentOptions;
use super::session::{self, Told};
use super::store::{Store, StoreError};
use super::tasks::{Key, Tasks, Write, write_all};
use super::units;
use crate::clock;
use crate::drivers::{self, Apart, Driver, DriverError, Holder};
use crate::tls::Dialer;
use crate::wire::report_to_proto;
use arbiter_core::agent::{AgentAction, AgentEvent, AgentMachine, DeadmanEvent, Stored};
use arbiter_core::{Arming, ClusterId, GroupId, Instance, InstanceId, Report};
use arbiter_proto::v1 as pb;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

/// Events that wait for the loop.
const EVENTS_MAX: usize = 1024;
/// Writes that wait for the disk. One that finds no room is not stored, and said to be so.
const WRITES_MAX: usize = 1024;
/// Longest sleep of the loop.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// Why an agent does not start; named by what the operator does next.
#[derive(Debug, Error)]
pub enum AgentError {
    /// See there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Mend the instance's settings.
    #[error("instance {0}: {1}")]
    Driver(InstanceId, DriverError),
    /// Make the directory usable.
    #[error("the runtime directory {0}: {1}")]
    Runtime(String, io::Error),
}

/// Run the agent until it is stopped. What it holds goes on under its deadman, as long as its
/// leases last: stopping an agent stops nothing else.
///
/// # Errors
/// Only when it cannot start.
pub async fn run(options: AgentOptions) -> Result<(), AgentError> {
    run_with(options, &drivers::open).await
}

/// A driver, or why its instance cannot have one.
pub type Opened = Result<Box<dyn Driver>, DriverError>;

/// How a driver is opened: as [`drivers::open`] does.
pub type Opener = dyn Fn(&GroupId, &InstanceId, &Instance, Arc<dyn Holder>) -> Opened + Sync;

/// The same with drivers of another kind, such as those of a test.
///
/// # Errors
/// Only when it cannot start.
pub async fn run_with(options: AgentOptions, open: &Opener) -> Result<(), AgentError> {
    let store = Store::open(&options.state_dir, &options.name, &options.boot_id_file)?;
    let leaves = options.leaves.clone().map(ClusterId::from);
    let stored = Stored { leaves, ..store.stored() };
    let known = watch::Sender::new(all_of(&options.arbiters, store.arbiters()));
    let runtime = options.runtime_dir.display().to_string();
    prepare_runtime(&options.runtime_dir, &stored.boot_id)
        .map_err(|error| AgentError::Runtime(runtime, error))?;
    let options = Arc::new(options);
    let mount = super::cgroup::find_or_mount(&options.runtime_dir.join("cgroup2"));
    if let Err(error) = &mount {
        tracing::warn!(%error, "no cgroup v2: evidence counts a class lower");
    }
    let holds = Arc::new(Holds::new(mount.ok()));
    for group in stored.armed.keys() {
        holds.set_armed(group, true);
    }
    let groups: BTreeSet<GroupId> = options.instances.keys().map(|(g, _)| g.clone()).collect();
    let groups: Vec<GroupId> = groups.into_iter().collect();
    let (news, from_companion) = mpsc::channel(EVENTS_MAX);
    let (companion, watched) = Companion::new(options.clone(), groups.clone(), holds.clone(), news);
    let (events, from_tasks) = mpsc::channel(EVENTS_MAX);
    let tasks = Tasks::new(open_drivers(&options, &holds, &companion, open)?, events.clone());
    let (writes, to_disk) = mpsc::channel(WRITES_MAX);
    std::thread::spawn(move || write_all(store, to_disk, events));
    let (told, from_session) = mpsc::channel(EVENTS_MAX);
    tracing::info!(agent = %options.name, incarnation = %stored.incarnation, "the agent begins");
    let machine =
        AgentMachine::new(stored, options.instances.clone(), &options.timings, clock::now());
    tokio::spawn(watched.run());
    if let Some(tls) = options.tls.clone() {
        tokio::spawn(tls.watch());
    }
    let dialer = Dialer::new(options.tls.clone());
    tokio::spawn(session::run(known.subscribe(), dialer, renewal(&options), told));
    let inbox = Inbox { from_tasks, from_companion, from_session };
    let agent = Agent {
        machine,
        options,
        holds,
        companion,
        tasks,
        writes,
        groups,
        reports: None,
        arbiters: known,
    };
    agent.run(inbox).await;
    Ok(())
}

/// Those of the configuration first, then those that were learned.
fn all_of(configured: &[String], learned: &[String]) -> Vec<String> {
    let new = learned.iter().filter(|one| !configured.contains(one));
    configured.iter().chain(new).cloned().collect()
}

/// The shortest renewal period of its groups.
fn renewal(options: &AgentOptions) -> Duration {
    let own = options.instances.keys().filter_map(|(group, _)| options.timings.get(group));
    let shortest = own.map(|timing| timing.renewal).min();
    shortest.unwrap_or(arbiter_core::agent::REPORT_IDLE)
}

fn open_drivers(
    options: &AgentOptions,
    holds: &Arc<Holds>,
    companion: &Companion,
    open: &Opener,
) -> Result<BTreeMap<Key, Arc<dyn Driver>>, AgentError> {
    let mut opened = BTreeMap::new();
    for ((group, id), instance) in &options.instances {
        let gate = gate_dir(&options.runtime_dir, group);
        make_dir(&gate).map_err(|error| AgentError::Runtime(gate.display().to_string(), error))?;
        let holder = GroupHolder::new(group.clone(), holds.clone(), companion.clone(), gate);
        let driver = open(group, id, instance, Arc::new(holder))
            .map_err(|error| AgentError::Driver(id.clone(), error))?;
        let driver: Arc<dyn Driver> = Arc::new(Apart::new(driver));
        opened.insert((group.clone(), id.clone()), driver);
    }
    Ok(opened)
}

/// A directory that a server's user reads its start file through.
fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// Make the runtime directory, and empty it of gates that another boot left: it should be on a file
/// system that a reboot empties, and is then empty already.
fn prepare_runtime(dir: &Path, boot_id: &str) -> io::Result<()> {
    make_dir(dir)?;
    let (gates, noted) = (dir.join("gate"), dir.join("boot_id"));
    if fs::read_to_string(&noted).ok().as_deref() != Some(boot_id) {
        match fs::remove_dir_all(&gates) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::write(&noted, boot_id)?,
        }
    }
    make_dir(&gates)?;
    let kind = nix::sys::statfs::statfs(dir).map_err(io::Error::from)?.filesystem_type();
    if kind != nix::sys::statfs::TMPFS_MAGIC {
        let dir = dir.display();
        tracing::warn!(%dir, "not on tmpfs: a start gate would outlive a reboot without the agent");
    }
    Ok(())
}

/// Where events come from.
struct Inbox {
    from_tasks: mpsc::Receiver<AgentEvent>,
    from_companion: mpsc::Receiver<News>,
    from_session: mpsc::Receiver<Told>,
}

struct Agent {
    machine: AgentMachine,
    options: Arc<AgentOptions>,
    holds: Arc<Holds>,
    companion: Companion,
    tasks: Tasks,
    writes: mpsc::Sender<Write>,
    groups: Vec<GroupId>,
    reports: Option<mpsc::Sender<pb::Report>>,
    /// Those that the session tries.
    arbiters: watch::Sender<Vec<String>>,
}

impl Agent {
    async fn run(mut self, mut inbox: Inbox) {
        let mut event = AgentEvent::Tick;
        loop {
            self.step(event);
            let now = clock::now();
            let wake = self.machine.next_wake(now).map_or(IDLE_MAX, |at| at.since(now));
            event = tokio::select! {
                Some(event) = inbox.from_tasks.recv() => event,
                Some(news) = inbox.from_companion.recv() => self.companion_says(news),
                Some(told) = inbox.from_session.recv() => self.session_says(told),
                () = tokio::time::sleep(wake.min(IDLE_MAX)) => AgentEvent::Tick,
            };
        }
    }

    fn companion_says(&self, news: News) -> AgentEvent {
        match news {
            News::Shows => AgentEvent::DeadmanShows {
                holds: self.holds.all(),
                counts_as: self.holds.counts_as(),
            },
            News::Gone => AgentEvent::DeadmanGone,
        }
    }

    fn session_says(&mut self, told: Told) -> AgentEvent {
        match told {
            Told::Up(reports) => {
                self.reports = Some(reports);
                self.report();
            }
            Told::Down => self.reports = None,
            Told::Directive(directive) => return AgentEvent::Directive(directive),
        }
        AgentEvent::Tick
    }

    fn step(&mut self, event: AgentEvent) {
        if let AgentEvent::ArmingPersisted { group, arming, ok: true } = &event {
            self.holds.set_armed(group, arming.is_some());
        }
        for action in self.machine.step(event, clock::now()) {
            self.act(action);
        }
    }

    /// Read the clock, make the Report, hand it over, in this order: the deadline that its answer
    /// brings counts from here. // I4
    fn report(&mut self) {
        let report = self.machine.report(clock::now());
        let report = Report { watchdog: Some(has_watchdog()), ..report };
        if let Some(reports) = &self.reports {
            // Full: the stream is stuck, and will be left. The next Report says the same.
            let _ = reports.try_send(report_to_proto(&report));
        }
    }

    fn act(&mut self, action: AgentAction) {
        match action {
            AgentAction::SendReport => self.report(),
            AgentAction::Observe { group, instance } => self.tasks.observe((group, instance)),
            AgentAction::Ensure { group, instance, attempt, goal, token, terms } => {
                self.tasks.ensure((group, instance), attempt, goal, token, terms);
            }
            AgentAction::CancelEnsure { group, instance } => self.tasks.cancel(&(group, instance)),
            AgentAction::SetCommitWait { group, instance, attempt, wait } => {
                self.tasks.commits((group, instance), attempt, wait);
            }
            AgentAction::Verify { group, instance, token } => {
                self.tasks.verify((group, instance), token);
            }
            AgentAction::StartAsIs { group, instance } => {
                self.tasks.start_as_is((group, instance));
            }
            AgentAction::SetGate { group, armed } => self.tasks.gate(group, armed),
            AgentAction::PersistCluster(cluster) => {
                let name = cluster.as_ref().map_or("none", |id| id.as_str());
                tracing::info!(cluster = name, "the cluster's name goes to disk");
                self.write(Write::Cluster(cluster));
            }
            AgentAction::StaysWith { cluster, why } => {
                tracing::warn!(%cluster, "not changed over: {why}");
            }
            AgentAction::LearnArbiters(arbiters) => {
                self.arbiters.send_replace(all_of(&self.options.arbiters, &arbiters));
                self.write(Write::Arbiters(arbiters));
            }
            AgentAction::StoreToken { group, instance, token } => {
                self.write(Write::Token((group, instance), token));
            }
            AgentAction::PersistArming { group, arming } => self.persist_arming(group, arming),
            AgentAction::Deadman(event) => self.tell_deadman(event),
        }
    }

    fn persist_arming(&self, group: GroupId, arming: Option<Arming>) {
        tracing::info!(%group, armed = arming.is_some(), "arming goes to disk");
        self.write(Write::Arming(group, arming));
    }

    fn write(&self, write: Write) {
        use mpsc::error::TrySendError::{Closed, Full};
        if let Err(Full(write) | Closed(write)) = self.writes.try_send(write) {
            tracing::error!("the disk is too slow for what has to be stored");
            self.tasks.not_written(write);
        }
    }

    fn tell_deadman(&self, event: DeadmanEvent) {
        match event {
            DeadmanEvent::Arm(group) => self.arm(group),
            DeadmanEvent::Disarm(group) => self.companion.tell(Ask::Disarm { group }),
            DeadmanEvent::Clear(group) => self.companion.tell(Ask::Clear { group }),
            DeadmanEvent::Pause(group) => self.companion.tell(Ask::Pause { group }),
            DeadmanEvent::Continue(group) => self.companion.tell(Ask::Continue { group }),
            DeadmanEvent::Renew { group, deadline, timing } => {
                self.companion.tell(Ask::Renew { group, deadline, timing });
            }
            DeadmanEvent::Tick => {}
        }
    }

    /// Hold what runs already, see that it would not outlive the deadman, and only then arm.
    fn arm(&self, group: GroupId) {
        let drivers = self.tasks.of_group(&group);
        let (holds, companion) = (self.holds.clone(), self.companion.clone());
        let (options, groups) = (self.options.clone(), self.groups.clone());
        tokio::spawn(async move {
            if let Err(error) = guards::adopt(&group, &drivers, &holds, &companion).await {
                tracing::warn!(%group, %error, "not armed: what runs cannot be held");
                return;
            }
            units::reread(&options.name, &holds).await;
            holds.weigh();
            if let Some(deadman) = holds.deadman() {
                guards::keep(&options, &holds, &groups, deadman);
            }
            companion.tell(Ask::Arm { group });
        });
    }
}
