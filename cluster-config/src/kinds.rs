//! The kinds of resource and the names of their settings. Knows names; never what a driver does.

use crate::schema::{EvidenceKind, Fence};

/// One setting of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key. One that ends with `*` stands for any key that begins so.
    pub key: &'static str,
    /// What it means, for `reference.toml`.
    pub doc: &'static str,
    /// An example, as text.
    pub example: &'static str,
    /// Each instance must have it, of its own or from the resource.
    pub required: bool,
}

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its word in configuration.
    pub name: &'static str,
    /// `data`, `workload` or `traffic`: layers are moved in this order.
    pub layer: &'static str,
    /// `owned`: agent and deadman hold its processes; `api`: neither does.
    pub control: &'static str,
    /// Every kind of evidence of its fence that its driver can ever give.
    pub evidence: &'static [EvidenceKind],
    /// Where the file does not say it.
    pub fence: Fence,
    /// Its instances have an address.
    pub address: bool,
    /// Its settings.
    pub settings: &'static [Setting],
}

const fn must(key: &'static str, example: &'static str, doc: &'static str) -> Setting {
    Setting { key, doc, example, required: true }
}

const fn may(key: &'static str, example: &'static str, doc: &'static str) -> Setting {
    Setting { key, doc, example, required: false }
}

/// Settings that every traffic kind has.
const ZONE: Setting = must("zone", "example.test.", "The zone.");
const NAME: Setting =
    must("name", "app.example.test.", "The name that clients follow; several with commas between.");
const RECORD_TYPE: Setting = may("record_type", "A", "A, AAAA, \"A, AAAA\", or CNAME alone.");
const TTL: Setting = may("ttl", "5", "Time to live of the records, in seconds.");
const TOKEN_NAME: Setting =
    may("token_name", "_arbiter.default.example.test.", "Where the token's TXT record stands.");
const VALUE: Setting =
    must("value.*", "10.0.1.2", "For each data region, what the name leads to there.");

const POSTGRES: &[Setting] = &[
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
        "verify.*",
        "SELECT count(*) > 0 FROM orders",
        "A check of yours, by any name, after a promotion: it must succeed, and return no row whose \
         first column is false. Failing, the step is tried again, then halts.",
    ),
    may("start", "agent", "agent: the agent starts it while the group is unarmed."),
];

const RFC2136: &[Setting] = &[
    ZONE,
    NAME,
    must("server", "10.0.3.1:53", "host:port of the zone's authority; several with commas."),
    must("tsig_key_file", "/etc/arbiter/tsig.key", "File with the TSIG key, as BIND writes it."),
    may("guard", "soa", "What refuses a replay: the zone's soa, or a txt record of our own."),
    Setting {
        key: "server_region",
        doc: "The region that the authority stands in; one for each server, with commas.",
        example: "witness",
        required: false,
    },
    RECORD_TYPE,
    TTL,
    TOKEN_NAME,
    VALUE,
];

const ROUTE53: &[Setting] = &[
    ZONE,
    NAME,
    must("hosted_zone_id", "Z0123456789ABCDEFGHIJ", "Id of the hosted zone."),
    may("endpoint_url", "http://127.0.0.1:5000", "URL of the API, where it is not AWS."),
    may("aws_region", "us-east-1", "Region that requests are signed for."),
    may("profile", "arbiter", "Profile of the credentials; by default as AWS's tools choose."),
    may("credentials_file", "/etc/arbiter/aws", "File with credentials, as AWS's tools write it."),
    must(
        "name_servers",
        "205.251.192.1:53",
        "The zone's name servers: arbiters ask what clients see.",
    ),
    RECORD_TYPE,
    TTL,
    TOKEN_NAME,
    VALUE,
];

/// Settings that only this crate's checks read; no driver knows them.
pub(crate) const CHECKED_HERE: &[&str] = &["server_region"];

/// Every kind that this build knows.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "postgres",
        layer: "data",
        control: "owned",
        evidence: &[EvidenceKind::Confirmed, EvidenceKind::LeaseExpired],
        fence: Fence::Required,
        address: true,
        settings: POSTGRES,
    },
    Kind {
        name: "rfc2136",
        layer: "traffic",
        control: "api",
        evidence: &[],
        fence: Fence::BestEffort,
        address: false,
        settings: RFC2136,
    },
    Kind {
        name: "route53",
        layer: "traffic",
        control: "api",
        evidence: &[],
        fence: Fence::BestEffort,
        address: false,
        settings: ROUTE53,
    },
];

impl Kind {
    /// The kind of this name.
    pub fn find(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// The setting that `key` is, wildcards included.
    pub fn setting(&self, key: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| match setting.key.strip_suffix('*') {
            Some(prefix) => key.len() > prefix.len() && key.starts_with(prefix),
            None => setting.key == key,
        })
    }
}
