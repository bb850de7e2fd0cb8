//! What an operator writes: one TOML file that every process of a cluster shares.
//!
//! # Layout
//! - [`schema`](Cluster): the keys, each with its documentation and default; `reference.toml` is
//!   generated from it.
//! - `read`: from text to [`Cluster`], with the place of every key.
//! - `check`: what keys say together: regions, voters, timers, groups, traffic.
//!
//! It knows text, keys and arithmetic. It never knows the core, a socket or a driver: which kinds
//! there are it is told ([`Registry`]), and their settings are opaque here but for their names.

mod check;
mod cost;
mod drill;
mod fault;
mod kinds;
mod read;
mod reference;
mod scalar;
mod schema;
mod section;
mod settings;
mod timing;
mod tls;

pub use check::{host_port, http_url, is_loopback};
pub use cost::Cost;
pub use drill::{Drill, Window, Windows};
pub use fault::{Fault, Faults};
pub use kinds::{Kind, ProbeKind, Registry, Setting, Written, Wrong, may, must};
pub use reference::reference;
pub use scalar::{Decimal, duration};
pub use schema::*;
pub use timing::Timing;
pub use tls::Tls;

use std::path::Path;

/// Greatest size of a configuration file in bytes; a larger one is refused unread.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Parse and check `text`, in the words of `registry`. `file` names it in faults and is not opened.
///
/// # Errors
/// Every fault at once, in the order of the file.
pub fn parse(text: &str, file: &str, registry: &Registry) -> Result<Cluster, Faults> {
    let mut book = fault::Book::new(text, file);
    let mut cluster = read::read(text, registry, &mut book);
    check::check(&cluster, &mut book);
    let resources = cluster.groups.values_mut().flat_map(|group| group.resources.values_mut());
    for resource in resources {
        let kind = resource.kind;
        let for_driver = |key: &str| kind.setting(key).is_none_or(|setting| !setting.file_only);
        for instance in resource.instances.values_mut() {
            instance.settings.retain(|key, _| for_driver(key));
        }
    }
    match book.finish() {
        Some(faults) => Err(faults),
        None => Ok(cluster),
    }
}

/// Read, parse and check a file.
///
/// # Errors
/// Every fault at once; one when the file cannot be read.
pub fn load(path: &Path, registry: &Registry) -> Result<Cluster, Faults> {
    let (text, file) = (read_text(path)?, path.display().to_string());
    parse(&text, &file, registry)
}

/// The text of a configuration file, as `members initialize` and `config apply` send it.
///
/// # Errors
/// One fault, when it is missing, unreadable, too large or not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Faults> {
    let file = path.display().to_string();
    let unreadable = |what: String, remedy: &str| Faults::one(&file, what, remedy);
    let size = std::fs::metadata(path)
        .map_err(|error| unreadable(format!("cannot be read: {error}"), "name an existing file"))?
        .len();
    if size > FILE_BYTES_MAX {
        let what = format!("has {size} bytes, more than {FILE_BYTES_MAX}");
        return Err(unreadable(what, "name a cluster file"));
    }
    let bytes = std::fs::read(path)
        .map_err(|error| unreadable(format!("cannot be read: {error}"), "make it readable"))?;
    String::from_utf8(bytes)
        .map_err(|_| unreadable("is not UTF-8".to_owned(), "save it as UTF-8 text"))
}
