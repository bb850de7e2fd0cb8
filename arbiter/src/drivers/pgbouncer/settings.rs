//! Settings of a PgBouncer: its admin console, its file, and where each region's server is reached.
//! Knows strings and paths; never a pooler.

use crate::drivers::DriverError;
use crate::drivers::bucket::given::Given;
use arbiter_core::{Instance, InstanceId, RegionId};
use cluster_config::{Setting, host_port, may, must};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Every setting that is understood; `pools` belongs to the core.
pub const SETTINGS: &[Setting] = &[
    must(
        "databases_file",
        "/etc/pgbouncer/databases.ini",
        "File with the [databases] that it leads to; where it is not pgbouncer.ini itself, that \
         has an %include of it. Host and port in it are rewritten.",
    ),
    may(
        "databases",
        "app, orders",
        "Those of its entries that lead to the primary, with commas between; by default all.",
    ),
    may(
        "pools",
        "db",
        "The resource whose primary it leads to; where the group has one only, that one.",
    ),
    may(
        "server.*",
        "10.0.1.2:5432",
        "For a region, where its primary is reached from here; by default at its own address.",
    ),
    may("socket_dir", "/run/postgresql", "Its unix_socket_dir; by default its address is dialled."),
    may("admin_user", "arbiter", "One of its admin_users. Default: pgbouncer."),
    may(
        "admin_password_file",
        "/etc/arbiter/pgbouncer.password",
        "File with that user's password.",
    ),
];

/// What the settings of the regions' servers begin with.
const SERVER: &str = "server.";
/// Its own user, as whom its console is asked where nobody else is named.
const ADMIN: &str = "pgbouncer";

/// Where a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Place {
    /// `host:port`.
    pub fn read(text: &str) -> Option<Self> {
        host_port(text).map(|(host, port)| Self { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Settings of one instance, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file that is rewritten.
    pub databases_file: PathBuf,
    /// Its entries that are led; none: all of them.
    pub databases: Option<BTreeSet<String>>,
    /// Where each region's primary is reached, if not at its own address.
    pub servers: BTreeMap<RegionId, Place>,
    /// Where clients reach it, and its console unless that has a socket.
    pub address: Place,
    /// Directory of its Unix socket.
    pub socket_dir: Option<PathBuf>,
    /// Its console's user.
    pub admin_user: String,
    /// File with that user's password.
    pub admin_password_file: Option<String>,
}

impl Settings {
    /// Read the settings of `instance`.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn read(id: &InstanceId, instance: &Instance) -> Result<Self, DriverError> {
        let given = Given::new(id, instance);
        given.must("databases_file", "/etc/pgbouncer/databases.ini")?;
        let address = Place::read(&instance.address).ok_or_else(|| {
            given.refuse(format!("address {:?} is not host:port", instance.address))
        })?;
        let mut servers = BTreeMap::new();
        let below = given.below(SERVER);
        for region in below.names() {
            let text = below.text(region).unwrap_or_default();
            let place = Place::read(text).ok_or_else(|| {
                given.refuse(format!(
                    "{SERVER}{region} is {text:?}: write host:port, such as \"10.0.1.2:5432\""
                ))
            })?;
            servers.insert(region.into(), place);
        }
        let databases = given.text("databases").map(|text| {
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        });
        Ok(Self {
            databases_file: given.path("databases_file")?.unwrap_or_default().into(),
            databases,
            servers,
            address,
            socket_dir: given.path("socket_dir")?.map(PathBuf::from),
            admin_user: given.text("admin_user").unwrap_or(ADMIN).to_owned(),
            admin_password_file: given.path("admin_password_file")?,
        })
    }

    /// Whether its console lets in who has the system user of the pooler, whatever the file says.
    pub fn is_own_user(&self) -> bool {
        self.admin_user == ADMIN
    }
}
