//! The agent's end of the deadman: starts it, watches it, upgrades it, and asks it.
//!
//! Knows one deadman and whether it answers. Never knows leases: it carries what the core's machine
//! asks, and says when nobody holds any more.

use super::deadman::{OWN_CGROUP, socket_path};
use super::guards;
use super::held::Holds;
use super::link::{self, Ask, Reply, Request};
use super::options::AgentOptions;
use super::units;
use crate::clock;
use arbiter_core::GroupId;
use nix::libc;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, sleep};

/// Requests that wait for the deadman.
const REQUESTS_MAX: usize = 256;
/// A deadman that did not answer at so many looks is taken as gone, and the agent fences: after 3 s
/// in which this process ran.
const LOOKS_MAX: u32 = 6;
/// The longest that a request waits for room in the socket.
const WRITE_MAX: Duration = Duration::from_secs(3);
/// A deadman that did not answer is killed after this: the agent's own fence comes first.
const SILENT_GRACE: Duration = Duration::from_secs(2);
/// How long a new deadman may take until it listens.
const START_MAX: Duration = Duration::from_secs(5);
/// Between two looks at it, and two tries to start it.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two tries to connect to a deadman that starts.
const CONNECT_EVERY: Duration = Duration::from_millis(10);

type Answer = oneshot::Sender<io::Result<()>>;

/// A handle to ask the deadman with.
#[derive(Clone, Debug)]
pub struct Companion {
    requests: mpsc::Sender<(Vec<Ask>, Answer)>,
}

/// What the agent's loop is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// [`Holds`] is as the deadman last said.
    Shows,
    /// It is gone, or does not answer.
    Gone,
}

/// The task behind [`Companion`].
pub struct Watch {
    options: Arc<AgentOptions>,
    groups: Vec<GroupId>,
    holds: Arc<Holds>,
    requests: mpsc::Receiver<(Vec<Ask>, Answer)>,
    news: mpsc::Sender<News>,
    /// Image that was asked to upgrade and did not: asked once only.
    upgraded: Option<i32>,
}

/// Why a connection ended.
enum Ended {
    /// It replaced its image, or dropped us.
    Connection,
    /// The process is gone.
    Died,
    /// It does not answer.
    Silent,
}

impl Companion {
    /// A handle, and the task that must be run for it to work. `groups` are held from the first.
    pub fn new(
        options: Arc<AgentOptions>,
        groups: Vec<GroupId>,
        holds: Arc<Holds>,
        news: mpsc::Sender<News>,
    ) -> (Self, Watch) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let watch = Watch { options, groups, holds, requests, news, upgraded: None };
        (Self { requests: sender }, watch)
    }

    /// Ask, and wait for the answer, which [`Holds`] has learnt then.
    ///
    /// # Errors
    /// When the deadman refuses, or is not there.
    pub async fn ask(&self, asks: Vec<Ask>) -> io::Result<()> {
        let (answer, answered) = oneshot::channel();
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "it is not there");
        self.requests.send((asks, answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Ask, and let the answer show in [`News::Shows`].
    pub fn tell(&self, ask: Ask) {
        let (answer, _) = oneshot::channel();
        // Full: the deadman does not answer, and is found silent soon.
        let _ = self.requests.try_send((vec![ask], answer));
    }
}

impl Watch {
    /// Run until the agent ends. The deadman outlives it.
    pub async fn run(mut self) {
        loop {
            let ended = match self.connect().await {
                Ok(link) => link.serve(&mut self).await,
                Err(error) => {
                    tracing::warn!(%error, "no deadman yet");
                    Ended::Died
                }
            };
            let Some(pid) = self.holds.deadman() else {
                // What the disk says is armed is held by nobody.
                self.tell(News::Gone).await;
                sleep(LOOK_EVERY).await;
                continue;
            };
            if matches!(ended, Ended::Connection) && super::cgroup::alive(pid) {
                continue;
            }
            tracing::error!(pid, "the deadman is gone or does not answer: fencing what is armed");
            self.holds.forget();
            self.tell(News::Gone).await;
            if matches!(ended, Ended::Silent) {
                sleep(SILENT_GRACE).await;
                let _ = super::cgroup::send_kill(pid);
            }
        }
    }

    /// Ask systemd beside: nothing that may take long stands between the agent and its deadman.
    fn reread(&self) -> JoinHandle<()> {
        let (options, holds) = (self.options.clone(), self.holds.clone());
        tokio::spawn(async move { units::reread(&options.name, &holds).await })
    }

    async fn tell(&self, news: News) {
        // The loop is gone: so are we, soon.
        let _ = self.news.send(news).await;
    }

    /// Connect to the deadman that runs, or to a new one, of this image.
    async fn connect(&mut self) -> io::Result<Link> {
        let path = socket_path(&self.options.runtime_dir);
        let stream = match UnixStream::connect(&path).await {
            Ok(stream) => stream,
            // systemd runs it: there must not be two that want the lock.
            Err(error) if self.options.cgroup_parent == OWN_CGROUP => return Err(error),
            Err(_) => {
                start(&self.options)?;
                let end = clock::now() + START_MAX;
                loop {
                    match UnixStream::connect(&path).await {
                        Ok(stream) => break stream,
                        Err(error) if clock::now() >= end => return Err(error),
                        Err(_) => sleep(CONNECT_EVERY).await,
                    }
                }
            }
        };
        let unknown = || io::Error::other("the deadman's process is not known");
        let pid = stream.peer_cred()?.pid().ok_or_else(unknown)?;
        // SAFETY: an `OwnedFd` names one open descriptor, for as long as it lives.
        let watched = unsafe { AsyncFd::register(super::deadman::pidfd(pid)?) }?;
        Ok(Link {
            stream,
            pid,
            watched,
            unread: Vec::new(),
            unanswered: Unanswered::default(),
            next: 1,
        })
    }

    /// Whether the deadman runs another image than this agent.
    fn is_old(&self, pid: i32) -> bool {
        let image = |pid: &str| fs::metadata(format!("/proc/{pid}/exe")).ok();
        match (image(&pid.to_string()), fs::metadata(&self.options.program).ok()) {
            (Some(its), Some(ours)) => (its.dev(), its.ino()) != (ours.dev(), ours.ino()),
            _ => false,
        }
    }
}

/// Start a deadman that outlives this process.
fn start(options: &AgentOptions) -> io::Result<()> {
    let mut command = std::process::Command::new(&options.program);
    command.args(["deadman", "--agent", options.name.as_str(), "--runtime-dir"]);
    command.arg(&options.runtime_dir).args(["--cgroup-parent", &options.cgroup_parent]);
    command.current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    detached(command)
}

/// Start a process in a session of its own, and wait for it beside.
pub(super) fn detached(mut command: std::process::Command) -> io::Result<()> {
    let session = || {
        // SAFETY: setsid takes no argument.
        if unsafe { libc::setsid() } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure makes one system call, as is allowed between fork and exec.
    unsafe { command.pre_exec(session) };
    let mut child = command.spawn()?;
    tokio::task::spawn_blocking(move || child.wait());
    Ok(())
}

/// One connection to one deadman.
struct Link {
    stream: UnixStream,
    pid: i32,
    watched: AsyncFd<OwnedFd>,
    unread: Vec<u8>,
    unanswered: Unanswered,
    next: u64,
}

/// What was asked and not answered. Age is counted in looks: an agent that was itself stopped did
/// not look meanwhile, and says nothing of its deadman before it has listened again.
#[derive(Debug, Default)]
struct Unanswered(BTreeMap<u64, (u32, Option<Answer>)>);

impl Unanswered {
    fn asked(&mut self, id: u64, answer: Option<Answer>) {
        self.0.insert(id, (0, answer));
    }

    /// Who waits for the answer to `id`.
    fn answered(&mut self, id: u64) -> Option<Answer> {
        self.0.remove(&id)?.1
    }

    /// Look: whether the deadman is silent.
    fn look(&mut self) -> bool {
        self.0.values_mut().for_each(|(looks, _)| *looks += 1);
        self.0.values().any(|(looks, _)| *looks > LOOKS_MAX)
    }
}

impl Link {
    async fn serve(mut self, watch: &mut Watch) -> Ended {
        watch.holds.set_deadman(self.pid);
        let holds = watch.groups.iter().map(|group| Ask::Hold { group: group.clone() });
        let asks = std::iter::once(Ask::Status).chain(holds).collect();
        if self.send(asks, None).await.is_err() {
            return Ended::Connection;
        }
        if watch.is_old(self.pid) && watch.upgraded != Some(self.pid) {
            watch.upgraded = Some(self.pid);
            tracing::info!(pid = self.pid, "upgrading the deadman in place");
            let program = watch.options.program.clone();
            if self.send(vec![Ask::Upgrade { program }], None).await.is_err() {
                return Ended::Connection;
            }
        }
        let mut reading: Option<JoinHandle<()>> = None;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sent = tokio::select! {
                // What was answered is heard before the answer is missed.
                biased;
                _ = self.watched.readable() => return Ended::Died,
                read = self.stream.read_buf(&mut self.unread) => match read {
                    Ok(0) | Err(_) => return Ended::Connection,
                    Ok(_) => self.heard(watch).await,
                },
                _ = look.tick() => {
                    if self.unanswered.look() {
                        return Ended::Silent;
                    }
                    guards::keep(&watch.options, &watch.holds, &watch.groups, self.pid);
                    watch.holds.weigh();
                    if reading.as_ref().is_none_or(JoinHandle::is_finished) {
                        reading = Some(watch.reread());
                    }
                    self.send(vec![Ask::Status], None).await
                }
                Some((asks, answer)) = watch.requests.recv() => self.send(asks, Some(answer)).await,
            };
            if sent.is_err() {
                return Ended::Connection;
            }
        }
    }

    async fn send(&mut self, asks: Vec<Ask>, answer: Option<Answer>) -> io::Result<()> {
        let id = self.next;
        self.next += 1;
        self.unanswered.asked(id, answer);
        let bytes = link::encode(&Request { id, asks })?;
        // Bounded: a deadman that does not read fills its socket, and is silent.
        let write = tokio::time::timeout(WRITE_MAX, self.stream.write_all(&bytes));
        write.await.unwrap_or(Ok(()))
    }

    async fn heard(&mut self, watch: &mut Watch) -> io::Result<()> {
        while let Some(reply) = link::decode::<Reply>(&mut self.unread)? {
            watch.holds.learn(&reply);
            if let Some(error) = &reply.error {
                tracing::warn!(error, "the deadman could not do what was asked");
            }
            if let Some(answer) = self.unanswered.answered(reply.id) {
                let outcome = reply.error.map_or(Ok(()), |error| Err(io::Error::other(error)));
                let _ = answer.send(outcome);
            }
            if !watch.holds.is_weighed() {
                // The agent may be new: what systemd ties to the deadman is not known yet.
                units::reread(&watch.options.name, &watch.holds).await;
                watch.holds.weigh();
            }
            watch.tell(News::Shows).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_in_looks_of_an_agent_that_runs() {
        let mut unanswered = Unanswered::default();
        unanswered.asked(1, None);
        for _ in 0..LOOKS_MAX {
            assert!(!unanswered.look());
        }
        // Heard in time, a later one has all of its looks before it.
        unanswered.asked(2, None);
        assert!(unanswered.answered(1).is_none());
        for _ in 0..LOOKS_MAX {
            assert!(!unanswered.look());
        }
        // The agent is stopped here for as long as it may be: that is one look.
        assert!(unanswered.look(), "a deadman that answers nothing is silent");
        // One that answers others is silent all the same: someone waits for this answer.
        unanswered.asked(3, None);
        unanswered.answered(3);
        assert!(unanswered.look());
        unanswered.answered(2);
        assert!(!unanswered.look());
    }
}
