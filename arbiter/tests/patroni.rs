//! Real Patroni with etcd in two regions, each beside a real agent and its deadman, with a fake
//! arbiter: the worked example of deploy/patroni, from the first start to the return.

mod support;

use arbiter::agent::{AgentOptions, cgroup, deadman, run_with};
use arbiter::{clock, drivers};
use arbiter_core::{
    Condition, Control, EvidenceKind, Goal, Instance, InstanceReport, Profile, Report, Terms,
    Timing, Token,
};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Pid, User, chown};
use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use support::fake::{self, FakeArbiter, GROUP, INSTANCE};
use support::{ARBITER, living, marked, processes, remove_cgroups, root};

/// Tells the test binary that it is to be an agent: where its files are.
const BE_AGENT: &str = "ARBITER_TEST_PATRONI_AGENT";
const PARENT: &str = "region-arbiter-test";
/// The longest that anything here may take: Patroni makes clusters, on a machine that does more.
const PATIENCE: Duration = Duration::from_secs(180);

/// Long enough for a machine that is busy: what lapses is fenced, and comes back too late.
fn timing() -> Timing {
    Timing { lease: Duration::from_secs(30), ..Profile::Regional.timing() }
}

/// A lease that a test can wait for.
const SHORT: Duration = Duration::from_secs(4);
/// One test at a time: each makes two clusters.
static ALONE: Mutex<()> = Mutex::new(());

fn instance(home: &Path) -> Instance {
    let text = fs::read_to_string(home.join("settings")).unwrap();
    let settings = text.lines().filter_map(|line| line.split_once(" = "));
    Instance {
        kind: "delegated".into(),
        control: Control::Delegated,
        address: fs::read_to_string(home.join("address")).unwrap(),
        settings: settings.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
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

/// Python with Patroni, and the programs beside it.
fn venv() -> PathBuf {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/setup/patroni.sh");
    let output = Command::new("bash").arg(setup).stderr(Stdio::inherit()).output();
    let output = output.expect("bash is there");
    assert!(output.status.success(), "Patroni cannot be installed");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = clock::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::now() < end, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ports that nobody has: etcd's two, Patroni's and PostgreSQL's.
fn ports() -> [u16; 4] {
    let free = [0; 4].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    free.map(|listener| listener.local_addr().unwrap().port())
}

/// One region: etcd, an agent, and what that runs.
struct Region {
    home: tempfile::TempDir,
    name: String,
    ports: [u16; 4],
    arbiter: FakeArbiter,
    etcd: Child,
    agent: Child,
}

impl Region {
    /// `follows`: the port of the other region's PostgreSQL, where this one is made to stand by.
    fn new(name: &str, ports: [u16; 4], peer: u16, stands_by: bool) -> Self {
        let home = tempfile::Builder::new().prefix("arbiter-").tempdir_in("/dev/shm").unwrap();
        let name = format!("patroni-{name}-{}", std::process::id());
        let arbiter = FakeArbiter::start();
        arbiter.change(|script| {
            (script.timing, script.lease) = (timing(), timing().lease);
            if stands_by {
                script.goal = Goal::Standby;
                script.terms = follow(peer);
            }
        });
        let user = User::from_name("postgres").unwrap().expect("apt-get install postgresql");
        let at = |file: &str| home.path().join(file);
        fs::create_dir(at("pg")).unwrap();
        let write = |file: &str, text: &str| fs::write(at(file), text).unwrap();
        let gate = deadman::gate_dir(&at("run"), &GROUP.into());
        write("patroni.yml", &patroni(home.path(), &gate, ports, stands_by.then_some(peer)));
        // Where the user of PostgreSQL can read it.
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/patroni/arbiter-patroni");
        fs::copy(script, at("arbiter-patroni")).unwrap();
        for path in [home.path().to_owned(), at("pg"), at("patroni.yml"), at("arbiter-patroni")] {
            chown(&path, Some(user.uid), Some(user.gid)).unwrap();
        }
        write("settings", &settings(home.path(), ports, peer));
        write("name", &name);
        write("boot_id", "first boot");
        write("arbiter", &arbiter.address.to_string());
        write("address", &format!("127.0.0.1:{}", ports[3]));
        let etcd = etcd(&at("etcd"), ports);
        let agent = start_agent(home.path());
        Self { home, name, ports, arbiter, etcd, agent }
    }

    fn cgroup(&self) -> PathBuf {
        let mount = cgroup::find_or_mount(&self.home.path().join("run/cgroup2")).unwrap();
        mount.join(PARENT).join(deadman::group_component(&self.name, &GROUP.into()))
    }

    /// Order something.
    fn order(&self, goal: Goal, token: Token, terms: Terms) {
        self.arbiter.change(|script| {
            (script.goal, script.token, script.terms) = (goal, token, terms);
            script.verify = goal == Goal::Active;
        });
    }

    /// Wait for a Report in which the instance is as it should be; it.
    fn shows(&self, what: &str, fits: impl Fn(&Report, &InstanceReport) -> bool) -> InstanceReport {
        until(what, || {
            let heard = self.arbiter.heard()?;
            let shown = heard.groups.get(&GROUP.into())?.instances.get(&INSTANCE.into())?;
            fits(&heard, shown).then(|| shown.clone())
        })
    }

    /// Wait until it has done `goal` at `token`.
    fn does(&self, goal: Goal, token: Token) -> InstanceReport {
        self.shows(&format!("{} does {goal} at {token}", self.name), |_, shown| {
            let done = shown.done.as_ref();
            done.is_some_and(|done| done.goal == goal && done.token == token)
        })
    }

    /// What is held, and whatever has this region's files in its command line, held or not.
    fn left(&self) -> Vec<i32> {
        let home = self.home.path().display();
        let marks = [format!("{home}/patroni.yml"), format!("{home}/pg/data")];
        let mut left = processes(&self.cgroup());
        left.extend(marks.iter().flat_map(|mark| marked(mark)));
        left
    }

    fn is_up(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.ports[3])).is_ok()
    }

    /// What one statement returns; none where it failed.
    fn sql(&self, sql: &str) -> Option<String> {
        let port = self.ports[3].to_string();
        let output = Command::new("psql")
            .args(["-XAtqw", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-c", sql])
            .env("PGCONNECT_TIMEOUT", "5")
            .stderr(Stdio::null())
            .output()
            .expect("apt-get install postgresql-client");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    }

    fn gates(&self) -> (bool, bool) {
        let dir = deadman::gate_dir(&self.home.path().join("run"), &GROUP.into());
        let is = |last: &str| dir.join(format!("{INSTANCE}.{last}")).exists();
        (is("start.conf"), is("active"))
    }

    /// Nothing of it runs, and nobody can start it.
    fn is_dead(&self) {
        until("all of it is dead", || self.left().is_empty().then_some(()));
        assert!(!self.is_up());
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        let socket = UnixStream::connect(deadman::socket_path(&self.home.path().join("run")));
        if let Ok(peer) = socket.map(|socket| getsockopt(&socket, PeerCredentials)) {
            let _ = kill(Pid::from_raw(peer.unwrap().pid()), Signal::SIGKILL);
        }
        remove_cgroups(self.cgroup().parent().unwrap(), &cgroup::component(&self.name));
        let _ = self.etcd.kill();
        let _ = self.etcd.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("--- Patroni of {}\n{}", self.name, tail.join("\n"));
            eprintln!("{:#?}", self.arbiter.heard());
        }
    }
}

fn start_agent(home: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["be_agent", "--exact", "--nocapture"])
        .env(BE_AGENT, home)
        .spawn()
        .unwrap()
}

fn follow(port: u16) -> Terms {
    Terms { upstream: format!("127.0.0.1:{port}"), ..Terms::default() }
}

fn etcd(dir: &Path, [client, peer, ..]: [u16; 4]) -> Child {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(dir).args(["--listen-client-urls", &client]);
    command.args(["--advertise-client-urls", &client, "--listen-peer-urls", &peer]);
    command.args(["--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().expect("apt-get install etcd-server")
}

/// The settings of the instance, as a cluster file has them.
fn settings(home: &Path, [_, _, rest, _]: [u16; 4], peer: u16) -> String {
    let (home, bin) = (home.display(), venv().join("bin"));
    let bin = bin.display();
    format!(
        "command = {bin}/python {home}/arbiter-patroni
limit = 30s
manager = {bin}/patroni {home}/patroni.yml
manager_config = {home}/patroni.yml
data_dir = {home}/pg/data
user = postgres
log_file = {home}/log
env.PATRONI_CONFIG = {home}/patroni.yml
env.PATRONI_URL = http://127.0.0.1:{rest}
env.PATRONI_PEER = 127.0.0.1:{peer}
env.PATRONI_CTL = {bin}/patronictl
env.PGUSER = postgres
env.PGDATABASE = postgres
"
    )
}

/// Patroni's configuration: deploy/patroni/patroni.yml, on one machine, and small.
fn patroni(home: &Path, gate: &Path, [etcd, _, rest, sql]: [u16; 4], peer: Option<u16>) -> String {
    let bin = fs::read_dir("/usr/lib/postgresql").unwrap().flatten().map(|e| e.path().join("bin"));
    let bin = bin.filter(|bin| bin.join("initdb").exists()).max().expect("a PostgreSQL");
    let (home, bin) = (home.display(), bin.display());
    let (start, active) = (gate.join("busy.start.conf"), gate.join("busy.active"));
    let standby = peer.map_or(String::new(), |port| {
        format!("    standby_cluster:\n      host: 127.0.0.1\n      port: {port}\n")
    });
    format!(
        "scope: shop
name: node-{sql}
restapi:
  listen: 127.0.0.1:{rest}
  connect_address: 127.0.0.1:{rest}
etcd3:
  host: 127.0.0.1:{etcd}
bootstrap:
  dcs:
    loop_wait: 1
    ttl: 20
    retry_timeout: 3
{standby}    postgresql:
      use_pg_rewind: true
      parameters:
        wal_keep_size: 128MB
        shared_buffers: 16MB
        max_connections: 40
        wal_receiver_status_interval: 1s
  initdb:
    - auth-host: trust
    - auth-local: trust
    - data-checksums
postgresql:
  listen: 127.0.0.1:{sql}
  connect_address: 127.0.0.1:{sql}
  data_dir: {home}/pg/data
  bin_dir: {bin}
  custom_conf: {start}
  pre_promote: test -e {active}
  pgpass: {home}/pg/pgpass
  authentication:
    superuser:
      username: postgres
    replication:
      username: replicator
    rewind:
      username: rewinder
  parameters:
    unix_socket_directories: {home}/pg
  pg_hba:
    - local all all trust
    - host all all 127.0.0.1/32 trust
    - host replication all 127.0.0.1/32 trust
",
        start = start.display(),
        active = active.display(),
    )
}

/// Two regions, the first active with one row, the second following it.
fn pair() -> (Region, Region) {
    let (eu, us) = (ports(), ports());
    let first = Region::new("eu", eu, us[3], false);
    let shown = first.does(Goal::Active, Token::new(1, 10));
    assert!(shown.fact.writable && shown.fact.position.is_some(), "{:?}", shown.fact);
    assert_eq!(first.gates(), (true, true));
    let second = Region::new("us", us, eu[3], true);
    let shown = second.does(Goal::Standby, Token::new(1, 10));
    assert!(!shown.fact.writable);
    assert_eq!(second.gates(), (true, false));
    second.shows("it streams", |_, shown| shown.fact.upstream.is_some_and(|up| up.streaming));
    first.sql("CREATE TABLE orders (id int); INSERT INTO orders VALUES (1)").expect("a write");
    until("the row is there", || second.sql("SELECT id FROM orders").filter(|rows| rows == "1"));
    (first, second)
}

/// I1, I3, I4: the whole way of a failover, and the return.
#[test]
fn patroni_moves_to_the_other_region_and_returns_as_a_standby_cluster() {
    if !root("patroni_moves_to_the_other_region_and_returns_as_a_standby_cluster") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (eu, us) = pair();
    let before = eu.left();
    assert!(before.len() > 6, "Patroni and PostgreSQL: {before:?}");

    // The fence: all of the cgroup, and the proof.
    eu.order(
        Goal::Fenced,
        Token::new(1, 20),
        Terms { clean_stop: Some(Duration::ZERO), ..Terms::default() },
    );
    let shown = eu.does(Goal::Fenced, Token::new(1, 20));
    assert_eq!(shown.done.unwrap().evidence, Some(EvidenceKind::Confirmed));
    assert_eq!(shown.fact.condition, Condition::Stopped);
    assert_eq!((living(&before), eu.left()), (Vec::new(), Vec::new()), "at once");
    assert_eq!(eu.gates(), (false, false));
    eu.is_dead();

    // The promotion, through the script, and a real write.
    us.order(Goal::Drained, Token::new(1, 21), Terms::default());
    let drained = us.does(Goal::Drained, Token::new(1, 21)).done.unwrap();
    assert!(drained.evidence.is_none() && drained.end.is_some(), "{drained:?}");
    us.order(Goal::Active, Token::new(2, 22), Terms::default());
    us.does(Goal::Active, Token::new(2, 22));
    let shown = us.shows("where its timeline began", |_, shown| shown.fact.fork.is_some());
    assert_eq!(shown.fact.fork.map(|fork| fork.timeline), Some(2));
    let verified = us.shows("it is verified", |_, shown| shown.verified.is_some());
    assert_eq!(verified.verified, Some(Token::new(2, 22)));
    let beat = us.sql("SELECT epoch, revision FROM arbiter.heartbeat");
    assert_eq!(beat.as_deref(), Some("2|22"));
    us.sql("INSERT INTO orders VALUES (2)").expect("the new primary takes writes");

    // The return: its own store still says that it is no standby cluster.
    eu.order(Goal::Standby, Token::new(2, 23), follow(us.ports[3]));
    eu.does(Goal::Standby, Token::new(2, 23));
    let shown =
        eu.shows("it follows", |_, shown| shown.fact.upstream.is_some_and(|up| up.streaming));
    assert!(!shown.fact.writable, "{:?}", shown.fact);
    until("it has both rows", || eu.sql("SELECT count(*) FROM orders").filter(|rows| rows == "2"));
    assert_eq!(eu.sql("INSERT INTO orders VALUES (3)"), None, "it takes no write");
    assert_eq!(eu.gates(), (true, false));
    stays_a_standby(&eu);
}

/// I4: somebody makes a plain cluster of it in its store, and Patroni promotes nothing.
fn stays_a_standby(region: &Region) {
    let log = region.home.path().join("log");
    let cancelled = || fs::read_to_string(&log).unwrap().matches("Promotion cancelled").count();
    let before = cancelled();
    let config = region.home.path().join("patroni.yml");
    let edited = Command::new(venv().join("bin/patronictl"))
        .args(["-c", &config.display().to_string(), "edit-config", "--force", "--quiet"])
        .args(["--set", "standby_cluster=null"])
        .stdout(Stdio::null())
        .status();
    assert!(edited.unwrap().success());
    until("Patroni wanted to promote it", || (cancelled() > before).then_some(()));
    assert_eq!(region.sql("SELECT pg_is_in_recovery()").as_deref(), Some("t"));
    assert_eq!(region.sql("INSERT INTO orders VALUES (3)"), None);
}

/// A switchover ends with all of the stream in the other region; the rest is the deadman's.
#[test]
fn patroni_drains_cleanly_and_dies_with_its_deadline() {
    if !root("patroni_drains_cleanly_and_dies_with_its_deadline") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (eu, mut us) = pair();
    eu.sql("INSERT INTO orders SELECT generate_series(2, 20000)").expect("a write");
    eu.order(Goal::Drained, Token::new(1, 20), Terms::default());
    let drained = eu.does(Goal::Drained, Token::new(1, 20)).done.unwrap();
    assert_eq!((drained.evidence, drained.clean), (Some(EvidenceKind::Confirmed), true));
    eu.is_dead();
    us.order(Goal::Drained, Token::new(1, 20), Terms { until: drained.end, ..Terms::default() });
    let received = us.does(Goal::Drained, Token::new(1, 20)).done.unwrap();
    assert!(received.end >= drained.end, "{received:?}, {drained:?}");
    us.order(Goal::Active, Token::new(2, 21), Terms::default());
    us.does(Goal::Active, Token::new(2, 21));
    assert_eq!(us.sql("SELECT count(*) FROM orders").as_deref(), Some("20000"));

    // Its agent gone, the deadman needs nobody: Patroni does not outlive the lease.
    us.arbiter.change(|script| script.lease = SHORT);
    us.shows("its lease is a short one", |report, _| {
        report.groups[&GROUP.into()].remaining.is_some_and(|left| left < SHORT)
    });
    assert!(!us.left().is_empty());
    us.agent.kill().unwrap();
    us.agent.wait().unwrap();
    us.is_dead();
}
