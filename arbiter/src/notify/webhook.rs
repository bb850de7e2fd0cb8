//! The webhook: a POST of one JSON object an event. Knows its form only.

use super::Told;
use super::post::{place, post};
use arbiter_core::Event;
use serde::Serialize;

/// What is posted.
#[derive(Serialize)]
struct Body<'a> {
    cluster: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// One webhook.
pub(super) struct Webhook {
    url: String,
    cluster: String,
}

impl Webhook {
    pub(super) fn new(url: String, cluster: &str) -> Self {
        Self { url, cluster: cluster.to_owned() }
    }

    pub(super) fn place(&self) -> String {
        place(&self.url)
    }

    pub(super) async fn send(&self, told: &Told) -> Result<(), String> {
        post(&self.url, None, &Body { cluster: &self.cluster, event: &told.event }).await
    }
}
