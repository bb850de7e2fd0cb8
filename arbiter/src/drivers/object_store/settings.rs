//! Settings of an object store's instance. Knows names, numbers and ARNs; never a server.

use crate::drivers::DriverError;
use crate::drivers::bucket::given::Given;
use crate::drivers::bucket::place::{self, Place, Provider};
use arbiter_core::{Instance, InstanceId, RegionId};
use cluster_config::{Setting, may, must};
use std::collections::BTreeMap;
use std::time::Duration;

/// Every setting that is understood.
pub const SETTINGS: &[Setting] = &[
    must("provider", "s3", "s3, for S3 and what speaks its protocol, or azure, for Azure Blob."),
    place::BUCKET,
    place::REGION,
    place::PROFILE,
    place::CREDENTIALS_FILE,
    place::ENDPOINT_URL,
    place::ACCOUNT,
    place::CONTAINER,
    place::ACCESS_KEY_FILE,
    place::TENANT,
    place::CLIENT,
    place::CLIENT_SECRET_FILE,
    place::FEDERATED_TOKEN_FILE,
    place::AUTHORITY_HOST,
    may(
        "access_policies",
        "app, jobs",
        "Azure: stored access policies of the container whose right to write the fence takes away. \
         Without any the container cannot be fenced.",
    ),
    may(
        "admin_role",
        "arn:aws:iam::123456789012:role/storage-admin",
        "S3: a role that may write to a fenced bucket.",
    ),
    may("canary_prefix", ".arbiter/canary/", "Where the objects stand that lag is measured with."),
    may("canary_every", "10s", "How often one is written in the active region. Default: 10s."),
    may("lag_max", "5m", "Lag above this is a readiness fault. Default: 5m."),
    may(
        "replication",
        "provider",
        "provider: S3 or Azure replicates between the regions; none: nothing does. Default: \
         provider.",
    ),
    may(
        "replication_role",
        "arn:aws:iam::123456789012:role/replicate-orders",
        "S3: role that replicates from this bucket. With it and peer_bucket the direction is turned \
         when this region becomes active.",
    ),
    may("peer_bucket", "orders-us", "S3: the bucket of the other region, or its ARN."),
    may(
        "checksum.*",
        "invoices/2025",
        "A prefix of objects, by any name, or / for all: their number, sizes and keys are compared \
         with the other side's once they have rested on both for lag_max and twice checksum_every. \
         While they differ, no switchover opens.",
    ),
    may("checksum_every", "10m", "How often they are listed. Default: 10m."),
    may("checksum_objects", "10000", "Objects below a prefix that are compared: the first ones."),
];

/// Bounds of `canary_every`.
const CANARY_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// Where `canary_every` is not set.
const CANARY_EVERY_DEFAULT: Duration = Duration::from_secs(10);
/// Greatest `lag_max`.
const LAG_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Where `lag_max` is not set.
const LAG_DEFAULT: Duration = Duration::from_secs(300);
/// Bounds of `checksum_every`.
const CHECKSUM_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));
/// Where `checksum_every` is not set.
const CHECKSUM_EVERY_DEFAULT: Duration = Duration::from_secs(600);
/// Objects that are compared below a prefix, where that is not set, and at most.
const CHECKSUM_OBJECTS: (usize, usize) = (10_000, 100_000);
/// What the settings of comparisons begin with.
const CHECKSUM: &str = "checksum.";
/// Where `canary_prefix` is not set.
const PREFIX_DEFAULT: &str = ".arbiter/canary";
/// What a fence can take a right from at most: a container has five stored access policies.
const POLICIES_MAX: usize = 5;

/// Settings of one instance, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its bucket or container.
    pub place: Place,
    /// The region that it stands in.
    pub region: RegionId,
    /// Azure: stored access policies that the fence narrows.
    pub access_policies: Vec<String>,
    /// S3: a role that the fence leaves alone.
    pub admin_role: Option<String>,
    /// Prefix of canary objects, without a slash at the end.
    pub canary_prefix: String,
    /// How often a canary is written, and the place is looked at.
    pub canary_every: Duration,
    /// Lag above this is a fault.
    pub lag_max: Duration,
    /// Whether anything replicates.
    pub replicated: bool,
    /// S3: how the direction is turned; none: by the user.
    pub direction: Option<Direction>,
    /// Prefixes whose objects are compared, by name; an empty one is the whole place.
    pub checksums: BTreeMap<String, String>,
    /// How often they are listed.
    pub checksum_every: Duration,
    /// Objects that are compared below each.
    pub checksum_objects: usize,
    /// Settings that its provider has no use for.
    pub unused: Vec<String>,
}

/// Replication out of this bucket, as this driver asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direction {
    /// ARN of the role that replicates.
    pub role: String,
    /// ARN of the bucket that it replicates to.
    pub to: String,
}

impl Settings {
    /// Read the settings of `instance`.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn read(id: &InstanceId, instance: &Instance) -> Result<Self, DriverError> {
        let given = Given::new(id, instance);
        let provider = match given.must("provider", "s3")? {
            "s3" => Provider::S3,
            "azure" => Provider::Azure,
            other => {
                return Err(given.refuse(format!("provider is {other:?}: give s3 or azure")));
            }
        };
        let place = Place::read(given, provider)?;
        let canary_every = given.duration("canary_every", CANARY_EVERY_DEFAULT, CANARY_EVERY)?;
        let default = LAG_DEFAULT.max(canary_every * 3);
        let lag_max = given.duration("lag_max", default, (canary_every * 2, LAG_MAX))?;
        let replicated = match given.text("replication") {
            None | Some("provider") => true,
            Some("none") => false,
            Some(other) => {
                return Err(
                    given.refuse(format!("replication is {other:?}: give provider or none"))
                );
            }
        };
        Ok(Self {
            region: instance.region.clone(),
            access_policies: policies(given)?,
            admin_role: given
                .text("admin_role")
                .map(|arn| role(given, "admin_role", arn))
                .transpose()?,
            canary_prefix: prefix(given)?,
            canary_every,
            lag_max,
            replicated,
            direction: direction(given, &place)?.filter(|_| provider == Provider::S3),
            checksums: checksums(given, &instance.settings)?,
            checksum_every: given.duration(
                "checksum_every",
                CHECKSUM_EVERY_DEFAULT,
                CHECKSUM_EVERY,
            )?,
            checksum_objects: objects(given)?,
            unused: provider.unused(given),
            place,
        })
    }

    /// Key of the canary that `region` writes.
    pub fn canary_key(&self, region: &RegionId) -> String {
        format!("{}/{region}", self.canary_prefix)
    }
}

fn checksums(
    given: Given<'_>,
    settings: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, DriverError> {
    let named = settings.iter().filter_map(|(key, text)| Some((key.strip_prefix(CHECKSUM)?, text)));
    let parsed = named.map(|(name, text)| {
        let prefix = text.trim_matches('/');
        match object_store::path::Path::parse(prefix) {
            Ok(_) => Ok((name.to_owned(), prefix.to_owned())),
            Err(_) => Err(given.refuse(format!(
                "checksum.{name} is {text:?}: give a prefix of whole parts with slashes between"
            ))),
        }
    });
    parsed.collect()
}

fn objects(given: Given<'_>) -> Result<usize, DriverError> {
    let (default, max) = CHECKSUM_OBJECTS;
    let count = given.text("checksum_objects").map_or(Ok(default), str::parse);
    count
        .ok()
        .filter(|count| (1..=max).contains(count))
        .ok_or_else(|| given.refuse(format!("checksum_objects must be a number from 1 to {max}")))
}

fn prefix(given: Given<'_>) -> Result<String, DriverError> {
    let text = given.text("canary_prefix").unwrap_or(PREFIX_DEFAULT).trim_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    let parts = text.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if parts && text.len() <= 200 && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(given.refuse(format!(
        "canary_prefix is {text:?}: give parts of letters, digits, dots, hyphens and underscores, \
         with slashes between"
    )))
}

fn policies(given: Given<'_>) -> Result<Vec<String>, DriverError> {
    let text = given.text("access_policies").unwrap_or_default();
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let fits = |name: &String| name.len() <= 64 && name.bytes().all(plain);
    if names.len() <= POLICIES_MAX && names.iter().all(fits) {
        return Ok(names);
    }
    Err(given.refuse(format!(
        "access_policies: give at most {POLICIES_MAX} names of up to 64 letters, digits, dots, \
         hyphens and underscores"
    )))
}

/// An ARN goes into policies and XML as it is.
fn role(given: Given<'_>, key: &str, arn: &str) -> Result<String, DriverError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/_+=,.@-".contains(&byte);
    if arn.starts_with("arn:") && arn.contains(":iam::") && arn.bytes().all(plain) {
        return Ok(arn.to_owned());
    }
    Err(given.refuse(format!("{key} is {arn:?}: give the ARN of an IAM role")))
}

fn direction(given: Given<'_>, place: &Place) -> Result<Option<Direction>, DriverError> {
    let (Some(arn), Some(peer)) = (given.text("replication_role"), given.text("peer_bucket"))
    else {
        if given.text("replication_role").is_some() || given.text("peer_bucket").is_some() {
            return Err(given.refuse("give both replication_role and peer_bucket, or neither"));
        }
        return Ok(None);
    };
    let own = place.arn();
    let bucket = peer.rsplit(':').next().unwrap_or_default();
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
    };
    let head = own.rsplit_once(':').map_or("arn:aws:s3::", |(head, _)| head);
    let to = format!("{head}:{bucket}");
    if bucket.is_empty() || !bucket.bytes().all(plain) || to == own {
        return Err(given.refuse(format!(
            "peer_bucket is {peer:?}: give the name or ARN of the other region's bucket"
        )));
    }
    Ok(Some(Direction { role: role(given, "replication_role", arn)?, to }))
}
