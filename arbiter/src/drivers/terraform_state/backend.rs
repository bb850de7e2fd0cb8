//! How a state is read from each sort of backend, within limits. Knows where a lock stands; never
//! what a difference means.
//!
//! The lock: S3 has an object beside the state (`use_lockfile`), Azure a lease on it, a local file
//! another file beside it; an HTTP backend tells only who tries to lock. A lock that an S3 backend
//! keeps in DynamoDB is not seen.

use super::state::{Found, Lock, State};
use crate::drivers::DriverError;
use crate::drivers::bucket::place::{Place, Provider};
use crate::drivers::bucket::{Ask, Bucket, Fault, Lazy, REQUEST_LIMIT, Seen};
use futures::StreamExt;
use reqwest::redirect::Policy;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Greatest state that is read, in bytes.
const STATE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Greatest lock, in bytes.
const LOCK_BYTES_MAX: u64 = 16 * 1024;
/// Limit of reading a state: one may be large.
const STATE_LIMIT: Duration = Duration::from_secs(20);
/// What the requests need.
const NEEDS: &str = "s3:GetObject and s3:ListBucket (Azure: Storage Blob Data Reader)";

/// Where a state stands.
pub struct Backend {
    name: String,
    kind: Kind,
    /// What was read last: it is not read again while its mark stays.
    known: Mutex<Option<State>>,
}

enum Kind {
    Object { place: Lazy, key: String },
    Http { url: String, user: Option<(String, String)> },
    File { path: PathBuf, reading: Arc<tokio::sync::Mutex<()>> },
}

impl Backend {
    /// An object of S3 or Azure.
    pub fn object(place: Place, key: &str) -> Self {
        let name = format!("{key} in {place}");
        Self::new(name, Kind::Object { place: Lazy::new(place), key: key.to_owned() })
    }

    /// A URL; with a user and the file of the password.
    pub fn http(url: &str, user: Option<(String, String)>) -> Self {
        // What follows a question mark may be a secret.
        let name = url.split(['?', '#']).next().unwrap_or_default().to_owned();
        Self::new(name, Kind::Http { url: url.to_owned(), user })
    }

    /// A file.
    pub fn file(path: &str) -> Self {
        let reading = Arc::default();
        Self::new(path.to_owned(), Kind::File { path: PathBuf::from(path), reading })
    }

    fn new(name: String, kind: Kind) -> Self {
        Self { name, kind, known: Mutex::new(None) }
    }

    /// As it is named in faults.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<State>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Read state and lock.
    ///
    /// # Errors
    /// What is wrong and the remedy, without a secret.
    pub async fn read(&self) -> Result<Found, DriverError> {
        match &self.kind {
            Kind::Object { place, key } => self.read_object(place, key).await,
            Kind::Http { url, user } => {
                let bytes = get(url, user.as_ref()).await.map_err(|fault| self.said(&fault))?;
                let state = self.parse(&bytes, "")?;
                let why = "an HTTP backend does not tell".to_owned();
                Ok(Found { state, lock: Lock::Unknown(why) })
            }
            Kind::File { path, reading } => self.read_file(path, reading).await,
        }
    }

    fn said(&self, fault: &Fault) -> DriverError {
        fault.error(&self.name, NEEDS)
    }

    /// What is wrong here, and no request's fault.
    fn wrong(&self, what: &str) -> DriverError {
        DriverError::Retry(format!("{}: {what}", self.name))
    }

    fn missing(&self) -> DriverError {
        self.wrong("there is no state: correct the setting, or replicate it here")
    }

    fn parse(&self, bytes: &[u8], tag: &str) -> Result<State, DriverError> {
        State::parse(bytes, tag).map_err(|why| self.wrong(&why))
    }

    async fn read_object(&self, place: &Lazy, key: &str) -> Result<Found, DriverError> {
        let found = async {
            let bucket = place.get().await?;
            let known = self.known().clone();
            let tag = known.as_ref().map(|state| state.tag.as_str());
            let seen = bucket.read(key, STATE_BYTES_MAX, tag, STATE_LIMIT).await?;
            let lock = match place.place().provider() {
                Provider::S3 => object_lock(&bucket, key).await?,
                Provider::Azure => lease(&bucket, key).await?,
            };
            Ok::<_, Fault>((known, seen, lock))
        };
        let (known, seen, lock) = found.await.map_err(|fault| {
            place.note(&fault);
            self.said(&fault)
        })?;
        let state = match (seen, known) {
            (Seen::Same, Some(known)) => known,
            (Seen::Read(read), _) => self.parse(&read.bytes, &read.tag)?,
            (Seen::Large, _) => {
                let what = format!("it has more than {STATE_BYTES_MAX} bytes, and is not read");
                return Err(self.wrong(&what));
            }
            (Seen::Missing | Seen::Same, _) => return Err(self.missing()),
        };
        *self.known() = Some(state.clone());
        Ok(Found { state, lock })
    }

    /// On a thread of its own: a disk that hangs holds up this file only, and one thread.
    async fn read_file(
        &self,
        path: &Path,
        reading: &Arc<tokio::sync::Mutex<()>>,
    ) -> Result<Found, DriverError> {
        let Ok(turn) = reading.clone().try_lock_owned() else {
            return Err(self.wrong("the last read of it goes on: see its disk"));
        };
        let path = path.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let lock = read_bounded(&lock_of(&path), LOCK_BYTES_MAX);
            (read_bounded(&path, STATE_BYTES_MAX), lock)
        });
        let (state, lock) = match timeout(STATE_LIMIT, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => return Err(self.wrong("the read of it broke; see the agent's log")),
            Err(_) => return Err(self.wrong(&format!("no answer within {STATE_LIMIT:?}"))),
        };
        let bytes = match state {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(self.missing()),
            Err(why) => return Err(self.wrong(&format!("{why}: make it readable to the agent"))),
        };
        let lock = match lock {
            Ok(None) => Lock::Free,
            Ok(Some(info)) => Lock::held(&info),
            Err(why) => Lock::Unknown(why),
        };
        Ok(Found { state: self.parse(&bytes, "")?, lock })
    }
}

/// `.NAME.lock.info` beside the state: Terraform's local lock.
fn lock_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.lock.info"))
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err("it is no file".to_owned()),
        Ok(found) if found.len() > bytes_max => Err(format!("it has more than {bytes_max} bytes")),
        Ok(_) => {
            let read = std::fs::read(path);
            read.map(Some).map_err(|error| format!("cannot be read: {}", error.kind()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot be read: {}", error.kind())),
    }
}

/// The object `KEY.tflock`, as S3 backends with `use_lockfile` write it.
async fn object_lock(bucket: &Bucket, key: &str) -> Result<Lock, Fault> {
    let lock = format!("{key}.tflock");
    match bucket.read(&lock, LOCK_BYTES_MAX, None, REQUEST_LIMIT).await? {
        Seen::Read(read) => Ok(Lock::held(&read.bytes)),
        Seen::Large => Ok(Lock::held(b"")),
        Seen::Missing | Seen::Same => Ok(Lock::Free),
    }
}

/// The lease on the state itself; its holder writes who it is into the metadata.
async fn lease(bucket: &Bucket, key: &str) -> Result<Lock, Fault> {
    let answer = match bucket.ask(Ask::head(key)).await {
        Ok(answer) => answer,
        Err(fault) if fault.is_missing_object() => return Ok(Lock::Free),
        Err(fault) => return Err(fault),
    };
    if answer.header("x-ms-lease-status") != "locked" {
        return Ok(Lock::Free);
    }
    let info = answer.header("x-ms-meta-terraformlockid").as_bytes();
    Ok(Lock::held(&data_encoding::BASE64.decode(info).unwrap_or_default()))
}

async fn get(url: &str, user: Option<&(String, String)>) -> Result<Vec<u8>, Fault> {
    crate::tls::install();
    // A redirect would carry the password elsewhere.
    let client = reqwest::Client::builder().timeout(STATE_LIMIT).redirect(Policy::none()).build();
    let mut request = client.map_err(|error| Fault::of_cause(&error))?.get(url);
    if let Some((name, file)) = user {
        let password = crate::drivers::bucket::secret("password_file", file)?;
        request = request.basic_auth(name, Some(password));
    }
    let answer = request.send().await.map_err(|error| Fault::of_cause(&error.without_url()))?;
    let status = answer.status().as_u16();
    if status != 200 {
        return Err(Fault::answered(status, ""));
    }
    let mut bytes = Vec::new();
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Fault::of_cause(&error.without_url()))?;
        if (bytes.len() + chunk.len()) as u64 > STATE_BYTES_MAX {
            return Err(Fault::garbage(&format!("it has more than {STATE_BYTES_MAX} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
