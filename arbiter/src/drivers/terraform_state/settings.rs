//! Settings of a Terraform state's instance. Knows names and backends; reads none.

use super::backend::Backend;
use crate::drivers::DriverError;
use crate::drivers::bucket::given::Given;
use crate::drivers::bucket::place::{self, AZURE_ONLY, Place, Provider, S3_ONLY};
use arbiter_core::{Instance, InstanceId};
use cluster_config::{Setting, may, must};
use std::time::Duration;

/// Every setting that is understood.
pub const SETTINGS: &[Setting] = &[
    must("backend", "s3", "Where this region's state stands: s3, azure, http or file."),
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
    may("key", "shop/terraform.tfstate", "S3, Azure: the state's key, workspace included."),
    may("url", "https://state.example.com/shop", "HTTP: where the state is got."),
    may("username", "arbiter", "HTTP: user of basic authentication."),
    may("password_file", "/etc/arbiter/state.password", "HTTP: file with that user's password."),
    may("path", "/srv/terraform/terraform.tfstate", "File: the state."),
    may(
        "peer.*",
        "s3",
        "Any of these for the other region's backend, such as peer.backend and peer.bucket: the two \
         are compared.",
    ),
    may("look_every", "1m", "How often the backends are read. Default: 1m."),
];

/// Settings that only the HTTP backend has.
const HTTP_ONLY: &[&str] = &["url", "username", "password_file"];
/// Settings that only a file has.
const FILE_ONLY: &[&str] = &["path"];
/// Settings that S3 and Azure share.
const OBJECT_ONLY: &[&str] = &["key", "endpoint_url"];
/// Settings of every backend, and those that have no part of a backend.
const COMMON: &[&str] = &["backend", "look_every"];
/// What the settings of the other region's backend begin with.
const PEER: &str = "peer.";
/// Bounds of `look_every`.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
/// Where `look_every` is not set.
const LOOK_DEFAULT: Duration = Duration::from_secs(60);

/// Settings of one instance, checked.
pub struct Settings {
    /// This region's backend.
    pub own: Backend,
    /// The other region's.
    pub peer: Option<Backend>,
    /// How often both are read.
    pub look_every: Duration,
    /// Settings that the backends have no use for.
    pub unused: Vec<String>,
}

impl Settings {
    /// Read the settings of `instance`.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn read(id: &InstanceId, instance: &Instance) -> Result<Self, DriverError> {
        let given = Given::new(id, instance);
        let below = given.below(PEER);
        let (own, mut unused) = backend(given)?;
        let mut peer = None;
        // One key alone is the example of all of them in the reference.
        if below.names().any(|name| known().any(|known| known == name)) {
            let (found, more) = backend(below)?;
            unused.extend(more.into_iter().map(|name| format!("{PEER}{name}")));
            peer = Some(found);
        }
        let strange = below.names().filter(|name| !known().any(|known| known == *name));
        unused.extend(strange.map(|name| format!("{PEER}{name}")));
        let look_every = given.duration("look_every", LOOK_DEFAULT, LOOK_EVERY)?;
        Ok(Self { own, peer, look_every, unused })
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    let all = [S3_ONLY, AZURE_ONLY, HTTP_ONLY, FILE_ONLY, OBJECT_ONLY, &COMMON[..1]];
    all.into_iter().flatten().copied()
}

/// A backend, and the settings that it has no use for.
fn backend(given: Given<'_>) -> Result<(Backend, Vec<String>), DriverError> {
    let object = |provider| {
        let place = Place::read(given, provider)?;
        let key = given.must("key", "shop/terraform.tfstate")?.trim_matches('/');
        Ok::<_, DriverError>(Backend::object(place, key))
    };
    let (backend, uses) = match given.must("backend", "s3")? {
        "s3" => (object(Provider::S3)?, [S3_ONLY, OBJECT_ONLY]),
        "azure" => (object(Provider::Azure)?, [AZURE_ONLY, OBJECT_ONLY]),
        "http" => (http(given)?, [HTTP_ONLY, &[]]),
        "file" => {
            given.must("path", "/srv/terraform/terraform.tfstate")?;
            (Backend::file(&given.path("path")?.unwrap_or_default()), [FILE_ONLY, &[]])
        }
        other => {
            return Err(given.refuse(format!("backend is {other:?}: give s3, azure, http or file")));
        }
    };
    let used = |name: &str| uses.iter().any(|names| names.contains(&name));
    let unused = given.names().filter(|name| !used(name) && known().any(|known| known == *name));
    let unused = unused.filter(|name| !COMMON.contains(name)).map(str::to_owned).collect();
    Ok((backend, unused))
}

fn http(given: Given<'_>) -> Result<Backend, DriverError> {
    given.must("url", "https://state.example.com/shop")?;
    let url = given.url("url")?.unwrap_or_default();
    let user = given.text("username").map(str::to_owned);
    let password = given.path("password_file")?;
    if user.is_some() != password.is_some() {
        return Err(given.refuse("give both username and password_file, or neither"));
    }
    Ok(Backend::http(&url, user.zip(password)))
}
