//! Agent and deadman as processes, with a fake arbiter: what an agent holds outlives its restart
//! within the lease, and nothing else.

mod support;

use arbiter::agent::link::{self, Ask, Reply, Request};
use arbiter::agent::means::WITHOUT;
use arbiter::agent::{AgentOptions, cgroup, deadman, run_with, spawn, tree};
use arbiter::clock;
use arbiter_core::{EvidenceKind, Goal, Report};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;
use support::fake::{self, FakeArbiter, GROUP, INSTANCE};
use support::{ARBITER, living, perl, processes, remove_cgroups, root, timing, until};

/// Tells the test binary that it is to be an agent: where its files are.
const BE_AGENT: &str = "ARBITER_TEST_AGENT";
const PARENT: &str = "region-arbiter-test";

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Not a test: the agent's process, when this binary is started as one.
#[test]
fn be_agent() {
    let Ok(home) = std::env::var(BE_AGENT) else { return };
    let home = PathBuf::from(home);
    let read = |name: &str| fs::read_to_string(home.join(name)).unwrap();
    let key = (GROUP.into(), INSTANCE.into());
    let options = AgentOptions {
        name: read("name").as_str().into(),
        state_dir: home.join("state"),
        runtime_dir: home.join("run"),
        arbiters: read("arbiters").lines().map(str::to_owned).collect(),
        tls: None,
        leaves: None,
        instances: BTreeMap::from([(key, fake::instance())]),
        timings: BTreeMap::from([(GROUP.into(), timing())]),
        cgroup_parent: PARENT.into(),
        program: read("program").into(),
        boot_id_file: home.join("boot_id"),
    };
    // One thread for all tasks: whatever blocks it keeps the agent from renewing.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(run_with(options, &fake::open(home.join("adopted")))).unwrap();
}

/// An agent, its files and the arbiter that it reports to.
struct Rig {
    home: tempfile::TempDir,
    name: String,
    arbiter: FakeArbiter,
    agent: Child,
}

fn start_agent(home: &Path) -> Child {
    // What a test hides of this machine, from the agent and so from its deadman.
    let without = fs::read_to_string(home.join("without")).unwrap_or_default();
    Command::new(std::env::current_exe().unwrap())
        .args(["be_agent", "--exact", "--nocapture"])
        .env(BE_AGENT, home)
        .env(WITHOUT, without)
        .spawn()
        .unwrap()
}

impl Rig {
    fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    fn with(name: &str, prepare: impl FnOnce(&Path)) -> Self {
        let home = tempfile::Builder::new().prefix("arbiter-").tempdir_in("/dev/shm").unwrap();
        let name = format!("{name}-{}", std::process::id());
        let arbiter = FakeArbiter::start();
        let write = |file: &str, text: &str| fs::write(home.path().join(file), text).unwrap();
        write("name", &name);
        write("program", ARBITER);
        write("boot_id", "first boot");
        // The first one hears nothing: an agent must find the second.
        write("arbiters", &format!("127.0.0.1:1\n{}", arbiter.address));
        prepare(home.path());
        let agent = start_agent(home.path());
        Self { home, name, arbiter, agent }
    }

    fn restart(&mut self) {
        self.agent.kill().unwrap();
        self.agent.wait().unwrap();
        self.agent = start_agent(self.home.path());
    }

    /// What lets its server start.
    fn start_file(&self) -> PathBuf {
        deadman::gate_dir(&self.home.path().join("run"), &GROUP.into()).join("start")
    }

    fn cgroup(&self) -> PathBuf {
        let mount = cgroup::find_or_mount(&self.home.path().join("run/cgroup2")).unwrap();
        let name = deadman::group_component(&self.name, &GROUP.into());
        mount.join(PARENT).join(name)
    }

    /// The deadman's process id: its cgroup holds it, and the inits that it made.
    fn deadman(&self) -> i32 {
        let base = self.cgroup();
        let name = format!("{}.deadman", cgroup::component(&self.name));
        let pids = processes(&base.parent().unwrap().join(name));
        pids.into_iter().min().unwrap()
    }

    /// The process id of the deadman that listens, if one does.
    fn listening(&self) -> Option<i32> {
        let path = deadman::socket_path(&self.home.path().join("run"));
        let stream = UnixStream::connect(path).ok()?;
        Some(getsockopt(&stream, PeerCredentials).ok()?.pid())
    }

    /// Wait for a Report that is as it should be.
    fn report(&self, what: &str, as_it_should: impl Fn(&Report) -> bool) -> Report {
        until(what, || self.arbiter.heard().filter(|report| as_it_should(report)))
    }

    /// Wait until the group serves, armed and with a deadline; the ids of its processes.
    fn serving(&self) -> Vec<i32> {
        self.active();
        let path = self.cgroup();
        until("two processes run", || Some(processes(&path)).filter(|pids| pids.len() == 2))
    }

    /// Wait until the group serves, armed and with a deadline; the Report that says so.
    fn active(&self) -> Report {
        self.report("it serves, armed", |report| {
            let group = &report.groups[&GROUP.into()];
            let done = group.instances[&INSTANCE.into()].done.as_ref();
            group.arming.is_some()
                && group.deadline_running
                && done.is_some_and(|done| done.goal == Goal::Active)
        })
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        // Its deadman outlives it, and without cgroups nothing else finds it.
        if let Some(deadman) = self.listening() {
            let _ = kill(Pid::from_raw(deadman), Signal::SIGKILL);
        }
        remove_cgroups(self.cgroup().parent().unwrap(), &cgroup::component(&self.name));
    }
}

#[test]
fn a_restart_within_the_lease_touches_nothing() {
    if !root("a_restart_within_the_lease_touches_nothing") {
        return;
    }
    let mut rig = Rig::new("restart");
    let pids = rig.serving();
    let (life, deadman) = (rig.arbiter.heard().unwrap().incarnation, rig.deadman());
    for _ in 0..3 {
        rig.arbiter.change(|script| script.heard = None);
        rig.restart();
        assert_eq!(rig.serving(), pids);
        assert_eq!(rig.arbiter.heard().unwrap().incarnation, life);
        assert_eq!(rig.deadman(), deadman);
    }
    // It goes on beyond the lease that stood when it was restarted.
    std::thread::sleep(timing().lease);
    assert_eq!(living(&pids), pids);
}

/// A disk that hangs under an observation is not what the lease is about.
#[test]
fn a_look_that_hangs_keeps_no_lease_from_being_renewed() {
    if !root("a_look_that_hangs_keeps_no_lease_from_being_renewed") {
        return;
    }
    let rig = Rig::new("hangs");
    let pids = rig.serving();
    let pipe = rig.home.path().join("look");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    rig.report("the observation is old", |report| {
        report.groups[&GROUP.into()].instances[&INSTANCE.into()].age > timing().lease
    });
    assert_eq!(living(&pids), pids);
    // Its reader is let go: nothing is opened any more once the pipe is gone.
    fs::rename(&pipe, rig.home.path().join("was")).unwrap();
    fs::write(rig.home.path().join("was"), "").unwrap();
    rig.report("it is looked at again", |report| {
        report.groups[&GROUP.into()].instances[&INSTANCE.into()].age < timing().lease
    });
    assert_eq!(living(&pids), pids);
}

/// Inside another `ip netns exec`, for example, cgroup v2 is not where the deadman sees it.
#[test]
fn an_agent_with_other_mounts_finds_what_its_deadman_holds() {
    if !root("an_agent_with_other_mounts_finds_what_its_deadman_holds") {
        return;
    }
    let mut rig = Rig::new("mounts");
    let pids = rig.serving();
    rig.agent.kill().unwrap();
    rig.agent.wait().unwrap();
    rig.arbiter.change(|script| script.heard = None);
    let mount = cgroup::find_or_mount(&rig.home.path().join("run/cgroup2")).unwrap();
    rig.agent = Command::new("unshare")
        .args(["-m", "sh", "-c", "umount -l \"$0\" && exec \"$@\""])
        .arg(mount)
        .arg(std::env::current_exe().unwrap())
        .args(["be_agent", "--exact", "--nocapture"])
        .env(BE_AGENT, rig.home.path())
        .spawn()
        .unwrap();
    assert_eq!(rig.serving(), pids);
    rig.arbiter.change(|script| script.answer = false);
    let began = clock::now();
    until("all are dead", || living(&pids).is_empty().then_some(()));
    let took = clock::now().since(began);
    assert!(took < timing().lease - timing().deadman_head_start(), "the deadman had to: {took:?}");
}

/// I4: the deadman needs no agent.
#[test]
fn an_agent_left_dead_or_stopped_is_fenced_by_the_deadman() {
    if !root("an_agent_left_dead_or_stopped_is_fenced_by_the_deadman") {
        return;
    }
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        let mut rig = Rig::new(&format!("left-{}", signal as i32));
        let pids = rig.serving();
        kill(Pid::from_raw(rig.agent.id() as i32), signal).unwrap();
        assert!(rig.start_file().exists());
        let began = clock::now();
        until("all are dead", || living(&pids).is_empty().then_some(()));
        let took = clock::now().since(began);
        assert!(took < timing().lease, "{signal}: it took {took:?}");
        until("nobody can start it by hand", || (!rig.start_file().exists()).then_some(()));
        if signal == Signal::SIGSTOP {
            kill(Pid::from_raw(rig.agent.id() as i32), Signal::SIGCONT).unwrap();
        } else {
            rig.restart();
        }
        // What was killed comes back only with a new lease, as new processes.
        let again = rig.serving();
        assert!(again.iter().all(|pid| !pids.contains(pid)));
    }
}

/// I4: cut off, the agent has fenced before the deadman must.
#[test]
fn without_answers_the_agent_fences_itself_on_time() {
    if !root("without_answers_the_agent_fences_itself_on_time") {
        return;
    }
    let rig = Rig::new("cut");
    let pids = rig.serving();
    rig.arbiter.change(|script| script.answer = false);
    let began = clock::now();
    until("all are dead", || living(&pids).is_empty().then_some(()));
    let took = clock::now().since(began);
    let lease = timing().lease;
    assert!(took < lease - timing().deadman_head_start(), "the deadman had to: {took:?}");
    rig.report("it says so", |report| {
        let group = &report.groups[&GROUP.into()];
        group.lapsed && !group.instances[&INSTANCE.into()].fact.writable
    });
    assert!(processes(&rig.cgroup()).is_empty());
    rig.arbiter.change(|script| script.answer = true);
    rig.serving();
}

#[test]
fn a_dead_deadman_takes_all_with_it_and_is_replaced() {
    if !root("a_dead_deadman_takes_all_with_it_and_is_replaced") {
        return;
    }
    let rig = Rig::new("deadman");
    let pids = rig.serving();
    let first = rig.deadman();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    let began = clock::now();
    until("all are dead", || living(&pids).is_empty().then_some(()));
    assert!(clock::now().since(began) < ms(200));
    rig.arbiter.change(|script| script.heard = None);
    let again = rig.serving();
    assert!(again.iter().all(|pid| !pids.contains(pid)));
    assert_ne!(rig.deadman(), first);
}

#[test]
fn an_upgrade_in_place_keeps_the_process_and_what_it_holds() {
    if !root("an_upgrade_in_place_keeps_the_process_and_what_it_holds") {
        return;
    }
    let mut rig = Rig::new("upgrade");
    let pids = rig.serving();
    let deadman = rig.deadman();
    let newer = std::env::temp_dir().join(format!("arbiter-newer-{}", std::process::id()));
    fs::copy(ARBITER, &newer).unwrap();
    fs::write(rig.home.path().join("program"), newer.to_str().unwrap()).unwrap();
    rig.restart();
    let image = || fs::read_link(format!("/proc/{deadman}/exe")).ok();
    until("the deadman is the newer one", || (image() == Some(newer.clone())).then_some(()));
    std::thread::sleep(timing().lease);
    assert_eq!(rig.serving(), pids);
    assert_eq!(rig.deadman(), deadman);
    fs::remove_file(newer).unwrap();
}

#[test]
fn after_a_reboot_the_life_is_new_and_all_is_fenced_first() {
    if !root("after_a_reboot_the_life_is_new_and_all_is_fenced_first") {
        return;
    }
    let mut rig = Rig::new("reboot");
    let pids = rig.serving();
    let before = rig.arbiter.heard().unwrap();
    rig.arbiter.change(|script| (script.answer, script.heard) = (false, None));
    rig.agent.kill().unwrap();
    kill(Pid::from_raw(rig.deadman()), Signal::SIGKILL).unwrap();
    rig.agent.wait().unwrap();
    until("all are dead", || living(&pids).is_empty().then_some(()));
    fs::remove_dir_all(rig.home.path().join("run")).unwrap();
    fs::write(rig.home.path().join("boot_id"), "second boot").unwrap();
    rig.agent = start_agent(rig.home.path());
    let after = rig.report("it is gated and armed again", |report| {
        report.groups[&GROUP.into()].arming.is_some()
    });
    assert_ne!(after.incarnation, before.incarnation);
    assert!(rig.home.path().join("gated").exists());
    assert!(!rig.start_file().exists());
    assert!(!after.groups[&GROUP.into()].deadline_running);
    // I10: what it obeyed is not forgotten.
    let token = |report: &Report| report.groups[&GROUP.into()].instances[&INSTANCE.into()].token;
    assert_eq!(token(&after), token(&before));
    assert!(processes(&rig.cgroup()).is_empty());
    rig.arbiter.change(|script| script.answer = true);
    rig.serving();
}

#[test]
fn a_running_server_is_adopted_without_a_restart_and_guarded() {
    if !root("a_running_server_is_adopted_without_a_restart_and_guarded") {
        return;
    }
    let mut server = None;
    let rig = Rig::with("adopt", |home| {
        let nowhere = spawn::Place::default();
        let file = home.join("adopted");
        let text = format!(
            "open my $f, '>', '{0}.t'; print $f $$; close $f; rename '{0}.t', '{0}'; 1 while 1",
            file.display()
        );
        spawn::server(&perl(&text), &nowhere).unwrap();
        server = Some(until("it runs", || fs::read_to_string(&file).ok()?.parse::<i32>().ok()));
    });
    let server = server.unwrap();
    let report = rig.report("it is armed, a class lower", |report| {
        let group = &report.groups[&GROUP.into()];
        group.deadline_running
            && group.arming.is_some_and(|arming| {
                arming.expiry_counts_as == EvidenceKind::LeaseExpired.one_lower()
            })
    });
    assert!(report.groups[&GROUP.into()].instances[&INSTANCE.into()].fact.writable);
    assert_eq!(processes(&rig.cgroup()), [server]);
    until("it has a guard", || guarded(&rig).then_some(()));
    let deadman = rig.deadman();
    kill(Pid::from_raw(deadman), Signal::SIGKILL).unwrap();
    let began = clock::now();
    until("it is dead", || living(&[server]).is_empty().then_some(()));
    assert!(clock::now().since(began) < ms(200));
    // The agent starts another, which must be there to be cleaned up.
    until("another deadman listens", || rig.listening().filter(|pid| *pid != deadman));
}

/// Neither cgroup v2 nor a PID namespace: the group's process tree is held, and it counts less.
#[test]
fn with_nothing_but_a_process_tree_the_group_is_held_a_class_lower() {
    if !root("with_nothing_but_a_process_tree_the_group_is_held_a_class_lower") {
        return;
    }
    let mut rig = Rig::with("bare", |home| {
        fs::write(home.join("without"), "cgroup,namespace").unwrap();
    });
    let life = |rig: &Rig| {
        let (deadman, place) = held(rig);
        let reaper = place.and_then(|place| place.reaper).unwrap();
        let pids = until("two processes run", || {
            tree::below(reaper, &BTreeSet::new()).ok().filter(|pids| pids.len() == 2)
        });
        (deadman, reaper.pid, pids)
    };
    let report = rig.active();
    let arming = report.groups[&GROUP.into()].arming.unwrap();
    assert_eq!(arming.expiry_counts_as, EvidenceKind::LeaseExpired.one_lower());
    let (deadman, reaper, pids) = life(&rig);
    // A restart of the agent touches nothing.
    rig.arbiter.change(|script| script.heard = None);
    rig.restart();
    rig.active();
    assert_eq!(life(&rig), (deadman, reaper, pids.clone()));

    // Cut off, it fences before the deadman must, and says so only when nothing is left.
    rig.arbiter.change(|script| script.answer = false);
    let began = clock::now();
    until("all are dead", || living(&pids).is_empty().then_some(()));
    let took = clock::now().since(began);
    assert!(took < timing().lease - timing().deadman_head_start(), "the deadman had to: {took:?}");
    rig.report("it says so", |report| {
        let group = &report.groups[&GROUP.into()];
        group.lapsed && !group.instances[&INSTANCE.into()].fact.writable
    });
    rig.arbiter.change(|script| (script.answer, script.heard) = (true, None));
    rig.active();
    let (_, second, pids) = life(&rig);
    assert_ne!(second, reaper);

    // It dies with its deadman, and comes back with another.
    kill(Pid::from_raw(deadman), Signal::SIGKILL).unwrap();
    let began = clock::now();
    until("all are dead", || living(&pids).is_empty().then_some(()));
    assert!(clock::now().since(began) < ms(200));
    rig.arbiter.change(|script| script.heard = None);
    rig.active();
    assert_ne!(life(&rig).0, deadman);
}

/// The deadman's process id, and where it holds the group.
fn held(rig: &Rig) -> (i32, Option<spawn::Place>) {
    let path = deadman::socket_path(&rig.home.path().join("run"));
    let mut stream = UnixStream::connect(path).unwrap();
    let request = Request { id: 1, asks: vec![Ask::Status] };
    stream.write_all(&link::encode(&request).unwrap()).unwrap();
    let (mut unread, mut bytes) = (Vec::new(), [0; 4096]);
    let mut reply: Reply = until("it answers", || {
        let count = stream.read(&mut bytes).unwrap();
        unread.extend(&bytes[..count]);
        link::decode(&mut unread).unwrap()
    });
    (reply.pid, reply.groups.remove(&GROUP.into()).and_then(|held| held.place))
}

/// Whether somebody holds the lock of a guard.
fn guarded(rig: &Rig) -> bool {
    let entries = fs::read_dir(rig.home.path().join("run")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        path.extension().is_some_and(|end| end == "lock")
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("guard."))
            && nix::fcntl::Flock::lock(
                fs::File::open(path).unwrap(),
                nix::fcntl::FlockArg::LockExclusiveNonblock,
            )
            .is_err()
    })
}

/// A disarmed group is never stopped: neither by the end of a lease nor by the end of its agent.
#[test]
fn unarmed_nothing_is_killed() {
    if !root("unarmed_nothing_is_killed") {
        return;
    }
    let mut rig = Rig::new("unarmed");
    rig.serving();
    rig.arbiter.change(|script| script.arm = false);
    rig.report("it is disarmed", |report| report.groups[&GROUP.into()].arming.is_none());
    until("the gate is out", || (!rig.home.path().join("gated").exists()).then_some(()));
    let pids = processes(&rig.cgroup());
    rig.arbiter.change(|script| script.answer = false);
    std::thread::sleep(timing().lease + ms(500));
    assert_eq!(living(&pids), pids);
    rig.report("it would have been killed", |report| {
        report.groups[&GROUP.into()].would_have_killed > 0
    });
    rig.agent.kill().unwrap();
    assert_eq!(living(&pids), pids);
}
