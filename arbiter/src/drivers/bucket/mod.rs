//! One bucket of S3 or one container of Azure Blob: how it is reached, and single requests to it.
//!
//! # Layout
//! - `place.rs`: where it is, from settings; `given.rs`: settings as given.
//! - `credentials.rs`: who asks. `request.rs`: requests that `object_store` has no word for.
//! - `bounded.rs`: its client. `fault.rs`: what went wrong, in words that hold no secret.
//! - `looks.rs`: looks that nobody waits for.
//!
//! Knows one place, and a limit for each request. Never knows what an object means, goals, tokens,
//! or when to try again.

mod bounded;
mod credentials;
pub mod fault;
pub mod given;
pub mod looks;
pub mod place;
mod request;

pub use fault::Fault;
pub use place::{Place, Provider};
pub use request::{Answer, Ask};

pub use credentials::secret;

use bounded::Bounded;
use credentials::Signer;
use futures::StreamExt;
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Limit of one request, credentials and body included. A region that is gone holds nobody longer.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Limit of making a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// An object that was read.
pub struct Read {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its version mark; empty where the server gives none.
    pub tag: String,
}

/// What became of a conditional read.
pub enum Seen {
    /// There is no such object.
    Missing,
    /// It is as it was.
    Same,
    /// It is larger than it may be.
    Large,
    /// It was read.
    Read(Read),
}

/// A place, opened.
pub struct Bucket {
    place: Place,
    store: Arc<dyn ObjectStore>,
    signer: Signer,
    http: HttpClient,
}

impl Bucket {
    /// Open `place`: credentials are looked for, and nothing is asked of the place yet.
    ///
    /// # Errors
    /// A fault of the credentials, named by their setting.
    pub async fn open(place: &Place) -> Result<Self, Fault> {
        crate::tls::install();
        let options = options(place);
        let signer = limited(Signer::open(place)).await?;
        let (store, signer) = signer.store(place, &options, &no_retries())?;
        let http = Bounded::default().connect(&options);
        let http = http.map_err(|error| Fault::of_store(&error))?;
        Ok(Self { place: place.clone(), store, signer, http })
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Read an object of at most `bytes_max`; what has the version mark `known`
    /// is not read again.
    ///
    /// # Errors
    /// A fault.
    pub async fn read(
        &self,
        key: &str,
        bytes_max: u64,
        known: Option<&str>,
        limit: Duration,
    ) -> Result<Seen, Fault> {
        let options = GetOptions {
            if_none_match: known.filter(|tag| !tag.is_empty()).map(str::to_owned),
            // One byte more than it may have: so that what is larger shows.
            range: Some(GetRange::Bounded(0..bytes_max + 1)),
            ..GetOptions::default()
        };
        let got = async {
            let got = self.store.get_opts(&Path::parse(key)?, options).await?;
            let tag = got.meta.e_tag.clone().unwrap_or_default();
            let bytes = got.bytes().await?.into();
            Ok::<_, object_store::Error>(Read { bytes, tag })
        };
        match limited_to(limit, got).await {
            Ok(read) if read.bytes.len() as u64 > bytes_max => Ok(Seen::Large),
            Ok(read) => Ok(Seen::Read(read)),
            Err(fault) if fault.is_missing_object() => Ok(Seen::Missing),
            Err(fault) if fault.status == Some(304) => Ok(Seen::Same),
            Err(fault) => Err(fault),
        }
    }

    /// Write an object.
    ///
    /// # Errors
    /// A fault. After one without a status it is unknown whether it was written.
    pub async fn write(&self, key: &str, bytes: Vec<u8>) -> Result<(), Fault> {
        let key = Path::parse(key).map_err(object_store::Error::from)?;
        limited(async { self.store.put(&key, bytes.into()).await.map(drop) }).await
    }

    /// Objects below `prefix`, at most `count_max`, and whether those are all; within `limit`.
    ///
    /// # Errors
    /// A fault.
    pub async fn list(
        &self,
        prefix: Option<&str>,
        count_max: usize,
        limit: Duration,
    ) -> Result<(Vec<ObjectMeta>, bool), Fault> {
        let prefix = prefix.map(Path::parse).transpose().map_err(object_store::Error::from)?;
        let mut found = self.store.list(prefix.as_ref());
        let all = async {
            let mut objects = Vec::new();
            while let Some(object) = found.next().await {
                if objects.len() >= count_max {
                    return Ok::<_, object_store::Error>((objects, false));
                }
                objects.push(object?);
            }
            Ok((objects, true))
        };
        limited_to(limit, all).await
    }
}

fn options(place: &Place) -> ClientOptions {
    ClientOptions::new()
        .with_timeout(REQUEST_LIMIT)
        .with_connect_timeout(CONNECT_LIMIT)
        .with_allow_http(place.is_plain())
}

/// Retries belong to whoever asks.
fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, retry_timeout: REQUEST_LIMIT, ..RetryConfig::default() }
}

async fn limited<T, E: Into<Fault>>(work: impl Future<Output = Result<T, E>>) -> Result<T, Fault> {
    limited_to(REQUEST_LIMIT, work).await
}

async fn limited_to<T, E: Into<Fault>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Fault> {
    match timeout(limit, work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Fault::silent(limit)),
    }
}

/// A place that is opened when it is first asked, and anew after its credentials were refused: they
/// may have been changed since.
pub struct Lazy {
    place: Place,
    open: Mutex<Option<Arc<Bucket>>>,
}

impl Lazy {
    /// Nothing is opened yet.
    pub fn new(place: Place) -> Self {
        Self { place, open: Mutex::new(None) }
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Bucket>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place, opened.
    ///
    /// # Errors
    /// See [`Bucket::open`].
    pub async fn get(&self) -> Result<Arc<Bucket>, Fault> {
        if let Some(bucket) = self.slot().clone() {
            return Ok(bucket);
        }
        let bucket = Arc::new(Bucket::open(&self.place).await?);
        *self.slot() = Some(bucket.clone());
        Ok(bucket)
    }

    /// Open it anew next time, after this fault.
    pub fn note(&self, fault: &Fault) {
        if fault.is_of_credentials() {
            self.forget();
        }
    }

    /// Open it anew next time.
    pub fn forget(&self) {
        *self.slot() = None;
    }
}
