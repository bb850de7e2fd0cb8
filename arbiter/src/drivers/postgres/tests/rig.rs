//! Real servers in temporary directories, and a holder that knows plain processes only.

use crate::drivers::postgres::processes::{self, Process};
use crate::drivers::postgres::sql::Unreachable;
use crate::drivers::postgres::{Postgres, files};
use crate::drivers::{Command, Done, Driver, DriverError, Holder, Output};
use arbiter_core::{
    Control, Fact, Fencing, Goal, Instance, InstanceId, Layer, Position, Terms, Token,
};
use async_trait::async_trait;
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User, chown};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// How long anything awaited in a test may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Plain processes of one data directory.
pub struct Plain {
    data_dir: PathBuf,
    gate_dir: PathBuf,
    pub armed: AtomicBool,
    pub may_write: AtomicBool,
    /// It holds nothing of what runs.
    pub holds_nothing: AtomicBool,
}

#[async_trait]
impl Holder for Plain {
    async fn run(&self, program: &Command) -> Result<Output, DriverError> {
        let mut command = tokio::process::Command::from(prepared(program));
        let run = command.kill_on_drop(true).output();
        let output = tokio::time::timeout(program.limit, run).await;
        let output = output.map_err(|_| DriverError::Retry("a program took too long".into()))?;
        let output = output.map_err(|error| DriverError::Retry(error.to_string()))?;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    async fn start(&self, program: &Command, writable: bool) -> Result<(), DriverError> {
        if writable && !self.may_write.load(Ordering::SeqCst) {
            return Err(DriverError::Retry("no lease".into()));
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(program.log.as_ref().expect("a server has a log"))
            .unwrap();
        let mut command = prepared(program);
        command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
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

fn prepared(program: &Command) -> std::process::Command {
    let mut command = std::process::Command::new(&program.program);
    command.args(&program.args).envs(program.env.iter().cloned()).current_dir("/");
    command.stdin(std::process::Stdio::null());
    if let Some(name) = &program.user {
        let user = User::from_name(name).unwrap().unwrap();
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

/// A server, its driver and its holder.
pub struct Node {
    pub driver: Postgres,
    pub host: Arc<Plain>,
    pub data_dir: PathBuf,
    pub address: String,
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
    /// A place for a server, without data.
    pub fn new(name: &str, more: &[(&str, &str)]) -> Self {
        Self::below(&std::env::temp_dir(), name, more)
    }

    /// The same, on the file system of `parent`.
    pub fn below(parent: &Path, name: &str, more: &[(&str, &str)]) -> Self {
        let root = tempfile::Builder::new().prefix("arbiter-pg-").tempdir_in(parent).unwrap();
        own(root.path());
        let data_dir = root.path().join("data");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let gate_dir = root.path().join("gate");
        let host = Arc::new(Plain {
            data_dir: data_dir.clone(),
            gate_dir,
            armed: AtomicBool::new(true),
            may_write: AtomicBool::new(true),
            holds_nothing: AtomicBool::new(false),
        });
        let mut settings: BTreeMap<String, String> = BTreeMap::new();
        let mut set = |key: &str, value: String| settings.insert(key.to_owned(), value);
        set("data_dir", data_dir.display().to_string());
        set("socket_dir", root.path().display().to_string());
        more.iter().for_each(|(key, value)| drop(set(key, (*value).to_owned())));
        let id = InstanceId::from(name);
        let driver = Postgres::open(&id, &instance(&address, settings), host.clone()).unwrap();
        Self { driver, host, data_dir, address, root }
    }

    /// A running primary with an empty table `t`.
    pub async fn primary(name: &str, more: &[(&str, &str)]) -> Self {
        let node = Self::new(name, more);
        let dir = node.data_dir.display().to_string();
        // Peer, as distributions have it: the agent, as root, must be seen as the server's user.
        let local = if Uid::effective().is_root() { "peer" } else { "trust" };
        let auth = ["--auth-local", local, "--auth-host", "trust"];
        let args = [&["-D", &dir, "-U", "postgres", "--no-sync"], &auth[..]].concat();
        node.tool("initdb", &args).await;
        let conf = node.data_dir.join("postgresql.conf");
        let mut text = std::fs::read_to_string(&conf).unwrap();
        text.push_str(
            "shared_buffers = 16MB\nmax_connections = 30\nwal_keep_size = 64MB\n\
             listen_addresses = '127.0.0.1'\n",
        );
        files::replace(&conf, &text, &conf).unwrap();
        node.active().await;
        node.sql("CREATE TABLE t (id int)").await;
        node
    }

    /// A copy of this running server, following it.
    pub async fn standby(&self, name: &str, more: &[(&str, &str)]) -> Self {
        self.copied_to(Self::new(name, more)).await
    }

    /// Make `node` a copy of this running server, following it.
    pub async fn copied_to(&self, node: Self) -> Self {
        let dir = node.data_dir.display().to_string();
        let (host, port) = self.address.split_once(':').unwrap();
        let args = ["-D", &dir, "-h", host, "-p", port, "-U", "postgres", "-c", "fast", "-N"];
        node.tool("pg_basebackup", &args).await;
        files::make_standby(&node.data_dir).unwrap();
        if let Err(error) = node.follow(&self.address).await {
            panic!("{error}\n{}", node.log());
        }
        node
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.path().join("data.log")).unwrap_or_default()
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub async fn tool(&self, name: &str, args: &[&str]) -> Output {
        let output = self.driver.tool(name, args, &[], PATIENCE).await.unwrap();
        assert_eq!(output.code, Some(0), "{name}: {}", output.stderr);
        output
    }

    pub async fn ensure(&self, goal: Goal, terms: &Terms) -> Result<Done, DriverError> {
        self.driver.ensure(goal, Token::new(1, 1), terms).await
    }

    pub async fn active(&self) -> Done {
        self.ensure(Goal::Active, &Terms::default()).await.unwrap()
    }

    pub async fn follow(&self, upstream: &str) -> Result<Done, DriverError> {
        let terms = Terms { upstream: upstream.to_owned(), ..Terms::default() };
        self.ensure(Goal::Standby, &terms).await
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

    pub async fn sql(&self, sql: &str) {
        self.try_sql(sql).await.unwrap();
    }

    pub async fn try_sql(&self, sql: &str) -> Result<(), Unreachable> {
        self.driver.session().await?.run(sql).await
    }

    pub async fn count(&self) -> i64 {
        let session = self.driver.session().await.unwrap();
        session.row("SELECT count(*) FROM t").await.unwrap().get(0)
    }

    /// Open a session over TCP that keeps `sql` going.
    pub async fn busy(&self, sql: &'static str) -> tokio::task::JoinHandle<()> {
        let (host, port) = self.address.split_once(':').unwrap();
        let info = format!("host={host} port={port} user=postgres dbname=postgres");
        let (client, connection) =
            tokio_postgres::connect(&info, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        tokio::spawn(async move { drop(client.batch_execute(sql).await) })
    }

    pub fn postmaster(&self) -> Process {
        processes::postmaster(&held(&self.data_dir)).cloned().expect("a postmaster runs")
    }

    pub async fn kill_postmaster(&self) {
        let server = self.postmaster();
        processes::send(&server, Signal::SIGKILL);
        assert!(processes::wait_gone(&[server], PATIENCE).await);
    }
}

/// Give `path` to the user that the server runs as.
fn own(path: &Path) {
    if Uid::effective().is_root() {
        let user = User::from_name("postgres").unwrap().expect("apt-get install postgresql");
        chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
}

pub fn instance(address: &str, settings: BTreeMap<String, String>) -> Instance {
    Instance {
        resource: "db".into(),
        region: "eu-west".into(),
        agent: "agent-eu".into(),
        kind: "postgres".into(),
        layer: Layer::Data,
        fencing: Fencing::Required,
        control: Control::Owned,
        evidence: Default::default(),
        waits: true,
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
