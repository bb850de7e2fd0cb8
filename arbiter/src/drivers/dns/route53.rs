//! Amazon Route 53: one ChangeBatch of exact DELETEs and CREATEs, which AWS applies whole or not.
//!
//! Knows its API, its errors and its rate limit. Never knows which region should be named, and
//! never sends an UPSERT: that one asks nothing.

use super::cas::{Change as Swap, RrSet, Seen, next_guard};
use super::settings::{Reader, RecordKind, Settings, Slot};
use super::{Authority, DriverError, Swapped};
use crate::drivers::aws;
use async_trait::async_trait;
use aws_sdk_route53::Client;
use aws_sdk_route53::config::retry::RetryConfig;
use aws_sdk_route53::config::timeout::TimeoutConfig;
use aws_sdk_route53::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ChangeStatus, ResourceRecord, ResourceRecordSet, RrType,
};
use std::error::Error;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::OnceCell;

/// Tries of one question: AWS throttles an account as a whole, and a read that began anew at each
/// refusal would add to it and might never end. The pauses between them are the SDK's.
const TRIES_MAX: u32 = 3;
/// Limit of one API call, with all its tries.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked at between changes: AWS allows an account five requests a second.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Record sets asked for at one name.
const SETS_MAX: i32 = 100;
/// Characters of an error that are passed on.
const ERROR_CHARS_MAX: usize = 300;
/// The region of the API where none is set: Route 53 is global, and signed for here.
const REGION_DEFAULT: &str = "us-east-1";
/// Errors that no retry heals.
const REFUSALS: [&str; 10] = [
    "AccessDenied",
    "AccessDeniedException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidInput",
    "MissingAuthenticationToken",
    "NoSuchHostedZone",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Settings that only this kind knows.
pub struct Own {
    hosted_zone_id: String,
    endpoint_url: Option<String>,
    source: aws::Source,
}

impl Own {
    /// Take them out of `reader`.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DriverError> {
        let id = reader.required("hosted_zone_id", "\"Z0123456789ABCDEFGHIJ\"")?;
        let id = id.rsplit('/').next().unwrap_or_default();
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(reader.fault("hosted_zone_id: give the id alone, such as Z0123456789ABC"));
        }
        let endpoint_url = reader.optional("endpoint_url").map(str::to_owned);
        let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if !endpoint_url.iter().all(is_url) {
            return Err(reader.fault("endpoint_url: give an http:// or https:// URL"));
        }
        // For the arbiters, who ask them what clients see.
        let _ = reader.required("name_servers", "\"192.0.2.53:53\"")?;
        Ok(Self {
            hosted_zone_id: id.to_owned(),
            endpoint_url,
            source: aws::Source {
                region: reader.optional("aws_region").unwrap_or(REGION_DEFAULT).to_owned(),
                profile: reader.optional("profile").map(str::to_owned),
                credentials_file: reader.optional("credentials_file").map(str::to_owned),
            },
        })
    }
}

/// The authority.
pub struct Route53 {
    own: Own,
    client: OnceCell<Client>,
    /// The last accepted change, until the name servers have it.
    pending: Mutex<Option<String>>,
}

impl Route53 {
    /// An authority for one hosted zone. Credentials are looked for at its first use.
    pub fn new(own: Own) -> Self {
        Self { own, client: OnceCell::new(), pending: Mutex::new(None) }
    }

    async fn client(&self) -> &Client {
        self.client.get_or_init(|| connect(&self.own)).await
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The record sets at `name`, and at what sorts right behind it.
    async fn list(&self, name: &str) -> Result<Vec<ResourceRecordSet>, DriverError> {
        let call = self.client().await.list_resource_record_sets();
        let call = call.hosted_zone_id(&self.own.hosted_zone_id).start_record_name(name);
        let answer = call.max_items(SETS_MAX).send().await.map_err(|error| self.fault(&error))?;
        Ok(answer.resource_record_sets)
    }

    fn fault<E>(&self, error: &SdkError<E>) -> DriverError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let zone = &self.own.hosted_zone_id;
        let Some(code) = error.as_service_error().and_then(ProvideErrorMetadata::code) else {
            return DriverError::Retry(clip(&format!("Route 53, zone {zone}: {}", chain(error))));
        };
        // What AWS says of a signature quotes the request; the code alone is enough.
        let quiet = code.contains("Signature");
        let said = error.as_service_error().and_then(ProvideErrorMetadata::message);
        let said = said.filter(|_| !quiet).unwrap_or_default();
        let text = clip(&format!("Route 53 answers {code} for hosted zone {zone}: {said}"));
        if REFUSALS.contains(&code) {
            let text = format!(
                "{text}; check hosted_zone_id and the credentials: they need \
                 route53:ListResourceRecordSets, ChangeResourceRecordSets and GetChange"
            );
            return DriverError::Refused(text);
        }
        DriverError::Retry(text)
    }
}

async fn connect(own: &Own) -> Client {
    let mut loader = own
        .source
        .loader()
        .retry_config(RetryConfig::standard().with_max_attempts(TRIES_MAX))
        .timeout_config(TimeoutConfig::builder().operation_timeout(CALL_LIMIT).build());
    if let Some(url) = &own.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    Client::new(&loader.load().await)
}

#[async_trait]
impl Authority for Route53 {
    async fn read(&self, settings: &Settings) -> Result<Seen, DriverError> {
        let mut seen = Seen::default();
        // The guard's name sorts right behind the token's: Route 53 sorts by reversed labels.
        let guard = settings.guard_name();
        for set in self.list(&settings.token_name).await? {
            if set.r#type != RrType::Txt {
                continue;
            }
            let name = normal(&set.name);
            if name == settings.token_name {
                seen.token = simple(&set, &mut seen.in_the_way);
            } else if name == guard {
                seen.guard = simple(&set, &mut seen.in_the_way);
            }
        }
        let mut listed: Option<(String, Vec<ResourceRecordSet>)> = None;
        for slot in settings.slots() {
            let sets = match listed.take() {
                Some((name, sets)) if name == slot.name => sets,
                _ => self.list(&slot.name).await?,
            };
            look(&slot, &sets, &mut seen);
            listed = Some((slot.name, sets));
        }
        Ok(seen)
    }

    async fn swap(&self, settings: &Settings, change: &Swap) -> Result<Swapped, DriverError> {
        let batch = batch(settings, change)?;
        let call = self.client().await.change_resource_record_sets();
        let call = call.hosted_zone_id(&self.own.hosted_zone_id).change_batch(batch);
        // Tried once: what became of it is read, never guessed from a second answer.
        let once = aws_sdk_route53::Config::builder().retry_config(RetryConfig::disabled());
        match call.customize().config_override(once).send().await {
            Ok(answer) => {
                *self.pending() = answer.change_info.map(|info| info.id);
                Ok(Swapped::Yes)
            }
            Err(error) => match error.as_service_error() {
                Some(service) if service.code() == Some("InvalidChangeBatch") => {
                    Ok(Swapped::Conflict(clip(service.message().unwrap_or("InvalidChangeBatch"))))
                }
                _ => Err(self.fault(&error)),
            },
        }
    }

    async fn settled(&self, _: &Settings, _: &Seen) -> Result<(), DriverError> {
        let Some(id) = self.pending().clone() else { return Ok(()) };
        let call = self.client().await.get_change().id(&id);
        let answer = call.send().await.map_err(|error| self.fault(&error))?;
        if answer.change_info.is_some_and(|info| info.status == ChangeStatus::Pending) {
            return Err(DriverError::Retry(format!(
                "Route 53 accepted change {id}; its name servers do not all have it yet"
            )));
        }
        *self.pending() = None;
        Ok(())
    }

    fn look_age_max(&self) -> Duration {
        LOOK_EVERY
    }
}

/// Note what stands at one slot, and what else its name holds that it cannot live beside.
fn look(slot: &Slot, sets: &[ResourceRecordSet], seen: &mut Seen) {
    let mut found = None;
    for set in sets.iter().filter(|set| normal(&set.name) == slot.name) {
        let alias = set.r#type == RrType::Cname;
        if set.r#type == kind(slot.kind) {
            found = simple(set, &mut seen.in_the_way);
        } else if alias || slot.kind == RecordKind::Cname {
            seen.in_the_way.push(format!(
                "{} has a {} record, and a CNAME lives alone; delete it, or set record_type",
                slot.name, set.r#type
            ));
        }
    }
    seen.records.insert(slot.clone(), found);
}

/// A plain record set; none for others, which are said to be in the way.
fn simple(set: &ResourceRecordSet, in_the_way: &mut Vec<String>) -> Option<RrSet> {
    let plain = set.set_identifier.is_none()
        && set.alias_target.is_none()
        && set.traffic_policy_instance_id.is_none();
    if !plain {
        in_the_way.push(format!(
            "{} {} is an alias, weighted or policy record; the arbiter switches plain records \
             only: replace it by one",
            set.name, set.r#type
        ));
        return None;
    }
    let values = set.resource_records.iter().flatten().map(|record| record.value.clone());
    let ttl = set.ttl.and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or_default();
    Some(RrSet { ttl, values: values.collect() })
}

/// DELETE exactly what was read, CREATE what is wanted. // I7
fn batch(settings: &Settings, change: &Swap) -> Result<ChangeBatch, DriverError> {
    let (token, guard) = (&settings.token_name, settings.guard_name());
    let from = &change.from;
    let mut changes = Vec::new();
    let mut add = |action: ChangeAction, name: &str, kind: RrType, set: Option<&RrSet>| {
        let Some(set) = set else { return Ok(()) };
        changes.push(entry(action, name, kind, set)?);
        Ok::<(), DriverError>(())
    };
    add(ChangeAction::Delete, token, RrType::Txt, from.token.as_ref())?;
    if change.guarded {
        add(ChangeAction::Delete, &guard, RrType::Txt, from.guard.as_ref())?;
    }
    for (slot, set) in &from.records {
        add(ChangeAction::Delete, &slot.name, kind(slot.kind), set.as_ref())?;
    }
    add(ChangeAction::Create, token, RrType::Txt, Some(&change.token))?;
    if change.guarded {
        let next = next_guard(from.guard.as_ref(), settings.ttl);
        add(ChangeAction::Create, &guard, RrType::Txt, Some(&next))?;
    }
    for (slot, set) in &change.records {
        add(ChangeAction::Create, &slot.name, kind(slot.kind), set.as_ref())?;
    }
    let comment = format!("region arbiter, group {}", settings.group);
    let batch = ChangeBatch::builder().comment(comment).set_changes(Some(changes)).build();
    batch.map_err(unbuilt)
}

fn entry(
    action: ChangeAction,
    name: &str,
    kind: RrType,
    set: &RrSet,
) -> Result<Change, DriverError> {
    let mut records = ResourceRecordSet::builder().name(name).r#type(kind).ttl(set.ttl.into());
    for value in &set.values {
        let record = ResourceRecord::builder().value(value).build().map_err(unbuilt)?;
        records = records.resource_records(record);
    }
    let records = records.build().map_err(unbuilt)?;
    Change::builder().action(action).resource_record_set(records).build().map_err(unbuilt)
}

fn unbuilt(error: impl Error) -> DriverError {
    DriverError::Refused(format!("the change cannot be written: {error}"))
}

fn kind(kind: RecordKind) -> RrType {
    match kind {
        RecordKind::A => RrType::A,
        RecordKind::Aaaa => RrType::Aaaa,
        RecordKind::Cname => RrType::Cname,
    }
}

fn normal(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.').to_ascii_lowercase())
}

/// An error and what caused it, without doubles.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

fn clip(text: &str) -> String {
    text.chars().take(ERROR_CHARS_MAX).collect()
}
