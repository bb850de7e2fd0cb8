//! The deadman's loop: one timer, one socket, no thread. What is due is done before anything else.

use super::hands::Hands;
use super::{note, upgrade};
use crate::agent::link::{self, Ask, Held, LINK_VERSION, Reply, Request};
use crate::clock;
use arbiter_core::agent::{Deadman, DeadmanAction, DeadmanEvent};
use arbiter_core::{GroupId, Instant};
use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Connections at once; the agent needs one, and one more while it restarts.
const CONNECTIONS_MAX: usize = 8;
/// Bytes that may wait for an agent that does not read, before it is cut off.
const UNSENT_BYTES_MAX: usize = 4 * link::MESSAGE_BYTES_MAX;
/// Bytes read from one connection before the timer is looked at again.
const READ_BYTES: usize = 16 * 1024;

/// Everything that the deadman is.
pub struct Server {
    pub(super) machine: Deadman,
    pub(super) hands: Hands,
    pub(super) listener: UnixListener,
    pub(super) lock: Flock<File>,
    pub(super) runtime_dir: PathBuf,
    timer: TimerFd,
    children: SignalFd,
    connections: Vec<Connection>,
}

struct Connection {
    stream: UnixStream,
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

impl Server {
    /// A server that is ready to run.
    ///
    /// # Errors
    /// When the kernel gives no timer.
    pub fn new(
        machine: Deadman,
        hands: Hands,
        listener: UnixListener,
        lock: Flock<File>,
        runtime_dir: &Path,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGCHLD);
        signals.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            machine,
            hands,
            listener,
            lock,
            runtime_dir: runtime_dir.to_owned(),
            timer: TimerFd::new(
                ClockId::CLOCK_BOOTTIME,
                TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
            )?,
            children: SignalFd::with_flags(&signals, flags)?,
            connections: Vec::new(),
        })
    }

    /// Run until killed.
    ///
    /// # Errors
    /// Only when the kernel's timer or poll fails: then the deadman ends, and what it holds with
    /// it.
    pub fn run(&mut self) -> io::Result<Infallible> {
        self.reap();
        loop {
            self.step(DeadmanEvent::Tick);
            self.set_timer()?;
            let ready = self.wait()?;
            // Time first: a flood of requests must not delay a kill.
            self.step(DeadmanEvent::Tick);
            if ready.children {
                self.reap();
            }
            for index in (0..self.connections.len()).rev() {
                if ready.connections.get(index) == Some(&true) && !self.serve(index) {
                    self.connections.remove(index);
                }
            }
            if ready.listener {
                self.accept();
            }
        }
    }

    fn set_timer(&self) -> io::Result<()> {
        let Some(at) = self.machine.next_wake() else { return Ok(self.timer.unset()?) };
        // Zero would disarm it.
        let Instant(nanos) = at.max(Instant(1));
        let at = TimeSpec::new((nanos / 1_000_000_000) as i64, (nanos % 1_000_000_000) as i64);
        Ok(self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
    }

    fn wait(&self) -> io::Result<Ready> {
        let fd = |fd, flags| PollFd::new(fd, flags);
        let mut fds = vec![
            fd(self.timer.as_fd(), PollFlags::POLLIN),
            fd(self.children.as_fd(), PollFlags::POLLIN),
            fd(self.listener.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(self.connections.iter().map(|connection| {
            let write = !connection.unsent.is_empty();
            let flags = if write { PollFlags::POLLOUT } else { PollFlags::empty() };
            fd(connection.fd(), PollFlags::POLLIN | flags)
        }));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let hit = |fd: &PollFd| fd.any().unwrap_or(true);
        Ok(Ready {
            children: hit(&fds[1]),
            listener: hit(&fds[2]),
            connections: fds[3..].iter().map(hit).collect(),
        })
    }

    /// One event, and what follows from it.
    fn step(&mut self, event: DeadmanEvent) {
        let actions = self.machine.step(event, clock::now());
        let outcomes = self.hands.perform(&actions);
        for action in &actions {
            if let DeadmanAction::Freeze(group) = action {
                self.tell(group);
            }
        }
        for (action, outcome) in actions.iter().zip(outcomes) {
            let outcome = outcome.map_or_else(|error| error.to_string(), |()| "done".to_owned());
            note(&self.runtime_dir, &format!("{action:?}: {outcome}"));
        }
    }

    /// Tell the agent unasked that `group` was killed.
    fn tell(&mut self, group: &GroupId) {
        let reply = self.reply(0, [group.clone()], None);
        for connection in &mut self.connections {
            connection.send(&reply);
        }
    }

    fn reply(
        &self,
        id: u64,
        groups: impl IntoIterator<Item = GroupId>,
        error: Option<String>,
    ) -> Reply {
        let groups = groups.into_iter().map(|group| {
            let hold = self.machine.holds().get(&group).cloned().unwrap_or_default();
            let place = self.hands.place(&group);
            let included = self.hands.included(&group);
            (group, Held { hold, place, included })
        });
        let groups: BTreeMap<_, _> = groups.collect();
        let (pid, mount) = (std::process::id() as i32, self.hands.mount());
        Reply { id, version: LINK_VERSION, pid, mount, groups, error }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let own =
                nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials)
                    .is_ok_and(|peer| peer.uid() == nix::unistd::Uid::effective().as_raw());
            if own && stream.set_nonblocking(true).is_ok() {
                if self.connections.len() >= CONNECTIONS_MAX {
                    self.connections.remove(0);
                }
                self.connections.push(Connection {
                    stream,
                    unread: Vec::new(),
                    unsent: Vec::new(),
                });
            }
        }
    }

    /// Read and answer. False: the connection is of no more use.
    fn serve(&mut self, index: usize) -> bool {
        if !self.connections[index].read() {
            return false;
        }
        loop {
            match link::decode::<Request>(&mut self.connections[index].unread) {
                Ok(Some(request)) => {
                    let reply = self.answer(request);
                    self.connections[index].send(&reply);
                }
                Ok(None) => return self.connections[index].flush(),
                Err(_) => return false,
            }
        }
    }

    fn answer(&mut self, request: Request) -> Reply {
        let mut groups = Vec::new();
        let mut failed = None;
        for ask in request.asks {
            match self.carry_out(ask) {
                Ok(mut concerned) => groups.append(&mut concerned),
                Err(error) => {
                    failed = Some(error.to_string());
                    break;
                }
            }
        }
        self.reply(request.id, groups, failed)
    }

    /// One ask; the groups that it concerns.
    fn carry_out(&mut self, ask: Ask) -> io::Result<Vec<GroupId>> {
        let event = match ask {
            Ask::Status => return Ok(self.machine.holds().keys().cloned().collect()),
            Ask::Hold { group } => return self.hands.hold(&group).map(|()| vec![group]),
            Ask::Start { group, program } => {
                if self.machine.holds().get(&group).is_some_and(|hold| hold.frozen) {
                    // I4: it would be killed, but not before it ran.
                    return Err(io::Error::other("the group was killed, and no lease followed"));
                }
                return self.hands.start(&group, &program).map(|()| vec![group]);
            }
            Ask::Include { group, cgroup } => {
                self.hands.include(&group, &cgroup)?;
                return Ok(vec![group]);
            }
            Ask::Kill { group } => return self.hands.kill(&group).map(|()| vec![group]),
            Ask::Upgrade { program } => {
                // A kill that falls due meanwhile, or a renewal before it, must not come late.
                let left = self.machine.next_wake().map(|at| at.since(clock::now()) / 2);
                upgrade::fits(&program, left)?;
                let Err(error) = upgrade::exec(self, &program);
                return Err(error);
            }
            Ask::Arm { group } => DeadmanEvent::Arm(group),
            Ask::Disarm { group } => DeadmanEvent::Disarm(group),
            Ask::Renew { group, deadline, timing } => {
                DeadmanEvent::Renew { group, deadline, timing }
            }
            Ask::Clear { group } => DeadmanEvent::Clear(group),
            Ask::Pause { group } => DeadmanEvent::Pause(group),
            Ask::Continue { group } => DeadmanEvent::Continue(group),
        };
        let group = match &event {
            DeadmanEvent::Arm(group)
            | DeadmanEvent::Disarm(group)
            | DeadmanEvent::Renew { group, .. }
            | DeadmanEvent::Clear(group)
            | DeadmanEvent::Pause(group)
            | DeadmanEvent::Continue(group) => vec![group.clone()],
            DeadmanEvent::Tick => Vec::new(),
        };
        self.step(event);
        Ok(group)
    }

    /// Wait for every child that ended.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.children.read_signal() {}
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => return self.hands.kill_orphans(),
                Ok(status) => {
                    if let Some(pid) = status.pid() {
                        self.hands.ended(pid.as_raw());
                    }
                }
            }
        }
    }
}

/// What [`Server::wait`] found ready.
struct Ready {
    children: bool,
    listener: bool,
    connections: Vec<bool>,
}

impl Connection {
    fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Read what is there, up to a bound. False: it ended.
    fn read(&mut self) -> bool {
        let mut bytes = [0; READ_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.unread.extend(&bytes[..count]);
                true
            }
            Err(error) => transient(&error),
        }
    }

    fn send(&mut self, reply: &Reply) {
        if let Ok(bytes) = link::encode(reply) {
            self.unsent.extend(bytes);
            self.flush();
        }
    }

    /// Write what goes without waiting. False: it ended, or does not read.
    fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if transient(&error) => break,
                Err(_) => return false,
            }
        }
        self.unsent.len() <= UNSENT_BYTES_MAX
    }
}

fn transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
