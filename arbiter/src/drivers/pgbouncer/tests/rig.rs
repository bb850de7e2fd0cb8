//! Real servers and a real pooler in temporary directories, and clients of both.

use crate::drivers::pgbouncer::PgBouncer;
use crate::drivers::{Done, Driver, DriverError};
use arbiter_core::{Control, Fact, Fencing, Goal, Instance, InstanceId, Layer, Terms, Token};
use nix::unistd::{Uid, User, chown};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// How long anything awaited in a test may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at what is awaited.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// A port where nobody listens now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Who runs servers and poolers, where this is root.
fn server_user() -> Option<User> {
    let named = || User::from_name("postgres").unwrap().expect("apt-get install postgresql");
    Uid::effective().is_root().then(named)
}

fn own(path: &Path) {
    if let Some(user) = server_user() {
        chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
}

/// Where the programs of the newest PostgreSQL here are.
fn bin_dir() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("apt-get install postgresql");
    let versions = versions.map(|version| version.unwrap().path());
    let with_server = versions.filter(|version| version.join("bin/initdb").exists());
    let number = |version: &PathBuf| version.file_name()?.to_str()?.parse::<u32>().ok();
    with_server.max_by_key(number).expect("apt-get install postgresql").join("bin")
}

fn dir(name: &str) -> TempDir {
    let dir = tempfile::Builder::new().prefix(&format!("arbiter-{name}-")).tempdir().unwrap();
    own(dir.path());
    dir
}

/// A command of the servers' user, logging into `log`.
fn command(program: &Path, log: &Path) -> Command {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let mut command = Command::new(program);
    command.current_dir("/").stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    if let Some(user) = server_user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

/// A process, killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Wait until `holds` is true.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let looks = async {
        while !holds().await {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, looks).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A client of `database` at `port`.
pub async fn client(port: u16, user: &str, database: &str) -> Result<Client, String> {
    let config = format!("host=127.0.0.1 port={port} user={user} dbname={database}");
    let connected = tokio_postgres::connect(&config, NoTls).await;
    let (client, connection) = connected.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(client)
}

/// The first column of the first row of `sql`.
pub async fn first(client: &Client, sql: &str) -> Result<String, String> {
    let answers = client.simple_query(sql).await.map_err(|error| format!("{error:?}"))?;
    let row = answers.into_iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(row.unwrap_or_default())
}

/// The port of the server that answers.
pub const WHO: &str = "SELECT inet_server_port()";

/// A PostgreSQL server.
pub struct Server {
    pub port: u16,
    _running: Running,
    _dir: TempDir,
}

impl Server {
    pub async fn start() -> Self {
        let (dir, bin) = (dir("pooled"), bin_dir());
        let (data, log) = (dir.path().join("data"), dir.path().join("log"));
        let mut init = command(&bin.join("initdb"), &log);
        init.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-N"]);
        assert!(init.status().unwrap().success(), "see {}", log.display());
        let port = free_port();
        let mut start = command(&bin.join("postgres"), &log);
        start.arg("-D").arg(&data).arg("-k").arg(dir.path()).args(["-p", &port.to_string()]);
        start.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        let running = Running(start.spawn().unwrap());
        until("the server answers", async || client(port, "postgres", "postgres").await.is_ok())
            .await;
        Self { port, _running: running, _dir: dir }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn terms(&self) -> Terms {
        let names = Some("us-east".into());
        Terms { upstream: self.address(), names, ..Terms::default() }
    }
}

/// A PgBouncer and its driver.
pub struct Pooler {
    pub port: u16,
    pub driver: PgBouncer,
    running: Option<Running>,
    dir: TempDir,
}

impl Pooler {
    /// One that reads `databases` from a file of its own, and has `more` in its configuration.
    pub async fn start(databases: &str, more: &str, settings: &[(&str, &str)]) -> Self {
        let mut pooler = Self::stopped(databases, more, settings);
        pooler.run().await;
        pooler
    }

    pub fn stopped(databases: &str, more: &str, settings: &[(&str, &str)]) -> Self {
        let (dir, port) = (dir("pgbouncer"), free_port());
        let file = dir.path().join("databases.ini");
        let place = dir.path().display();
        let users = "\"postgres\" \"\"\n\"arbiter\" \"sesame\"\n\"guest\" \"\"\n";
        let ini = format!(
            "%include {0}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir = {place}\nauth_type = trust\nauth_file = {place}/users\n\
             admin_users = arbiter\nstats_users = guest\npool_mode = transaction\n\
             server_login_retry = 1\ntcp_user_timeout = 5000\ntcp_keepidle = 5\n{more}\n",
            file.display()
        );
        for (name, text) in
            [("databases.ini", databases), ("users", users), ("pgbouncer.ini", &ini)]
        {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            own(&path);
        }
        let driver = open(port, &file, settings).unwrap();
        Self { port, driver, running: None, dir }
    }

    pub async fn run(&mut self) {
        self.spawn();
        until("the pooler answers", async || self.console().await.is_ok()).await;
    }

    /// The same for one that does not let us in without a password.
    pub async fn run_unasked(&mut self) {
        self.spawn();
        let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await;
        until("the pooler listens", async || listens().await.is_ok()).await;
    }

    fn spawn(&mut self) {
        let mut start = command(Path::new("/usr/sbin/pgbouncer"), &self.path("log"));
        start.arg(self.path("pgbouncer.ini"));
        let running = start.spawn().expect("apt-get install pgbouncer");
        self.running = Some(Running(running));
    }

    pub fn stop(&mut self) {
        self.running = None;
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Its console, as the operator has it.
    pub async fn console(&self) -> Result<Client, String> {
        client(self.port, "arbiter", "pgbouncer").await
    }

    /// An operator's word at its console.
    pub async fn operator(&self, command: &str) -> String {
        first(&self.console().await.unwrap(), command).await.unwrap()
    }

    pub async fn client(&self, database: &str) -> Client {
        client(self.port, "postgres", database).await.unwrap()
    }

    pub async fn hold(&self) -> Result<Done, DriverError> {
        self.driver.ensure(Goal::Drained, Token::new(2, 7), &Terms::default()).await
    }

    pub async fn lead(&self, terms: &Terms) -> Result<Done, DriverError> {
        self.driver.ensure(Goal::Active, Token::new(3, 9), terms).await
    }

    pub async fn look(&self) -> Fact {
        self.driver.observe().await.unwrap()
    }

    /// What its database shows in the column `paused`.
    pub async fn paused(&self, database: &str) -> bool {
        let session = self.driver.session().await.unwrap();
        session.databases().await.unwrap()[database].paused
    }
}

/// The driver of the pooler at `port`.
pub fn open(port: u16, file: &Path, more: &[(&str, &str)]) -> Result<PgBouncer, DriverError> {
    let mut settings = BTreeMap::from([
        ("databases_file".to_owned(), file.display().to_string()),
        ("admin_user".to_owned(), "arbiter".to_owned()),
    ]);
    settings.extend(more.iter().map(|(key, value)| ((*key).into(), (*value).into())));
    let instance = Instance {
        resource: "pool".into(),
        region: "eu-west".into(),
        agent: "agent-eu".into(),
        kind: "pgbouncer".into(),
        layer: Layer::Pooler,
        fencing: Fencing::BestEffort,
        control: Control::Api,
        evidence: [].into(),
        waits: false,
        address: format!("127.0.0.1:{port}"),
        settings,
    };
    PgBouncer::open(&InstanceId::from("pool-eu"), &instance)
}

/// A file whose databases lead to `server`.
pub fn databases(server: &Server, names: &[&str]) -> String {
    let entry = |name: &&str| {
        format!("{name} = host=127.0.0.1 port={} dbname=postgres pool_size=5\n", server.port)
    };
    let entries: String = names.iter().map(entry).collect();
    format!("; ours\n[databases]\n{entries}")
}
