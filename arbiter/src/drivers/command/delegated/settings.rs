//! Settings of an instance of kind `delegated`. Knows strings and paths; never a manager.

use crate::drivers::DriverError;
use crate::drivers::command::script;
use arbiter_core::{Instance, InstanceId};
use cluster_config::{Setting, may, must};
use std::path::PathBuf;

/// Every setting; `start` belongs to the agent.
pub const SETTINGS: &[Setting] = &[
    script::COMMAND,
    must(
        "manager",
        "/usr/bin/patroni /etc/patroni/config.yml",
        "The manager, as the agent starts it: executable and arguments, with spaces between. It \
         stays in the foreground.",
    ),
    must(
        "manager_config",
        "/etc/patroni/config.yml",
        "Its configuration. It names the start file and the active file, so that the manager starts \
         no server without the one and promotes none without the other: for Patroni as custom_conf \
         and in pre_promote.",
    ),
    must("data_dir", "/var/lib/postgresql/15/main", "Directory of the data that it manages."),
    may("server", "postgres", "Name of the processes that hold data_dir; by default postgres."),
    may("user", "postgres", "System user of manager and script, where the agent is root."),
    may("log_file", "/var/log/patroni.log", "Where a started manager logs; by default nowhere."),
    script::LIMIT_SETTING,
    script::ENVIRONMENT,
    may("start", "agent", "agent: the agent starts the manager while the group is unarmed."),
];

/// Settings of one instance, checked.
pub struct Settings {
    /// The manager and its arguments.
    pub manager: Vec<String>,
    /// Its configuration.
    pub manager_config: PathBuf,
    /// Directory of the data.
    pub data_dir: PathBuf,
    /// Name of the processes that hold it.
    pub server: String,
    /// Who runs the manager.
    pub user: Option<String>,
    /// Its log.
    pub log_file: Option<PathBuf>,
    /// Host of the server's address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Settings {
    /// Read the settings of `instance`.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn read(id: &InstanceId, instance: &Instance) -> Result<Self, DriverError> {
        let refuse = |what: String| DriverError::Refused(format!("instance {id}: {what}"));
        let text = |key: &str| {
            let text = instance.settings.get(key).map(|text| text.trim());
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let path = |key: &str| match text(key).map(PathBuf::from) {
            Some(path) if !path.is_absolute() => {
                Err(refuse(format!("the setting {key} must be an absolute path")))
            }
            other => Ok(other),
        };
        let missing = |key: &str| refuse(format!("the setting {key} is missing"));
        let manager = text("manager").ok_or_else(|| missing("manager"))?;
        if !manager.starts_with('/') {
            return Err(refuse("the setting manager must begin with an absolute path".into()));
        }
        let address = instance.address.as_str();
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        let port = port.parse().ok().filter(|port| *port != 0 && !host.is_empty());
        let port = port.ok_or_else(|| {
            refuse(format!("address {address:?} has no host and port: write it as host:port"))
        })?;
        Ok(Self {
            manager: manager.split_whitespace().map(str::to_owned).collect(),
            manager_config: path("manager_config")?.ok_or_else(|| missing("manager_config"))?,
            data_dir: path("data_dir")?.ok_or_else(|| missing("data_dir"))?,
            server: text("server").unwrap_or_else(|| "postgres".to_owned()),
            user: text("user"),
            log_file: path("log_file")?,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
        })
    }
}
