//! The fence of one bucket or container: written, read back until it stays, and lifted.
//!
//! Knows the order read, judge, write, read back. Never knows the stored token, or when to try
//! again. Neither service takes a condition here: a request that was delayed for long could come
//! after a newer one, which the looks of the driver then show.

use super::acl::{Acl, FENCE};
use super::policy::Policy;
use super::settings::Settings;
use crate::clock;
use crate::drivers::DriverError;
use crate::drivers::bucket::{Answer, Ask, Bucket, Fault, Provider};
use arbiter_core::Token;
use std::time::Duration;
use tokio::time::sleep;

/// How long a change may take to be read back.
const READ_BACK_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two reads.
const READ_BACK_EVERY: Duration = Duration::from_millis(200);
/// Reads in a row that must show the change: settings of a bucket become consistent only in time.
const READS_ALIKE: u32 = 2;

/// What the fence's requests need of S3.
const NEEDS_S3: &str = "s3:GetBucketPolicy, s3:PutBucketPolicy and s3:DeleteBucketPolicy";
/// What the fence's requests need of Azure.
const NEEDS_AZURE: &str = "to read and set the container's ACL and metadata (Storage Blob Data \
                           Owner)";

/// The fence as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Fence {
    /// The highest token in it; none: there is none.
    pub token: Option<Token>,
    /// It denies all that it would deny if it were written now.
    pub whole: bool,
    pub(super) raw: Raw,
}

/// As it was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    S3(Policy),
    Azure(Container),
}

/// A container's ACL, and what Set Container ACL and Metadata would take away if left out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Container {
    pub acl: Acl,
    public_access: String,
    metadata: Vec<(String, String)>,
}

impl Fence {
    /// Whether writes are denied.
    pub fn holds(&self) -> bool {
        self.token.is_some() && self.whole
    }

    /// Whether there is anything of ours to be lifted.
    pub(super) fn is_there(&self) -> bool {
        match &self.raw {
            Raw::S3(policy) => policy.has_ours(),
            Raw::Azure(_) => self.token.is_some(),
        }
    }

    /// Read it.
    ///
    /// # Errors
    /// Of the request, or a policy that is not understood.
    pub async fn read(bucket: &Bucket, settings: &Settings) -> Result<Self, DriverError> {
        match settings.place.provider() {
            Provider::S3 => read_s3(bucket, settings).await,
            Provider::Azure => read_azure(bucket, settings).await,
        }
    }

    /// Make it stand at `token`, and read it back.
    ///
    /// # Errors
    /// `StaleEpoch` for a higher token in it, `Refused` where it cannot be made.
    pub async fn hold(
        bucket: &Bucket,
        settings: &Settings,
        token: Token,
    ) -> Result<Self, DriverError> {
        let found = Self::read(bucket, settings).await?;
        let stands = |fence: &Self| fence.token == Some(token) && fence.whole;
        not_above(found.token, token)?;
        if stands(&found) {
            return Ok(found);
        }
        match &found.raw {
            Raw::S3(policy) => {
                let (arn, admin) = (settings.place.arn(), settings.admin_role.as_deref());
                put_policy(bucket, settings, policy.fenced(&arn, admin, token)).await?;
            }
            Raw::Azure(container) => {
                if let Some(why) = container.acl.obstacle(&settings.access_policies) {
                    return Err(DriverError::Refused(format!("{}: {why}", settings.place)));
                }
                let record = container.acl.record_of(&settings.access_policies, token);
                put_record(bucket, settings, container, Some(record)).await?;
                let acl = container.acl.fenced(&settings.access_policies);
                put_acl(bucket, settings, container, acl).await?;
            }
        }
        read_back(bucket, settings, token, stands).await
    }

    /// Take it away, whatever token up to `token` it has, and read that back. Says whether there
    /// was one.
    ///
    /// # Errors
    /// `StaleEpoch` for a higher token in it.
    pub async fn lift(
        bucket: &Bucket,
        settings: &Settings,
        token: Token,
    ) -> Result<(Self, bool), DriverError> {
        let found = Self::read(bucket, settings).await?;
        not_above(found.token, token)?;
        if !found.is_there() {
            return Ok((found, false));
        }
        match &found.raw {
            Raw::S3(policy) => match policy.lifted() {
                Some(policy) => put_policy(bucket, settings, policy).await?,
                None => {
                    let asked = bucket.ask(Ask::delete("policy")).await;
                    asked.map_err(|fault| s3(settings, "removing its policy", &fault))?;
                }
            },
            Raw::Azure(container) => {
                put_acl(bucket, settings, container, container.acl.lifted()).await?;
                put_record(bucket, settings, container, None).await?;
            }
        }
        let gone = |fence: &Self| !fence.is_there();
        Ok((read_back(bucket, settings, token, gone).await?, true))
    }
}

/// I10: what a bucket has seen counts as much as what this host has stored.
pub fn not_above(seen: Option<Token>, token: Token) -> Result<(), DriverError> {
    match seen {
        Some(seen) if seen > token => Err(DriverError::StaleEpoch { seen }),
        _ => Ok(()),
    }
}

async fn read_back(
    bucket: &Bucket,
    settings: &Settings,
    token: Token,
    wanted: impl Fn(&Fence) -> bool,
) -> Result<Fence, DriverError> {
    let (began, mut alike) = (clock::now(), 0);
    loop {
        let found = Fence::read(bucket, settings).await?;
        not_above(found.token, token)?;
        alike = if wanted(&found) { alike + 1 } else { 0 };
        if alike >= READS_ALIKE {
            return Ok(found);
        }
        if clock::now().since(began) >= READ_BACK_LIMIT {
            return Err(DriverError::Retry(format!(
                "{}: the change was accepted, and is not read back within {READ_BACK_LIMIT:?}; if \
                 this goes on, look for a pipeline that writes the policy too",
                settings.place
            )));
        }
        sleep(READ_BACK_EVERY).await;
    }
}

pub(super) fn s3(settings: &Settings, what: &str, fault: &Fault) -> DriverError {
    fault.error(&format!("{}: {what}", settings.place), NEEDS_S3)
}

pub(super) fn azure(settings: &Settings, what: &str, fault: &Fault) -> DriverError {
    fault.error(&format!("{}: {what}", settings.place), NEEDS_AZURE)
}

async fn read_s3(bucket: &Bucket, settings: &Settings) -> Result<Fence, DriverError> {
    let policy = match bucket.ask(Ask::get("policy")).await {
        Ok(answer) => Policy::parse(&answer.body)
            .map_err(|why| DriverError::Retry(format!("{}: {why}", settings.place)))?,
        Err(fault) if fault.code == "NoSuchBucketPolicy" => Policy::default(),
        Err(fault) => return Err(s3(settings, "reading its policy", &fault)),
    };
    let token = policy.token();
    let (arn, admin) = (settings.place.arn(), settings.admin_role.as_deref());
    let whole = token.is_some_and(|token| policy.holds(&arn, admin, token));
    Ok(Fence { token, whole, raw: Raw::S3(policy) })
}

async fn put_policy(
    bucket: &Bucket,
    settings: &Settings,
    policy: String,
) -> Result<(), DriverError> {
    let asked = bucket.ask(Ask::put("policy", "application/json", policy)).await;
    asked.map(drop).map_err(|fault| s3(settings, "writing its policy", &fault))
}

async fn read_azure(bucket: &Bucket, settings: &Settings) -> Result<Fence, DriverError> {
    let asked = bucket.ask(Ask::get("restype=container&comp=metadata")).await;
    let answer = asked.map_err(|fault| azure(settings, "reading its metadata", &fault))?;
    let metadata = metadata(&answer);
    let record = metadata.iter().find(|(name, _)| name == FENCE);
    let record = record.map_or("", |(_, text)| text.as_str());
    let asked = bucket.ask(Ask::get("restype=container&comp=acl")).await;
    let answer = asked.map_err(|fault| azure(settings, "reading its ACL", &fault))?;
    let public_access = answer.header("x-ms-blob-public-access").to_owned();
    let acl = Acl::parse(&answer.body, record)
        .map_err(|why| DriverError::Retry(format!("{}: {why}", settings.place)))?;
    let names = &settings.access_policies;
    let (token, whole) = (acl.token(), !names.is_empty() && acl.is_narrow(names));
    Ok(Fence { token, whole, raw: Raw::Azure(Container { acl, public_access, metadata }) })
}

fn metadata(answer: &Answer) -> Vec<(String, String)> {
    let named = answer.headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("x-ms-meta-")?;
        Some((name.to_owned(), value.to_str().ok()?.to_owned()))
    });
    named.collect()
}

/// All metadata of the container anew, as Azure wants it, with this record of the fence or none.
pub(super) fn record(container: &Container, text: Option<String>) -> Ask<'static> {
    let kept = container.metadata.iter().filter(|(name, _)| name != FENCE).cloned();
    let all = kept.chain(text.map(|text| (FENCE.to_owned(), text)));
    let mut ask = Ask::put("restype=container&comp=metadata", "text/plain", String::new());
    ask.headers = all.map(|(name, text)| (format!("x-ms-meta-{name}"), text)).collect();
    ask
}

/// The whole ACL anew.
pub(super) fn acl(container: &Container, xml: String) -> Ask<'static> {
    let mut ask = Ask::put("restype=container&comp=acl", "application/xml", xml);
    if !container.public_access.is_empty() {
        let public = ("x-ms-blob-public-access".to_owned(), container.public_access.clone());
        ask.headers.push(public);
    }
    ask
}

async fn put_record(
    bucket: &Bucket,
    settings: &Settings,
    container: &Container,
    text: Option<String>,
) -> Result<(), DriverError> {
    let asked = bucket.ask(record(container, text)).await;
    asked.map(drop).map_err(|fault| azure(settings, "writing its metadata", &fault))
}

async fn put_acl(
    bucket: &Bucket,
    settings: &Settings,
    container: &Container,
    xml: String,
) -> Result<(), DriverError> {
    let asked = bucket.ask(acl(container, xml)).await;
    asked.map(drop).map_err(|fault| azure(settings, "writing its ACL", &fault))
}
