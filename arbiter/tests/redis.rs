//! A real Redis beside a real agent and its deadman, in a cgroup and a PID namespace, with a fake
//! arbiter.

mod support;

use arbiter::agent::{AgentOptions, cgroup, deadman, run_with};
use arbiter::{clock, drivers};
use arbiter_core::{Condition, EvidenceKind, Goal, Instance, InstanceReport, Report, Token};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Pid, User, chown};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use support::fake::{self, FakeArbiter, GROUP, INSTANCE};
use support::{ARBITER, PATIENCE, processes, remove_cgroups, root, timing, until};

/// Tells the test binary that it is to be an agent: where its files are.
const BE_AGENT: &str = "ARBITER_TEST_REDIS_AGENT";
const PARENT: &str = "region-arbiter-test";

fn instance(home: &Path) -> Instance {
    let dir = home.join("data").display().to_string();
    Instance {
        kind: "redis".into(),
        address: fs::read_to_string(home.join("address")).unwrap(),
        settings: BTreeMap::from([("data_dir".to_owned(), dir)]),
        ..fake::instance()
    }
}

/// Not a test: the agent's process, when this binary is started as one.
#[test]
fn be_agent() {
    let Ok(home) = std::env::var(BE_AGENT) else { return };
    let home = PathBuf::from(home);
    let read = |name: &str| fs::read_to_string(home.join(name)).unwrap();
    let options = AgentOptions {
        name: read("name").as_str().into(),
        state_dir: home.join("state"),
        runtime_dir: home.join("run"),
        arbiters: vec![read("arbiter")],
        tls: None,
        leaves: None,
        instances: BTreeMap::from([((GROUP.into(), INSTANCE.into()), instance(&home))]),
        timings: BTreeMap::from([(GROUP.into(), timing())]),
        cgroup_parent: PARENT.into(),
        program: ARBITER.into(),
        boot_id_file: home.join("boot_id"),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run_with(options, &drivers::open)).unwrap();
}

struct Rig {
    home: tempfile::TempDir,
    name: String,
    address: String,
    arbiter: FakeArbiter,
    agent: Child,
}

impl Rig {
    fn new(name: &str) -> Self {
        let home = tempfile::Builder::new().prefix("arbiter-").tempdir_in("/dev/shm").unwrap();
        let name = format!("{name}-{}", std::process::id());
        let arbiter = FakeArbiter::start();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let data = home.path().join("data");
        fs::create_dir(&data).unwrap();
        let user = User::from_name("redis").unwrap().expect("apt-get install redis-server");
        for path in [home.path(), data.as_path()] {
            chown(path, Some(user.uid), Some(user.gid)).unwrap();
        }
        let write = |file: &str, text: &str| fs::write(home.path().join(file), text).unwrap();
        write("name", &name);
        write("boot_id", "first boot");
        write("arbiter", &arbiter.address.to_string());
        write("address", &address);
        write("data/redis.conf", "bind 127.0.0.1\nappendonly yes\nsave \"\"\n");
        // It is new, and is to lead all the same.
        write("data/arbiter.json", r#"{"accepted":true}"#);
        let agent = Command::new(std::env::current_exe().unwrap())
            .args(["be_agent", "--exact", "--nocapture"])
            .env(BE_AGENT, home.path())
            .spawn()
            .unwrap();
        Self { home, name, address, arbiter, agent }
    }

    fn cgroup(&self) -> PathBuf {
        let mount = cgroup::find_or_mount(&self.home.path().join("run/cgroup2")).unwrap();
        mount.join(PARENT).join(deadman::group_component(&self.name, &GROUP.into()))
    }

    /// Wait for a Report in which the instance is as it should be.
    fn shows(&self, what: &str, fits: impl Fn(&Report, &InstanceReport) -> bool) {
        until(what, || {
            let heard = self.arbiter.heard()?;
            let shown = heard.groups.get(&GROUP.into())?.instances.get(&INSTANCE.into())?;
            fits(&heard, shown).then_some(())
        });
    }

    fn serves(&self) {
        self.shows("it serves, armed", |report, shown| {
            let group = &report.groups[&GROUP.into()];
            let active = shown.done.as_ref().is_some_and(|done| done.goal == Goal::Active);
            let healthy = shown.fact.condition == Condition::Healthy && shown.fact.writable;
            group.arming.is_some() && group.deadline_running && active && healthy
        });
    }

    /// The answer to a command of one line, as the protocol has it.
    fn ask(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{line}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn is_up(&self) -> bool {
        TcpStream::connect(&self.address).is_ok()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        let socket = UnixStream::connect(deadman::socket_path(&self.home.path().join("run")));
        if let Ok(peer) = socket.map(|socket| getsockopt(&socket, PeerCredentials)) {
            let _ = kill(Pid::from_raw(peer.unwrap().pid()), Signal::SIGKILL);
        }
        remove_cgroups(self.cgroup().parent().unwrap(), &cgroup::component(&self.name));
    }
}

/// I4: what is written without a lease is never acknowledged, and what was acknowledged is kept.
#[test]
fn redis_lives_with_its_lease_and_no_longer() {
    if !root("redis_lives_with_its_lease_and_no_longer") {
        return;
    }
    let rig = Rig::new("redis-lease");
    rig.serves();
    assert!(rig.ask("SET first 1").starts_with("+OK"));
    assert_eq!(processes(&rig.cgroup()).len(), 1, "the deadman holds it");

    rig.arbiter.change(|script| script.answer = false);
    let began = clock::now();
    until("it is dead", || (!rig.is_up()).then_some(()));
    let took = clock::now().since(began);
    println!("cut off, it was dead after {took:?}");
    assert!(took < timing().lease - timing().deadman_head_start(), "the deadman had to: {took:?}");
    rig.shows("it says so", |report, shown| {
        report.groups[&GROUP.into()].lapsed
            && shown.fact.condition == Condition::Stopped
            && !shown.fact.writable
    });
    assert_eq!(processes(&rig.cgroup()), Vec::<i32>::new());

    rig.arbiter.change(|script| script.answer = true);
    rig.serves();
    assert!(rig.ask("GET first").contains("\r\n1\r\n"), "{}", rig.ask("GET first"));

    rig.arbiter.change(|script| (script.goal, script.token) = (Goal::Fenced, Token::new(1, 11)));
    rig.shows("it is fenced", |_, shown| {
        let done = shown.done.as_ref().filter(|done| done.token == Token::new(1, 11));
        done.is_some_and(|done| done.evidence == Some(EvidenceKind::Confirmed))
    });
    assert!(!rig.is_up());
}

/// The deadman needs no agent to kill it.
#[test]
fn redis_dies_with_its_deadline_though_its_agent_is_gone() {
    if !root("redis_dies_with_its_deadline_though_its_agent_is_gone") {
        return;
    }
    let mut rig = Rig::new("redis-left");
    rig.serves();
    rig.agent.kill().unwrap();
    rig.agent.wait().unwrap();
    let began = clock::now();
    until("it is dead", || (!rig.is_up()).then_some(()));
    let took = clock::now().since(began);
    assert!(took < timing().lease, "{took:?}");
    assert_eq!(processes(&rig.cgroup()), Vec::<i32>::new());
}
