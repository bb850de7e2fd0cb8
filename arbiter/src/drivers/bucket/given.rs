//! Settings as given, and whose. Knows texts, numbers and paths; never what they are for.

use crate::drivers::DriverError;
use arbiter_core::{Instance, InstanceId};
use std::collections::BTreeMap;
use std::time::Duration;

/// The settings of one instance, or those of them that begin with a prefix.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    id: &'a InstanceId,
    prefix: &'static str,
    settings: &'a BTreeMap<String, String>,
}

impl<'a> Given<'a> {
    /// The settings of `instance`.
    pub fn new(id: &'a InstanceId, instance: &'a Instance) -> Self {
        Self { id, prefix: "", settings: &instance.settings }
    }

    /// Those that begin with `prefix`, under their names without it.
    pub fn below(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    /// Names of the settings that were given, without the prefix.
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        self.settings.keys().filter_map(move |key| key.strip_prefix(self.prefix))
    }

    /// A refusal that names the instance.
    pub fn refuse(self, what: impl std::fmt::Display) -> DriverError {
        DriverError::Refused(format!("instance {}: {what}", self.id))
    }

    /// Its text; none where it is missing or empty.
    pub fn text(self, key: &str) -> Option<&'a str> {
        let text = self.settings.get(&format!("{}{key}", self.prefix))?.trim();
        (!text.is_empty()).then_some(text)
    }

    /// Its text, which must be there.
    ///
    /// # Errors
    /// `Refused`, with an example.
    pub fn must(self, key: &str, example: &str) -> Result<&'a str, DriverError> {
        let prefix = self.prefix;
        self.text(key)
            .ok_or_else(|| self.refuse(format!("{prefix}{key} is missing; such as {example:?}")))
    }

    /// A duration between `min` and `max`.
    ///
    /// # Errors
    /// `Refused`, with the bounds.
    pub fn duration(
        self,
        key: &str,
        default: Duration,
        (min, max): (Duration, Duration),
    ) -> Result<Duration, DriverError> {
        let Some(text) = self.text(key) else { return Ok(default) };
        let found = cluster_config::duration(text).filter(|found| (min..=max).contains(found));
        found.ok_or_else(|| {
            self.refuse(format!(
                "{key} is {text:?}: give a duration such as \"30s\", from {min:?} to {max:?}"
            ))
        })
    }

    /// An absolute path.
    ///
    /// # Errors
    /// `Refused`.
    pub fn path(self, key: &str) -> Result<Option<String>, DriverError> {
        match self.text(key) {
            Some(path) if !path.starts_with('/') => {
                Err(self.refuse(format!("{}{key}: give an absolute path", self.prefix)))
            }
            other => Ok(other.map(str::to_owned)),
        }
    }

    /// An http:// or https:// URL that holds no user.
    ///
    /// # Errors
    /// `Refused`; the URL is not shown, for it may hold a password.
    pub fn url(self, key: &str) -> Result<Option<String>, DriverError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let after = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let host = after.and_then(|rest| rest.split('/').next()).unwrap_or_default();
        if host.is_empty() || host.contains('@') {
            let prefix = self.prefix;
            return Err(self.refuse(format!(
                "{prefix}{key}: give an http:// or https:// URL without a user or a password"
            )));
        }
        Ok(Some(text.trim_end_matches('/').to_owned()))
    }
}
