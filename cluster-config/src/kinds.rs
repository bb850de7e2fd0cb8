//! What a kind of resource is to the file: its name, what it implies, and its settings. Knows the
//! shape; never a kind in particular. Whoever has the drivers hands in the kinds.

use crate::schema::{EvidenceKind, Fence};

/// One setting of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key. One that ends with `*` stands for any key that begins so.
    pub key: &'static str,
    /// What it means, for `reference.toml`.
    pub doc: &'static str,
    /// An example, as text.
    pub example: &'static str,
    /// Each instance must have it, of its own or from the resource.
    pub required: bool,
    /// Only this crate's checks read it; no driver knows it.
    pub file_only: bool,
}

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its word in configuration.
    pub name: &'static str,
    /// `data`, `workload` or `traffic`, moved in this order, or `watched`: only looked at.
    pub layer: &'static str,
    /// `owned`: agent and deadman hold its processes; `delegated`: they hold the manager that
    /// does; `api`: neither.
    pub control: &'static str,
    /// Every kind of evidence of its fence that its driver can ever give.
    pub evidence: &'static [EvidenceKind],
    /// Where the file does not say it.
    pub fence: Fence,
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
        self.settings.iter().find(|setting| match setting.key.strip_suffix('*') {
            Some(prefix) => key.len() > prefix.len() && key.starts_with(prefix),
            None => setting.key == key,
        })
    }
}

/// The words that a file may use for what this build can do.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// Kinds of resource, in the order of `reference.toml`.
    pub resources: Vec<&'static Kind>,
}

impl Registry {
    /// The kind of resource of this name.
    pub fn resource(&self, name: &str) -> Option<&'static Kind> {
        self.resources.iter().copied().find(|kind| kind.name == name)
    }
}
