//! What the cluster file says of the traffic kinds. Knows words; never a record.

use crate::drivers::Kind;
use cluster_config::{Fence, Setting, may, must};

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

const RFC2136_SETTINGS: &[Setting] = &[
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
        file_only: true,
    },
    RECORD_TYPE,
    TTL,
    TOKEN_NAME,
    VALUE,
];

const ROUTE53_SETTINGS: &[Setting] = &[
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

const fn traffic(name: &'static str, settings: &'static [Setting]) -> cluster_config::Kind {
    cluster_config::Kind {
        name,
        layer: "traffic",
        control: "api",
        evidence: &[],
        fence: Fence::BestEffort,
        waits: false,
        address: false,
        settings,
    }
}

/// DNS UPDATE, against the zone's authority.
pub const RFC2136: Kind = Kind {
    config: traffic("rfc2136", RFC2136_SETTINGS),
    open: super::open_rfc2136,
    rehearse: None,
};

/// Amazon Route 53.
pub const ROUTE53: Kind = Kind {
    config: traffic("route53", ROUTE53_SETTINGS),
    open: super::open_route53,
    rehearse: None,
};
