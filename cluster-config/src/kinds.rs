//! What a kind of resource or probe is to the file: its name, what it implies, and its settings.
//! Knows the shape; never a kind in particular. Whoever has the drivers and probes hands them in.

use crate::schema::{EvidenceKind, Fence, Signal};
use std::collections::BTreeMap;
use std::fmt;

/// One setting of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key. One that ends with `*` stands for any key that begins so.
    pub key: &'static str,
    /// What it means, for `reference.toml`.
    pub doc: &'static str,
    /// An example, as text.
    pub example: &'static str,
    /// It must be there: for an instance of its own or from the resource.
    pub required: bool,
    /// Only this crate's checks read it; no driver knows it.
    pub file_only: bool,
}

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its word in configuration.
    pub name: &'static str,
    /// `data`, `workload` or `traffic`, moved in this order; `pooler`: holds clients of the data
    /// back meanwhile; or `watched`: only looked at.
    pub layer: &'static str,
    /// `owned`: agent and deadman hold its processes; `delegated`: they hold the manager that
    /// does; `api`: neither.
    pub control: &'static str,
    /// Every kind of evidence of its fence that its driver can ever give.
    pub evidence: &'static [EvidenceKind],
    /// Where the file does not say it.
    pub fence: Fence,
    /// A primary's commits can be made to wait for a standby: `durability = "strict"`, and
    /// `on_isolation = "stall"`.
    pub waits: bool,
    /// Its instances have an address.
    pub address: bool,
    /// Its settings.
    pub settings: &'static [Setting],
}

/// A setting that each instance must have.
pub const fn must(key: &'static str, example: &'static str, doc: &'static str) -> Setting {
    Setting { key, doc, example, required: true, file_only: false }
}

/// A setting that an instance may have.
pub const fn may(key: &'static str, example: &'static str, doc: &'static str) -> Setting {
    Setting { key, doc, example, required: false, file_only: false }
}

impl Kind {
    /// The setting that `key` is, wildcards included.
    pub fn setting(&self, key: &str) -> Option<&'static Setting> {
        setting(self.settings, key)
    }
}

/// The one of `settings` that `key` is, wildcards included.
pub(crate) fn setting(settings: &'static [Setting], key: &str) -> Option<&'static Setting> {
    settings.iter().find(|setting| match setting.key.strip_suffix('*') {
        Some(prefix) => key.len() > prefix.len() && key.starts_with(prefix),
        None => setting.key == key,
    })
}

/// A kind of probe.
#[derive(Clone, Copy)]
pub struct ProbeKind {
    /// Its word in configuration.
    pub name: &'static str,
    /// What it does, for `reference.toml`.
    pub doc: &'static str,
    /// The kind of signal that it gives.
    pub signal: Signal,
    /// A target, for `reference.toml`.
    pub target: &'static str,
    /// Its settings.
    pub settings: &'static [Setting],
    /// Every fault of a probe as it is written, but for unknown and missing settings.
    pub check: fn(&Written<'_>) -> Vec<Wrong>,
}

/// A probe as an operator has written it.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// Its target; never empty.
    pub target: &'a str,
    /// Its settings, all of them known.
    pub settings: &'a BTreeMap<String, String>,
}

/// What is wrong with one key of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// `target`, or a setting.
    pub key: &'static str,
    /// What is wrong; without the value where that may be a secret.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Wrong {
    /// `key` is so; do that.
    pub fn new(key: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { key, what: what.into(), remedy: remedy.into() }
    }
}

/// Names are unique in a registry.
impl PartialEq for ProbeKind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ProbeKind {}

impl fmt::Debug for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeKind").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The words that a file may use for what this build can do.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// Kinds of resource, in the order of `reference.toml`.
    pub resources: Vec<&'static Kind>,
    /// Kinds of probe, in the same order.
    pub probes: Vec<&'static ProbeKind>,
}

impl Registry {
    /// The kind of resource of this name.
    pub fn resource(&self, name: &str) -> Option<&'static Kind> {
        self.resources.iter().copied().find(|kind| kind.name == name)
    }

    /// The kind of probe of this name.
    pub fn probe(&self, name: &str) -> Option<&'static ProbeKind> {
        self.probes.iter().copied().find(|kind| kind.name == name)
    }
}
