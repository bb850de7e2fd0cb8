//! Real servers in temporary directories, and a holder that knows plain processes only.

use crate::drivers::redis::Redis;
use crate::drivers::redis::processes::{self, Process};
use crate::drivers::redis::talk::{Session, text};
use crate::drivers::{Command, Done, Driver, DriverError, Holder, Output};
use arbiter_core::{
    Control, Fact, Fencing, Goal, Instance, InstanceId, Instant, Layer, Position, Terms, Token,
};
use async_trait::async_trait;
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User, chown};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// How long anything awaited in a test may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Changes are appended, and a copy begins at once.
pub const APPENDS: &str = "repl-diskless-sync-delay 0\nsave \"\"\nappendonly yes\n";
/// Changes are only saved when it stops.
pub const SAVES: &str = "repl-diskless-sync-delay 0\nsave 3600 1\nappendonly no\n";

/// Plain processes of one data directory.
pub struct Plain {
    data_dir: PathBuf,
    gate_dir: PathBuf,
    pub armed: AtomicBool,
    /// It holds nothing of what runs.
    pub holds_nothing: AtomicBool,
}

#[async_trait]
impl Holder for Plain {
    async fn run(&self, _: &Command) -> Result<Output, DriverError> {
        unreachable!("no tool is run")
    }

    async fn start(&self, program: &Command, _: bool) -> Result<(), DriverError> {
        let log = program.log.as_ref().expect("a server has a log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = std::process::Command::new(&program.program);
        command.args(&program.args).current_dir("/").stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        if let Some(user) = server_user() {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let mut child = command.spawn().unwrap();
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    fn processes(&self) -> Result<Vec<i32>, DriverError> {
        let held = held(&self.data_dir);
        let all = if self.holds_nothing.load(Ordering::SeqCst) { &[] } else { held.as_slice() };
        Ok(all.iter().map(|process| process.pid).collect())
    }

    async fn kill(&self) -> Result<(), DriverError> {
        held(&self.data_dir).iter().for_each(|process| processes::send(process, Signal::SIGKILL));
        Ok(())
    }

    fn armed(&self) -> bool {
        self.armed.load(Ordering::SeqCst)
    }

    fn gate_dir(&self) -> PathBuf {
        self.gate_dir.clone()
    }
}

/// Every process that holds `data_dir`.
pub fn held(data_dir: &Path) -> Vec<Process> {
    processes::dir_id(data_dir).map_or_else(Vec::new, |dir| processes::holding(dir).unwrap())
}

/// Who runs servers, where this is root.
pub fn server_user() -> Option<User> {
    let named = || User::from_name("redis").unwrap().expect("apt-get install redis-server");
    Uid::effective().is_root().then(named)
}

fn own(path: &Path) {
    if let Some(user) = server_user() {
        chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
}

/// Write a file that the server's user owns.
pub fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::write(path, text).unwrap();
    own(path);
}

/// An address where nobody listens now.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A server, its driver and its holder.
pub struct Node {
    pub driver: Redis,
    pub host: Arc<Plain>,
    pub data_dir: PathBuf,
    pub address: String,
    spec: Instance,
    root: TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        for _ in 0..16 {
            let left = held(&self.data_dir);
            left.iter().for_each(|process| processes::send(process, Signal::SIGKILL));
            if left.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Node {
    /// A place for a server configured so, without data.
    pub fn new(name: &str, conf: &str, more: &[(&str, &str)]) -> Self {
        Self::of(name, conf, more, Fencing::Required)
    }

    pub fn of(name: &str, conf: &str, more: &[(&str, &str)], fencing: Fencing) -> Self {
        let root = tempfile::Builder::new().prefix("arbiter-redis-").tempdir().unwrap();
        own(root.path());
        let data_dir = root.path().join("data");
        std::fs::create_dir(&data_dir).unwrap();
        own(&data_dir);
        write(&data_dir.join("redis.conf"), format!("bind 127.0.0.1\n{conf}"));
        let address = free_address();
        let host = Arc::new(Plain {
            data_dir: data_dir.clone(),
            gate_dir: root.path().join("gate"),
            armed: AtomicBool::new(false),
            holds_nothing: AtomicBool::new(false),
        });
        let mut settings: BTreeMap<String, String> =
            more.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        settings.insert("data_dir".into(), data_dir.display().to_string());
        let spec = instance(&address, settings, fencing);
        let driver = Redis::open(&InstanceId::from(name), &spec, host.clone()).unwrap();
        Self { driver, host, data_dir, address, spec, root }
    }

    /// The agent was restarted, and knows nothing of what it saw.
    pub fn reopen(&mut self) {
        let id = self.driver.set.id.clone();
        self.driver = Redis::open(&id, &self.spec, self.host.clone()).unwrap();
    }

    /// A running, armed primary with one key.
    pub async fn primary(name: &str, conf: &str, more: &[(&str, &str)]) -> Self {
        let node = Self::new(name, conf, more);
        node.driver.start_as_is().await.unwrap();
        node.arm().await;
        node.ask(&["SET", "first", "1"]).await;
        node
    }

    /// A running, armed replica of this server.
    pub async fn standby(&self, name: &str, conf: &str, more: &[(&str, &str)]) -> Self {
        let node = Self::new(name, conf, more);
        node.arm().await;
        if let Err(error) = node.follow(&self.address).await {
            panic!("{error}\n{}", node.log());
        }
        node
    }

    pub async fn arm(&self) {
        self.host.armed.store(true, Ordering::SeqCst);
        self.driver.gate(true).await.unwrap();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.path().join("data.log")).unwrap_or_default()
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub async fn ensure(&self, goal: Goal, terms: &Terms) -> Result<Done, DriverError> {
        self.driver.ensure(goal, Token::new(2, 7), terms).await
    }

    pub async fn active(&self) -> Done {
        self.try_active().await.unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    pub async fn try_active(&self) -> Result<Done, DriverError> {
        self.ensure(Goal::Active, &Terms::default()).await
    }

    pub async fn follow(&self, upstream: &str) -> Result<Done, DriverError> {
        let terms = Terms { upstream: upstream.to_owned(), ..Terms::default() };
        self.ensure(Goal::Standby, &terms).await
    }

    /// Follow, asked again as the executor would.
    pub async fn come_to_follow(&self, upstream: &str) -> Done {
        let end = crate::clock::now() + PATIENCE;
        loop {
            match self.follow(upstream).await {
                Ok(done) => return done,
                Err(DriverError::Retry(why)) if crate::clock::now() < end => println!("{why}"),
                Err(error) => panic!("{error}\n{}", self.log()),
            }
        }
    }

    pub async fn drain(&self, until: Option<Position>) -> Result<Done, DriverError> {
        self.ensure(Goal::Drained, &Terms { until, ..Terms::default() }).await
    }

    pub async fn fence(&self, clean_stop: Duration) -> Result<Done, DriverError> {
        let terms = Terms { clean_stop: Some(clean_stop), ..Terms::default() };
        self.ensure(Goal::Fenced, &terms).await
    }

    pub async fn look(&self) -> Fact {
        self.driver.observe().await.unwrap()
    }

    /// The answer, as text.
    pub async fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).await.unwrap()
    }

    pub async fn try_ask(&self, words: &[&str]) -> Result<String, String> {
        let asked = async {
            let session = self.driver.session().await?;
            session.ask(words).await
        };
        asked.await.map(|answer| text(&answer)).map_err(|error| error.to_string())
    }

    /// What it writes is there.
    pub async fn followed_by(&self, replica: &Node) {
        let written = self.look().await.position;
        eventually("followed", async || replica.look().await.replayed >= written).await;
    }

    pub fn server(&self) -> Process {
        processes::server(&held(&self.data_dir)).cloned().expect("a server runs")
    }

    pub async fn kill(&self) {
        let server = self.server();
        processes::send(&server, Signal::SIGKILL);
        assert!(processes::wait_gone(&[server], PATIENCE).await);
    }

    /// Start it without the agent, as a service manager would. Whether it came up.
    pub async fn start_by_hand(&self) -> bool {
        let conf = self.data_dir.join("redis.conf");
        let mut command = std::process::Command::new("redis-server");
        command.arg(conf).args(["--dir", &self.data_dir.display().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(user) = server_user() {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let mut child = tokio::process::Command::from(command).spawn().unwrap();
        // One that may start stays; one that may not ends at once.
        let ended = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
        let _ = child.kill().await;
        ended.is_err()
    }
}

/// Writes keys one after the other, and counts those that were acknowledged.
pub struct Writer {
    task: JoinHandle<()>,
    acknowledged: Arc<AtomicU64>,
    last: Arc<Mutex<Instant>>,
}

impl Writer {
    pub async fn start(node: &Node) -> Self {
        let session = session_at(&node.address).await;
        let acknowledged = Arc::new(AtomicU64::new(0));
        let last = Arc::new(Mutex::new(crate::clock::now()));
        let (counted, timed) = (acknowledged.clone(), last.clone());
        let task = tokio::spawn(async move {
            for number in 1u64.. {
                let set = ["SET".to_owned(), format!("w{number}"), number.to_string()];
                let set = set.each_ref().map(String::as_str);
                if session.ask_within(&set, PATIENCE).await.is_err() {
                    return;
                }
                counted.store(number, Ordering::SeqCst);
                *timed.lock().unwrap() = crate::clock::now();
            }
        });
        let writer = Self { task, acknowledged, last };
        eventually("written", async || writer.count() > 100).await;
        writer
    }

    pub fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// When the last one was.
    pub fn last(&self) -> Instant {
        *self.last.lock().unwrap()
    }

    /// End it; how many writes were acknowledged.
    pub async fn stop(self) -> u64 {
        self.task.abort();
        let _ = self.task.await;
        self.acknowledged.load(Ordering::SeqCst)
    }
}

pub async fn session_at(address: &str) -> Session {
    let (host, port) = address.split_once(':').unwrap();
    let addr = ::redis::ConnectionAddr::Tcp(host.into(), port.parse().unwrap());
    Session::open(addr, &Default::default()).await.unwrap()
}

pub fn instance(address: &str, settings: BTreeMap<String, String>, fencing: Fencing) -> Instance {
    Instance {
        resource: "cache".into(),
        region: "eu-west".into(),
        agent: "agent-eu".into(),
        kind: "redis".into(),
        layer: Layer::Data,
        fencing,
        control: Control::Owned,
        evidence: Default::default(),
        waits: false,
        address: address.to_owned(),
        settings,
    }
}

/// Wait until `check` is true.
pub async fn eventually(what: &str, check: impl AsyncFn() -> bool) {
    let end = crate::clock::now() + PATIENCE;
    while !check().await {
        assert!(crate::clock::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
