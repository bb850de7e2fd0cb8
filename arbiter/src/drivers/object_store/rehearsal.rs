//! Rehearsal of the fence: the very requests that make it, each asked so that it cannot be carried
//! out. A service judges who asks before it looks at what else is wrong, so that what it refuses
//! says whether the fence would be let through.
//!
//! Knows what is wrong with each request, and which answer that has. Never changes anything, and
//! never reads a policy and writes it back: neither service lets that be done without overwriting
//! what somebody else wrote meanwhile. What a server that checks neither would store is what stood
//! there.

use super::fence::{self, Container, Fence, Raw};
use super::policy::Policy;
use super::settings::Settings;
use crate::drivers::DriverError;
use crate::drivers::bucket::{Ask, Bucket};
use arbiter_core::Token;
use std::sync::atomic::{AtomicBool, Ordering};

/// Longest policy that S3 takes, in bytes.
const POLICY_BYTES_MAX: usize = 20_480;
/// What S3, and what speaks its protocol, says of a body that is not that of its checksum.
const WRONG_SUM: [&str; 3] = ["BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch"];
/// A lease that nobody has.
const NO_LEASE: &str = "a7b17e70-f3ce-4e4e-8e4e-000000000000";
/// What Azure says of a request with a lease that is not the container's.
const WRONG_LEASE: [&str; 2] =
    ["LeaseNotPresentWithContainerOperation", "LeaseIdMismatchWithContainerOperation"];

/// Prove that the fence could be made. False: there is one, or nothing here can be fenced. A server
/// that stored what was sent is noted in `unchecked`.
///
/// # Errors
/// What would be in its way.
pub(super) async fn rehearse(
    bucket: &Bucket,
    settings: &Settings,
    unchecked: &AtomicBool,
) -> Result<bool, DriverError> {
    let found = Fence::read(bucket, settings).await?;
    if found.is_there() {
        return Ok(false);
    }
    match &found.raw {
        Raw::S3(policy) => s3(bucket, settings, policy, unchecked).await,
        Raw::Azure(_) if settings.access_policies.is_empty() => Ok(false),
        Raw::Azure(container) => azure(bucket, settings, container).await,
    }
}

async fn s3(
    bucket: &Bucket,
    settings: &Settings,
    policy: &Policy,
    unchecked: &AtomicBool,
) -> Result<bool, DriverError> {
    let (arn, admin) = (settings.place.arn(), settings.admin_role.as_deref());
    let bytes = policy.fenced(&arn, admin, Token::new(u64::MAX, u64::MAX)).len();
    if bytes > POLICY_BYTES_MAX {
        return Err(DriverError::Refused(format!(
            "{}: with the fence its policy would have {bytes} bytes, and S3 takes at most \
             {POLICY_BYTES_MAX}: make it shorter",
            settings.place
        )));
    }
    let before = policy.lifted();
    let body = before.clone().unwrap_or_else(|| Policy::harmless(&arn, &settings.canary_prefix));
    let wrong = !crc32c::crc32c(body.as_bytes());
    let mut ask = Ask::put("policy", "application/json", body);
    let sum = data_encoding::BASE64.encode(&wrong.to_be_bytes());
    ask.headers.push(("x-amz-checksum-crc32c".to_owned(), sum));
    let what = "rehearsing its fence";
    let answer = bucket.ask(ask).await;
    unchecked.fetch_or(answer.is_ok(), Ordering::AcqRel);
    match answer {
        Err(fault) if WRONG_SUM.contains(&fault.code.as_str()) => Ok(true),
        Err(fault) => Err(fence::s3(settings, what, &fault)),
        // A server that checks no sums has stored what was there.
        Ok(_) if before.is_some() => Ok(true),
        Ok(_) => {
            let removed = bucket.ask(Ask::delete("policy")).await;
            removed.map(|_| true).map_err(|fault| fence::s3(settings, what, &fault))
        }
    }
}

async fn azure(
    bucket: &Bucket,
    settings: &Settings,
    container: &Container,
) -> Result<bool, DriverError> {
    if let Some(why) = container.acl.obstacle(&settings.access_policies) {
        return Err(DriverError::Refused(format!("{}: {why}", settings.place)));
    }
    let same = container.acl.lifted();
    for mut ask in [fence::record(container, None), fence::acl(container, same)] {
        ask.headers.push(("x-ms-lease-id".to_owned(), NO_LEASE.to_owned()));
        match bucket.ask(ask).await {
            Ok(_) => {}
            Err(fault) if WRONG_LEASE.contains(&fault.code.as_str()) => {}
            Err(fault) => return Err(fence::azure(settings, "rehearsing its fence", &fault)),
        }
    }
    Ok(true)
}
