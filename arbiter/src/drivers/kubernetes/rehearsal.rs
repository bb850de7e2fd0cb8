//! Rehearsal of the fence: the API server is asked whether each write of it would be allowed
//! (`SelfSubjectAccessReview`), which any user may ask and which changes nothing.
//!
//! Knows which writes a fence makes. Never makes one, not even with `dryRun`: a server that does
//! not know that word would stop what serves.

use super::api::{Api, Fault};
use super::look::Look;
use super::objects::OwnerSort;
use super::settings::{Settings, Sort};
use crate::drivers::DriverError;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// Where it is asked.
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// One thing that a fence does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Write {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    /// Empty: all of them.
    name: String,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, subresource, name, .. } = self;
        let below = if subresource.is_empty() { "" } else { "/" };
        write!(f, "{verb} {resource}{below}{subresource}")?;
        if name.is_empty() { Ok(()) } else { write!(f, " {name}") }
    }
}

impl Write {
    fn review(&self, namespace: &str) -> Value {
        let mut asked = json!({
            "namespace": namespace,
            "verb": self.verb,
            "group": self.group,
            "resource": self.resource,
        });
        for (key, value) in [("subresource", self.subresource), ("name", self.name.as_str())] {
            if !value.is_empty() {
                asked[key] = value.into();
            }
        }
        json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": asked },
        })
    }
}

/// Prove that all could be fenced.
///
/// # Errors
/// Naming what is not allowed.
pub(super) async fn rehearse(
    api: &Api,
    look: &Look,
    settings: &Settings,
) -> Result<bool, DriverError> {
    let mut missing = Vec::new();
    for write in writes(look, settings) {
        let review = write.review(&look.namespace);
        let answer: SelfSubjectAccessReview =
            api.create(REVIEWS, &review).await.map_err(|fault: Fault| DriverError::from(fault))?;
        if !answer.status.is_some_and(|status| status.allowed) {
            missing.push(write.to_string());
        }
    }
    if missing.is_empty() {
        return Ok(true);
    }
    Err(DriverError::Refused(format!(
        "the agent's user may not {} in namespace {}: give it a Role that allows it",
        missing.join(", nor "),
        look.namespace
    )))
}

fn writes(look: &Look, settings: &Settings) -> BTreeSet<Write> {
    let mut found = BTreeSet::new();
    let mut add = |verb, (group, resource), subresource, name: &str| {
        found.insert(Write { verb, group, resource, subresource, name: name.to_owned() });
    };
    for named in &settings.named {
        let kind = match named.sort {
            Sort::Deployment => ("apps", "deployments"),
            Sort::StatefulSet => ("apps", "statefulsets"),
            Sort::CronJob => ("batch", "cronjobs"),
        };
        add("get", kind, "", &named.name);
        add("patch", kind, "", &named.name);
        if named.sort == Sort::CronJob {
            continue;
        }
        add("patch", kind, "scale", &named.name);
        // What is left is seen by its pods.
        add("list", ("", "pods"), "", "");
        let owner = look.owners.of(named).ok().flatten();
        let Some(owner) = owner else { continue };
        let kind = match owner.sort {
            OwnerSort::Hpa => ("autoscaling", "horizontalpodautoscalers"),
            OwnerSort::ScaledObject => ("keda.sh", "scaledobjects"),
        };
        add("patch", kind, "", owner.meta.name.as_deref().unwrap_or_default());
    }
    found
}
