//! Named Secrets, each told by a short sum: an application that moves finds the same in both
//! regions, or does not serve there. The leader compares.
//!
//! It is only watched. What stands in a Secret is never kept, shown or logged; of its sum so little
//! is told that nothing can be guessed from it.

use super::api::{Api, Fault};
use super::settings::{CONTEXT, KUBECONFIG_FILE, Reader};
use crate::drivers::bucket::looks::Looks;
use crate::drivers::{Declaration, Done, Driver, DriverError, Kind};
use arbiter_core::{
    Condition, Control, Fact, Goal, Instance, InstanceId, Layer, PARITY, Terms, Token,
};
use async_trait::async_trait;
use cluster_config::{may, must};
use k8s_openapi::api::core::v1::Secret;
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often they are read, and the limit of all of them.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const LOOK_LIMIT: Duration = Duration::from_secs(45);
/// Most that one instance names.
const NAMES_MAX: usize = 100;
/// Bytes of a sum that are told: enough to tell two apart, too little to try passwords by.
const TOLD_BYTES: usize = 3;

/// See [`crate::drivers::KINDS`].
pub const KIND: Kind = Kind {
    config: cluster_config::Kind {
        name: "kubernetes-secrets",
        layer: "watched",
        control: "api",
        evidence: &[],
        fence: cluster_config::Fence::BestEffort,
        waits: false,
        address: false,
        settings: &[
            KUBECONFIG_FILE,
            CONTEXT,
            may("namespace", "shop", "Where they stand; by default as the context says."),
            must(
                "secrets",
                "db-credentials, tls",
                "Secrets that must be alike in both regions, with commas between. The agent may \
                 get each.",
            ),
        ],
    },
    open: |opening| Ok(Box::new(Secrets::open(opening.id, opening.instance)?)),
    rehearse: None,
};

/// What was found of each: its sum, or why there is none.
type Found = BTreeMap<String, Result<String, String>>;

struct Secrets {
    names: Vec<String>,
    api: Arc<Api>,
    looks: Looks<Found>,
}

impl Secrets {
    fn open(id: &InstanceId, instance: &Instance) -> Result<Self, DriverError> {
        let reader = Reader { id, settings: &instance.settings };
        let names = reader.names("secrets")?;
        if names.is_empty() || names.len() > NAMES_MAX {
            return Err(reader.fault(format!("name 1 to {NAMES_MAX} in secrets")));
        }
        let api = Arc::new(Api::new(reader.access()?));
        Ok(Self { names, api, looks: Looks::new(LOOK_EVERY, LOOK_LIMIT) })
    }
}

async fn look(api: &Api, names: &[String]) -> Result<Found, DriverError> {
    let (namespace, _) = api.place().await?;
    let mut found = Found::new();
    for name in names {
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
        let sum = match api.get::<Secret>(&path).await {
            Ok(secret) => Ok(sum(&secret)),
            Err(Fault::Missing(_)) => Err(format!(
                "there is no Secret {name} in {namespace}: create it, or take it out of secrets"
            )),
            Err(fault @ Fault::Forbidden(_)) => Err(fault.to_string()),
            Err(fault) => return Err(fault.into()),
        };
        found.insert(name.clone(), sum);
    }
    Ok(found)
}

/// Over the keys and what each has, with their lengths: nothing moves from one into the next.
fn sum(secret: &Secret) -> String {
    let mut context = Context::new(&SHA256);
    for (key, value) in secret.data.iter().flatten() {
        for part in [key.as_bytes(), &value.0] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
    }
    let sum = context.finish();
    sum.as_ref().iter().take(TOLD_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

#[async_trait]
impl Driver for Secrets {
    fn declares(&self) -> Declaration {
        Declaration { control: Control::Api, evidence: Vec::new(), layer: Layer::Watched }
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        let (api, names) = (self.api.clone(), self.names.clone());
        let found = self.looks.see(move || async move { look(&api, &names).await }).await;
        let found = found.ok_or_else(|| DriverError::Retry("the first look goes on".to_owned()))?;
        let found = match found {
            Ok(found) => found,
            Err(why) => return Ok(super::unreadable(why.to_string())),
        };
        let mut fact = Fact { condition: Condition::Healthy, ..Fact::default() };
        for (name, sum) in found {
            match sum {
                Ok(sum) => drop(fact.detail.insert(format!("{PARITY}Secret {name}"), sum)),
                Err(why) => fact.faults.push(why),
            }
        }
        Ok(fact)
    }

    async fn ensure(&self, goal: Goal, _: Token, _: &Terms) -> Result<Done, DriverError> {
        Err(DriverError::Refused(format!("Secrets are only watched, never made {goal}")))
    }

    async fn verify(&self, _: Token) -> Result<Fact, DriverError> {
        self.observe().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn secret(entries: &[(&str, &str)]) -> Secret {
        let entry = |(key, value): &(&str, &str)| {
            ((*key).to_owned(), ByteString(value.as_bytes().to_owned()))
        };
        Secret { data: Some(entries.iter().map(entry).collect()), ..Secret::default() }
    }

    #[test]
    fn a_sum_is_of_keys_and_what_they_have() {
        let same = [("password", "hunter2"), ("user", "shop")];
        assert_eq!(sum(&secret(&same)), sum(&secret(&[same[1], same[0]])));
        assert_eq!(sum(&secret(&same)).len(), 6);
        let others = [
            secret(&[("password", "hunter3"), ("user", "shop")]),
            secret(&[("password", "hunter2u"), ("ser", "shop")]),
            secret(&[("password", "hunter2")]),
        ];
        for other in others {
            assert_ne!(sum(&other), sum(&secret(&same)));
        }
    }
}
