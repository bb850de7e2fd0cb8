//! Settings of a PostgreSQL instance: names, defaults, and where PostgreSQL's programs are.
//!
//! Knows strings and paths. Never knows a server.

use super::super::DriverError;
use super::rejoin::Rejoin;
use arbiter_core::{Instance, InstanceId};
use cluster_config::{Setting, may, must};
use nix::unistd::{Uid, User};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every setting that is understood; `start` belongs to the agent.
pub const SETTINGS: &[Setting] = &[
    must("data_dir", "/var/lib/postgresql/15/main", "Data directory."),
    may(
        "bin_dir",
        "/usr/lib/postgresql/15/bin",
        "Directory of postgres, pg_controldata, pg_waldump and psql; found if not given.",
    ),
    may("config_file", "/etc/postgresql/15/main/postgresql.conf", "By default in data_dir."),
    may("user", "postgres", "System user that runs the server, where the agent is root."),
    may("port", "5432", "By default the port of the address."),
    may("listen", "10.0.1.2", "listen_addresses given at start; by default as configured."),
    may("socket_dir", "/run/postgresql", "Directory of the Unix socket; default as configured."),
    may("log_file", "/var/log/postgresql/15.log", "Where a started server logs."),
    may("admin_user", "postgres", "Superuser of the database."),
    may("admin_password_file", "/etc/arbiter/admin.password", "File with that user's password."),
    may("dbname", "postgres", "Database that holds the schema arbiter."),
    may("replication_user", "replicator", "User that a standby connects as."),
    may("password_file", "/etc/arbiter/replication.password", "File with its password."),
    may("passfile", "/etc/arbiter/pgpass", "libpq passfile, instead of password_file."),
    may("replication_options", "sslmode=verify-full", "More of primary_conninfo."),
    may("application_name", "db_us", "Name under which a standby replicates."),
    may("slot", "db_us", "Physical slot that a standby uses at its upstream."),
    may("peer_slots", "db_eu", "Slots to make when promoted, with commas between."),
    may("synchronous_standby_names", "db_eu", "Value set when promoted; by default empty."),
    may(
        "rejoin",
        "rebuild",
        "What is done with changes that its new primary has not, once they are kept: rebuild \
         (rewind, else a new copy beside the old), rewind, or refuse. By default rebuild.",
    ),
    may("rewind_user", "rewinder", "User that pg_rewind reads the new primary as."),
    may("rewind_password_file", "/etc/arbiter/rewind.password", "File with its password."),
    may("keep_dir", "/var/lib/arbiter/kept", "Where such changes are kept; by default beside it."),
    may("rebuild_rate", "100M", "Most that a new copy reads a second, as pg_basebackup has it."),
    may(
        "verify.*",
        "SELECT count(*) > 0 FROM orders",
        "A check of yours, by any name, after a promotion: it must succeed, and return no row whose \
         first column is false. Failing, the step is tried again, then halts.",
    ),
    may(
        "checksum.*",
        "SELECT date_trunc('hour', now()), md5(string_agg(o::text, '' ORDER BY id)) FROM orders o \
         WHERE changed < date_trunc('hour', now())",
        "Up to when, and a checksum of rows that change no more, by any name: asked of both sides \
         now and then. While those of one time differ, no switchover opens.",
    ),
    may("start", "agent", "agent: the agent starts it while the group is unarmed."),
];

/// Oldest PostgreSQL that can be told whom to follow without a restart.
const VERSION_MIN: u32 = 13;

/// Where distributions put the programs of each version.
const BIN_PARENTS: &[(&str, &str, &str)] =
    &[("/usr/lib/postgresql", "", "bin"), ("/usr", "pgsql-", "bin"), ("/usr/lib64", "pgsql-", "")];

/// Settings of one instance, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The instance, named in every error.
    pub id: InstanceId,
    /// Data directory.
    pub data_dir: PathBuf,
    /// Directory of the programs.
    pub bin_dir: PathBuf,
    /// postgresql.conf, where it is not in the data directory.
    pub config_file: Option<PathBuf>,
    /// System user that runs the server; none: whoever runs the agent.
    pub user: Option<String>,
    /// Host of the address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `listen_addresses`, if not as configured.
    pub listen: Option<String>,
    /// Directory of the Unix socket, if not as configured.
    pub socket_dir: Option<PathBuf>,
    /// Log of a started server.
    pub log_file: PathBuf,
    /// Superuser.
    pub admin_user: String,
    /// File with its password.
    pub admin_password_file: Option<PathBuf>,
    /// Database of the schema `arbiter`.
    pub dbname: String,
    /// User of replication.
    pub replication_user: String,
    /// File with its password.
    pub password_file: Option<PathBuf>,
    /// Its libpq passfile.
    pub passfile: Option<PathBuf>,
    /// More of `primary_conninfo`.
    pub replication_options: String,
    /// Name under which it replicates.
    pub application_name: String,
    /// Its slot at its upstream.
    pub slot: Option<String>,
    /// Slots of its peers.
    pub peer_slots: Vec<String>,
    /// `synchronous_standby_names` once promoted.
    pub synchronous_standby_names: String,
    /// What may be done with diverged data.
    pub rejoin: Rejoin,
    /// User that pg_rewind reads the upstream as.
    pub rewind_user: String,
    /// File with its password.
    pub rewind_password_file: Option<PathBuf>,
    /// Where diverged changes are kept, if not beside the data directory.
    pub keep_dir: Option<PathBuf>,
    /// Most that a new copy reads a second.
    pub rebuild_rate: Option<String>,
    /// The user's checks of a new primary, by name.
    pub verify: BTreeMap<String, String>,
    /// Checksums of rows, by name.
    pub checksums: BTreeMap<String, String>,
}

/// What the settings of the user's checks begin with.
const VERIFY: &str = "verify.";
/// What the settings of checksums begin with.
const CHECKSUM: &str = "checksum.";

impl Settings {
    /// Read the settings of `instance`.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn read(id: &InstanceId, instance: &Instance) -> Result<Self, DriverError> {
        let given = Given { id, settings: &instance.settings };
        let data_dir = given.path("data_dir")?.ok_or_else(|| {
            given.refuse("the setting data_dir is missing: name the data directory")
        })?;
        given.version(&data_dir)?;
        let (host, port) = given.address(&instance.address)?;
        let admin_user = given.or("admin_user", "postgres");
        let replication_user = given.or("replication_user", &admin_user);
        let mut log_file = data_dir.clone().into_os_string();
        log_file.push(".log");
        Ok(Self {
            id: id.clone(),
            bin_dir: given.bin_dir(&data_dir)?,
            config_file: given.path("config_file")?,
            user: given.user()?,
            host,
            port,
            listen: given.text("listen"),
            socket_dir: given.path("socket_dir")?,
            log_file: given.path("log_file")?.unwrap_or_else(|| log_file.into()),
            admin_user,
            admin_password_file: given.path("admin_password_file")?,
            dbname: given.or("dbname", "postgres"),
            password_file: given.path("password_file")?,
            passfile: given.path("passfile")?,
            replication_options: given.or("replication_options", ""),
            application_name: given.or("application_name", id.as_str()),
            slot: given.slots("slot")?.pop(),
            peer_slots: given.slots("peer_slots")?,
            synchronous_standby_names: given.or("synchronous_standby_names", ""),
            rejoin: given.rejoin()?,
            rewind_user: given.or("rewind_user", &replication_user),
            rewind_password_file: given.path("rewind_password_file")?,
            keep_dir: given.path("keep_dir")?,
            rebuild_rate: given.text("rebuild_rate"),
            replication_user,
            verify: given.named(VERIFY),
            checksums: given.named(CHECKSUM),
            data_dir,
        })
    }

    /// Path of program `name`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// The configuration file that the server reads first.
    pub fn config_path(&self) -> PathBuf {
        self.config_file.clone().unwrap_or_else(|| self.data_dir.join("postgresql.conf"))
    }
}

/// Settings as given, and whose.
struct Given<'a> {
    id: &'a InstanceId,
    settings: &'a BTreeMap<String, String>,
}

impl Given<'_> {
    fn refuse(&self, what: &str) -> DriverError {
        DriverError::Refused(format!("instance {}: {what}", self.id))
    }

    fn rejoin(&self) -> Result<Rejoin, DriverError> {
        let word = self.or("rejoin", "rebuild");
        Rejoin::parse(&word).ok_or_else(|| {
            self.refuse(&format!("rejoin is {word:?}: write rebuild, rewind or refuse"))
        })
    }

    fn named(&self, prefix: &str) -> BTreeMap<String, String> {
        let named = self.settings.iter();
        let named = named.filter_map(|(key, sql)| Some((key.strip_prefix(prefix)?, sql)));
        named.map(|(name, sql)| (name.to_owned(), sql.clone())).collect()
    }

    fn text(&self, key: &str) -> Option<String> {
        self.settings.get(key).filter(|text| !text.is_empty()).cloned()
    }

    fn or(&self, key: &str, default: &str) -> String {
        self.text(key).unwrap_or_else(|| default.to_owned())
    }

    fn path(&self, key: &str) -> Result<Option<PathBuf>, DriverError> {
        match self.text(key).map(PathBuf::from) {
            Some(path) if !path.is_absolute() => {
                Err(self.refuse(&format!("the setting {key} must be an absolute path")))
            }
            other => Ok(other),
        }
    }

    fn address(&self, address: &str) -> Result<(String, u16), DriverError> {
        let (host, in_address) = address.rsplit_once(':').unwrap_or((address, ""));
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let text = self.or("port", in_address);
        match text.parse() {
            Ok(port) if port != 0 && !host.is_empty() => Ok((host, port)),
            _ => Err(self.refuse(&format!(
                "address {address:?} has no host and port: write it as host:port"
            ))),
        }
    }

    /// Data of too old a version is refused; where there is none yet nothing is known.
    fn version(&self, data_dir: &Path) -> Result<(), DriverError> {
        let text = std::fs::read_to_string(data_dir.join("PG_VERSION")).unwrap_or_default();
        let text = text.trim();
        match text.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
            Some(major) if major < VERSION_MIN => Err(self.refuse(&format!(
                "its data is PostgreSQL {text}'s, and {VERSION_MIN} or newer is needed: upgrade it"
            ))),
            _ => Ok(()),
        }
    }

    fn user(&self) -> Result<Option<String>, DriverError> {
        let root = Uid::effective().is_root();
        let name = match (self.text("user"), root) {
            (Some(name), _) => name,
            (None, true) => "postgres".to_owned(),
            (None, false) => return Ok(None),
        };
        match User::from_name(&name) {
            Ok(Some(user)) if user.uid.is_root() => {
                Err(self.refuse("the setting user is root, and PostgreSQL refuses to run as root"))
            }
            Ok(Some(user)) if root || user.uid == Uid::effective() => Ok(Some(name)),
            Ok(Some(_)) => Err(self.refuse(&format!(
                "the server belongs to system user {name:?}: run the agent as root or as that user"
            ))),
            _ => Err(self.refuse(&format!(
                "there is no system user {name:?}: set user to the one that runs PostgreSQL"
            ))),
        }
    }

    fn slots(&self, key: &str) -> Result<Vec<String>, DriverError> {
        let names: Vec<String> = self
            .or(key, "")
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        let fits = |name: &String| {
            let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            name.len() < 64 && name.chars().all(word)
        };
        match names.iter().find(|name| !fits(name)) {
            None => Ok(names),
            Some(name) => Err(self.refuse(&format!(
                "{key} names slot {name:?}: use lower-case letters, digits and underscores"
            ))),
        }
    }

    /// Where the programs are: as set, else those of the data's version, else the newest.
    fn bin_dir(&self, data_dir: &Path) -> Result<PathBuf, DriverError> {
        let is = |dir: &PathBuf| dir.join("postgres").is_file();
        if let Some(dir) = self.path("bin_dir")? {
            return if is(&dir) {
                Ok(dir)
            } else {
                Err(self.refuse(&format!("bin_dir {} has no program postgres", dir.display())))
            };
        }
        let version = std::fs::read_to_string(data_dir.join("PG_VERSION")).ok();
        let mut found: Vec<(u32, PathBuf)> =
            BIN_PARENTS.iter().flat_map(installed).filter(|(_, dir)| is(dir)).collect();
        found.sort();
        let wanted = version.and_then(|text| text.trim().parse::<u32>().ok());
        let exact = found.iter().find(|(number, _)| Some(*number) == wanted).cloned();
        let chosen = exact.or_else(|| found.pop()).map(|(_, dir)| dir);
        let in_path = || {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).find(is)
        };
        chosen.or_else(in_path).ok_or_else(|| {
            self.refuse("no PostgreSQL programs found: install postgresql, or set bin_dir")
        })
    }
}

/// Versions installed below one of [`BIN_PARENTS`].
fn installed((parent, prefix, below): &(&str, &str, &str)) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join(below)))
        })
        .collect()
}
