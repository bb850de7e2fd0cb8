//! The kinds of resource and the names of their settings. Knows names; never what a driver does.

use crate::schema::Fence;

/// One setting of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key. `value.*` stands for any key that begins so.
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

/// Every kind that this build knows.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "postgres",
        layer: "data",
        control: "owned",
        fence: Fence::Required,
        address: true,
        settings: &[
            must("data_dir", "/var/lib/postgresql/15/main", "Data directory."),
            may("bin_dir", "/usr/lib/postgresql/15/bin", "Directory of postgres and pg_ctl."),
        ],
    },
    Kind {
        name: "rfc2136",
        layer: "traffic",
        control: "api",
        fence: Fence::BestEffort,
        address: false,
        settings: &[
            must("zone", "example.test.", "The zone."),
            must("name", "app.example.test.", "The name that clients follow, within the zone."),
            must("server", "10.0.3.1:53", "host:port of the zone's authority."),
            may("tsig_key_file", "/etc/arbiter/tsig.key", "File with the TSIG key."),
            may("record_type", "A", "A, AAAA or CNAME."),
            may("ttl", "5", "Time to live of the records, in seconds."),
            may("server_region", "witness", "The region that the authority stands in."),
            must("value.*", "10.0.1.2", "For each data region, what the name leads to."),
        ],
    },
    Kind {
        name: "route53",
        layer: "traffic",
        control: "api",
        fence: Fence::BestEffort,
        address: false,
        settings: &[
            must("zone", "example.test.", "The zone."),
            must("zone_id", "Z0123456789ABCDEFGHIJ", "Id of the hosted zone."),
            must("name", "app.example.test.", "The name that clients follow, within the zone."),
            may("record_type", "A", "A, AAAA or CNAME."),
            may("ttl", "5", "Time to live of the records, in seconds."),
            may("endpoint", "http://127.0.0.1:5000", "URL of the API, where it is not AWS."),
            may("aws_region", "us-east-1", "Region that requests are signed for."),
            must("value.*", "10.0.1.2", "For each data region, what the name leads to."),
        ],
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
