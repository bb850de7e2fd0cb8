//! PostgreSQL servers for the lab: a primary and its streaming standbys, made and left stopped, so
//! that the agents start them. Knows initdb and pg_basebackup; never the arbiter.

use super::net::Net;
use super::process::{Process, Spec};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Port of the first pair; each host has its own address.
pub const PORT: u16 = 5432;
/// Role that replicates.
pub const REPLICATION_USER: &str = "replicator";

/// One server of the lab.
#[derive(Clone, Debug)]
pub struct Server {
    /// Host it runs on.
    pub host: String,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Directory of its socket.
    pub socket_dir: PathBuf,
    /// Its port.
    pub port: u16,
}

/// Where the tools of the newest installed PostgreSQL are.
///
/// # Errors
/// If none is installed; says which package has it.
pub fn bin_dir() -> io::Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("initdb").exists().then_some((version, bin))
        })
        .collect();
    found.sort();
    let missing = "no PostgreSQL server below /usr/lib/postgresql; install package postgresql";
    found.pop().map(|(_, bin)| bin).ok_or_else(|| io::Error::other(missing))
}

/// User and group id that the servers run as.
///
/// # Errors
/// If there is no user `postgres`.
pub fn owner() -> io::Result<(u32, u32)> {
    let user = nix::unistd::User::from_name("postgres")?
        .ok_or_else(|| io::Error::other("no user postgres; install package postgresql"))?;
    Ok((user.uid.as_raw(), user.gid.as_raw()))
}

/// Make a directory that the servers' user owns.
fn owned_dir(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    let (uid, gid) = owner()?;
    nix::unistd::chown(path, Some(uid.into()), Some(gid.into())).map_err(Into::into)
}

const SETTINGS: &str = "
listen_addresses = '*'
max_connections = 60
shared_buffers = 16MB
wal_level = replica
wal_log_hints = on
hot_standby = on
max_wal_senders = 10
max_replication_slots = 10
wal_keep_size = 128MB
max_slot_wal_keep_size = 512MB
restart_after_crash = off
wal_receiver_timeout = 5s
wal_sender_timeout = 5s
wal_receiver_status_interval = 1s
checkpoint_timeout = 5min
min_wal_size = 64MB
max_wal_size = 256MB
recovery_target_timeline = latest
logging_collector = off
log_min_messages = warning
";

const ACCESS: &str = "
local   all          all                  trust
local   replication  all                  trust
host    all          all  127.0.0.1/32    trust
host    all          all  10.77.0.0/16    trust
host    replication  all  10.77.0.0/16    trust
";

/// SQL that the lab's writers need, run once on the primary. No key on the id: an id that is there
/// twice must show.
const SCHEMA: &str = "CREATE ROLE replicator REPLICATION LOGIN;
CREATE TABLE writes (id bigint NOT NULL, writer text NOT NULL);";
/// The same for each standby.
const SLOT: &str = "SELECT pg_create_physical_replication_slot('SLOT', true);";

/// Make `primary` and standbys of it, all stopped cleanly.
///
/// # Errors
/// If a tool is missing or fails; the text names its log.
pub fn make(net: &Net, dir: &Path, primary: &Server, standbys: &[&Server]) -> io::Result<()> {
    let (bin, log) = (bin_dir()?, dir.join("postgres-setup.log"));
    std::fs::write(&log, "")?;
    for server in standbys.iter().copied().chain([primary]) {
        owned_dir(&server.socket_dir, 0o700)?;
        owned_dir(server.data_dir.parent().unwrap_or(dir), 0o755)?;
    }
    let tool = |host: &str, name: &str, args: &[&str]| {
        let mut spec = Spec::new(bin.join(name), args, &log);
        spec.user = Some(owner()?);
        spec.env = vec![("LC_ALL".into(), "C.UTF-8".into())];
        Process::run(net, host, &spec)
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (data, socket) = (text(&primary.data_dir), text(&primary.socket_dir));
    let init = ["-D", &data, "-U", "postgres", "-A", "trust", "-k", "--no-instructions", "-N"];
    tool(&primary.host, "initdb", &init)?;
    write_settings(primary)?;
    let server_log = text(&primary.data_dir.with_extension("log"));
    let start = ["start", "-w", "-D", &data, "-l", &server_log];
    tool(&primary.host, "pg_ctl", &start)?;
    let port = primary.port.to_string();
    let slots = standbys.iter().map(|standby| SLOT.replace("SLOT", &slot(standby)));
    let schema = slots.fold(SCHEMA.to_owned(), |schema, slot| schema + &slot);
    let place = ["-X", "-v", "ON_ERROR_STOP=1", "-h", &socket, "-p", &port, "-U", "postgres"];
    tool(&primary.host, "psql", &[&place[..], &["-c", &schema]].concat())?;
    for standby in standbys {
        let from = format!(
            "host={} port={port} user={REPLICATION_USER} application_name={}",
            net.host(&primary.host).address(),
            standby.host
        );
        let (copy, slot_name) = (text(&standby.data_dir), slot(standby));
        let backup =
            ["-D", &copy, "-d", &from, "-R", "-X", "stream", "-c", "fast", "-S", &slot_name, "-N"];
        tool(&standby.host, "pg_basebackup", &backup)?;
        write_settings(standby)?;
    }
    tool(&primary.host, "pg_ctl", &["stop", "-w", "-m", "fast", "-D", &data])
}

/// Start `server` as somebody without an arbiter would.
///
/// # Errors
/// If it cannot be started.
pub fn start_by_hand(net: &Net, server: &Server) -> io::Result<Process> {
    let data = server.data_dir.to_string_lossy();
    let mut spec = Spec::new(
        bin_dir()?.join("postgres"),
        &["-D", &data],
        server.data_dir.with_extension("log"),
    );
    spec.user = Some(owner()?);
    Process::start(net, &server.host, &spec)
}

/// Name of the slot that keeps WAL for `server`.
pub fn slot(server: &Server) -> String {
    server.host.replace('-', "_")
}

fn write_settings(server: &Server) -> io::Result<()> {
    let own = format!(
        "{SETTINGS}port = {}\nunix_socket_directories = '{}'\n",
        server.port,
        server.socket_dir.display()
    );
    let main = server.data_dir.join("postgresql.conf");
    std::fs::write(main, own)?;
    std::fs::write(server.data_dir.join("pg_hba.conf"), ACCESS)
}
