//! Settings of a Redis instance: names, defaults, and where the server's program is.
//!
//! Knows strings and paths. Never knows a server.

use super::super::DriverError;
use arbiter_core::{Fencing, Instance, InstanceId};
use cluster_config::{Setting, may, must};
use nix::unistd::{Uid, User};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Every setting that is understood; `start` belongs to the agent.
pub const SETTINGS: &[Setting] = &[
    must("data_dir", "/var/lib/redis", "Directory of the data (Redis's dir)."),
    may("bin", "/usr/bin/redis-server", "The server's program; found if not given."),
    may("config_file", "/etc/redis/redis.conf", "By default redis.conf in data_dir."),
    may("user", "redis", "System user that runs the server, where the agent is root."),
    may("port", "6379", "By default the port of the address."),
    may("listen", "10.0.1.3 127.0.0.1", "bind given at start; by default as configured."),
    may("unix_socket", "/run/redis/redis.sock", "Ask the server here, not at its address."),
    may("log_file", "/var/log/redis/eu.log", "Where a started server logs; data_dir plus .log."),
    may("acl_user", "arbiter", "ACL user that the agent logs in as; by default `default`."),
    may("password_file", "/etc/arbiter/redis.password", "File with its password."),
    may("replication_user", "replica", "ACL user that a replica logs in as; else acl_user."),
    may(
        "replication_password_file",
        "/etc/arbiter/redis-replica.password",
        "File with its password; else password_file.",
    ),
    may(
        "role",
        "data",
        "data: never started empty or older over its replicas, its own writes are kept before it \
         follows another. cache: none of this, and it must be written with fence = \"best-effort\".",
    ),
    may(
        "min_replicas_to_write",
        "0",
        "min-replicas-to-write set when it becomes active: with 1 a new primary takes no write \
         until a replica follows it.",
    ),
    may(
        "quarantine_dir",
        "/var/lib/redis.quarantine",
        "Where data is kept that a resynchronisation would discard; data_dir plus .quarantine.",
    ),
    may(
        "verify.*",
        "EXISTS catalogue",
        "A command of yours, by any name, after a promotion: its answer must be neither nil, 0, \
         empty nor an error. Failing, the step is tried again, then halts.",
    ),
    may(
        "checksum.*",
        "session:*",
        "A pattern of keys, by any name: now and then a replica compares those that match with its \
         primary's, in every database. While some differ, no switchover opens.",
    ),
    may(
        "checksum_keys",
        "1000",
        "Keys that are compared at a time, of each name; the next time goes on after them.",
    ),
    may("start", "agent", "agent: the agent starts it while the group is unarmed."),
];

/// What the settings of the user's checks begin with.
const VERIFY: &str = "verify.";
/// What the settings of comparisons begin with.
const CHECKSUM: &str = "checksum.";
/// Keys that are compared at a time, where that is not set, and at most.
const CHECKSUM_KEYS: (usize, usize) = (1000, 10_000);
/// Where the program is looked for beside the path.
const BIN_DIRS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/usr/sbin"];
/// The program's names.
const BIN_NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// What the data is to its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It must not be lost.
    Data,
    /// It can be made anew.
    Cache,
}

/// A login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// ACL user; none: `default`.
    pub user: Option<String>,
    /// File with the password; none: no login.
    pub password_file: Option<PathBuf>,
}

/// Settings of one instance, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The instance, named in every error.
    pub id: InstanceId,
    /// Directory of the data.
    pub data_dir: PathBuf,
    /// The server's program.
    pub bin: PathBuf,
    /// `redis.conf` as set; none: the one in the data directory, which need not be there.
    pub config_file: Option<PathBuf>,
    /// System user that runs the server; none: whoever runs the agent.
    pub user: Option<String>,
    /// Host of the address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `bind`, if not as configured.
    pub listen: Vec<String>,
    /// Unix socket to ask the server at.
    pub unix_socket: Option<PathBuf>,
    /// Log of a started server.
    pub log_file: PathBuf,
    /// How the agent logs in, here and at an upstream.
    pub login: Login,
    /// How a replica logs in at its upstream.
    pub replication: Login,
    /// What the data is to its users.
    pub role: Use,
    /// `min-replicas-to-write` once active.
    pub min_replicas: u32,
    /// Where discarded data is kept.
    pub quarantine_dir: PathBuf,
    /// The user's checks of a new primary, by name: words of a command.
    pub verify: BTreeMap<String, Vec<String>>,
    /// Patterns of keys that are compared, by name.
    pub checksums: BTreeMap<String, String>,
    /// Keys that are compared at a time.
    pub checksum_keys: usize,
}

impl Settings {
    /// Read the settings of `instance`.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn read(id: &InstanceId, instance: &Instance) -> Result<Self, DriverError> {
        let given = Given { id, settings: &instance.settings };
        let data_dir = given.path("data_dir")?.ok_or_else(|| {
            given.refuse("the setting data_dir is missing: name the directory of the data")
        })?;
        let (host, port) = given.address(&instance.address)?;
        let login = given.login("acl_user", "password_file")?;
        let replication = given.login("replication_user", "replication_password_file")?;
        let own = replication.user.is_some() || replication.password_file.is_some();
        Ok(Self {
            id: id.clone(),
            bin: given.bin()?,
            config_file: given.path("config_file")?,
            user: given.user()?,
            host,
            port,
            listen: given.or("listen", "").split_whitespace().map(str::to_owned).collect(),
            unix_socket: given.path("unix_socket")?,
            log_file: given.path("log_file")?.unwrap_or_else(|| beside(&data_dir, ".log")),
            replication: if own { replication } else { login.clone() },
            login,
            role: given.role(instance.fencing)?,
            min_replicas: given.count("min_replicas_to_write")?,
            quarantine_dir: given
                .path("quarantine_dir")?
                .unwrap_or_else(|| beside(&data_dir, ".quarantine")),
            verify: given.checks(),
            checksums: given.named(CHECKSUM),
            checksum_keys: given.keys_at_a_time()?,
            data_dir,
        })
    }

    /// The configuration file that the server reads.
    pub fn config_path(&self) -> PathBuf {
        self.config_file.clone().unwrap_or_else(|| self.data_dir.join("redis.conf"))
    }
}

/// `path` with `suffix` at its end.
fn beside(path: &std::path::Path, suffix: &str) -> PathBuf {
    let mut name = path.to_path_buf().into_os_string();
    name.push(suffix);
    name.into()
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

    fn named(&self, prefix: &str) -> BTreeMap<String, String> {
        let named = self.settings.iter();
        let named = named.filter_map(|(key, text)| Some((key.strip_prefix(prefix)?, text)));
        named.map(|(name, text)| (name.to_owned(), text.clone())).collect()
    }

    fn checks(&self) -> BTreeMap<String, Vec<String>> {
        let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
        self.named(VERIFY).into_iter().map(|(name, text)| (name, words(text))).collect()
    }

    fn keys_at_a_time(&self) -> Result<usize, DriverError> {
        let (default, max) = CHECKSUM_KEYS;
        let keys = self.text("checksum_keys").map_or(Ok(default), |text| text.parse());
        keys.ok().filter(|keys| (1..=max).contains(keys)).ok_or_else(|| {
            self.refuse(&format!("the setting checksum_keys must be a number from 1 to {max}"))
        })
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

    fn count(&self, key: &str) -> Result<u32, DriverError> {
        let text = self.or(key, "0");
        text.parse().map_err(|_| self.refuse(&format!("the setting {key} must be a whole number")))
    }

    fn login(&self, user: &str, file: &str) -> Result<Login, DriverError> {
        let login = Login { user: self.text(user), password_file: self.path(file)? };
        if login.user.is_some() && login.password_file.is_none() {
            return Err(self.refuse(&format!(
                "the setting {user} is of no use without {file}: name the file with its password"
            )));
        }
        Ok(login)
    }

    fn role(&self, fencing: Fencing) -> Result<Use, DriverError> {
        match self.or("role", "data").as_str() {
            "data" => Ok(Use::Data),
            "cache" if fencing == Fencing::BestEffort => Ok(Use::Cache),
            "cache" => Err(self.refuse(
                "its role is cache, and no plan should wait for a cache: write fence = \
                 \"best-effort\" at the resource, or role = \"data\" if its data must not be lost",
            )),
            other => Err(self.refuse(&format!("role {other:?} is unknown: data or cache"))),
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

    fn user(&self) -> Result<Option<String>, DriverError> {
        let root = Uid::effective().is_root();
        let name = match (self.text("user"), root) {
            (Some(name), _) => name,
            (None, true) => "redis".to_owned(),
            (None, false) => return Ok(None),
        };
        match User::from_name(&name) {
            Ok(Some(user)) if root || user.uid == Uid::effective() => Ok(Some(name)),
            Ok(Some(_)) => Err(self.refuse(&format!(
                "the server belongs to system user {name:?}: run the agent as root or as that user"
            ))),
            _ => Err(self.refuse(&format!(
                "there is no system user {name:?}: set user to the one that runs Redis"
            ))),
        }
    }

    fn bin(&self) -> Result<PathBuf, DriverError> {
        if let Some(bin) = self.path("bin")? {
            let missing = format!("bin {} is no file: name the redis-server", bin.display());
            return if bin.is_file() { Ok(bin) } else { Err(self.refuse(&missing)) };
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = BIN_DIRS.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
        let mut places = dirs.flat_map(|dir| BIN_NAMES.map(|name| dir.join(name)));
        places.find(|place| place.is_file()).ok_or_else(|| {
            self.refuse("no redis-server found: install redis-server, or set bin to its path")
        })
    }
}
