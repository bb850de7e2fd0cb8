//! Settings of a traffic resource. Knows names, record types and values; never a server.

use super::cas::RrSet;
use crate::drivers::DriverError;
use arbiter_core::{GroupId, GroupSpec, Instance, InstanceId, RegionId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// TTL where none is set, in seconds: clients follow a switch within it.
pub(super) const TTL_DEFAULT: u32 = 5;
/// Longest TTL accepted, in seconds: one day.
const TTL_MAX: u32 = 86_400;
/// Names and values that fit one atomic change of every authority with room to spare.
const NAMES_MAX: usize = 20;
/// See [`NAMES_MAX`].
const VALUES_MAX: usize = 20;
/// Longest name of a tag.
const TAG_CHARS_MAX: usize = 512;
/// Characters that no name of a tag has.
const TAG_WITHOUT: [char; 7] = ['<', '>', '%', '&', '\\', '?', '/'];
/// Longest domain name in text.
const NAME_BYTES_MAX: usize = 253;

/// Type of a traffic record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Another name.
    Cname,
}

impl RecordKind {
    /// The word in zone files and settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
        }
    }

    /// A value of this type as it is written here; none when it is no such value.
    fn parse(self, text: &str) -> Option<String> {
        match self {
            Self::A => text.parse::<Ipv4Addr>().ok().map(|address| address.to_string()),
            Self::Aaaa => text.parse::<Ipv6Addr>().ok().map(|address| address.to_string()),
            Self::Cname => domain(text).ok(),
        }
    }

    /// One spelling for one meaning.
    pub fn canonical(self, text: &str) -> String {
        self.parse(text).unwrap_or_else(|| text.to_owned())
    }
}

/// A name and type that the arbiter writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Fully qualified, lower case, with the dot at the end.
    pub name: String,
    /// Its type.
    pub kind: RecordKind,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind.as_str())
    }
}

/// What is written where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The group it serves.
    pub group: GroupId,
    /// The zone, as every name fully qualified, lower case, with the dot at the end; of a kind
    /// without zones the name that State keeps instead.
    pub zone: String,
    /// Where the token stands: one TXT record per (group, zone), or one tag.
    pub token_name: String,
    /// It stands in a tag, not in a TXT record.
    pub tagged: bool,
    /// TTL of everything written, in seconds.
    pub ttl: u32,
    names: Vec<String>,
    kinds: Vec<RecordKind>,
    values: BTreeMap<RegionId, BTreeMap<RecordKind, BTreeSet<String>>>,
}

impl Settings {
    /// Regions that have values.
    pub fn regions(&self) -> impl Iterator<Item = &RegionId> {
        self.values.keys()
    }

    /// Every name and type that the arbiter writes.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.names
            .iter()
            .flat_map(|name| self.kinds.iter().map(|kind| Slot { name: name.clone(), kind: *kind }))
    }

    /// The records that name `region`; none when it has no values.
    pub fn records(&self, region: &RegionId) -> Option<BTreeMap<Slot, Option<RrSet>>> {
        let values = self.values.get(region)?;
        let set = |slot: &Slot| {
            let values = values.get(&slot.kind)?.clone();
            Some(RrSet { ttl: self.ttl, values })
        };
        Some(self.slots().map(|slot| (slot.clone(), set(&slot))).collect())
    }

    /// Where the token stands, for people.
    pub fn token_place(&self) -> String {
        let name = &self.token_name;
        if self.tagged { format!("the tag {name}") } else { format!("{name} TXT") }
    }

    /// Where the guard stands, for authorities that have none of their own.
    pub fn guard_name(&self) -> String {
        format!("_guard.{}", self.token_name)
    }
}

/// The settings of one instance, taken out one by one.
pub struct Reader<'a> {
    id: &'a InstanceId,
    left: BTreeMap<&'a str, &'a str>,
}

impl<'a> Reader<'a> {
    /// Read the settings of `instance`.
    pub fn new(id: &'a InstanceId, instance: &'a Instance) -> Self {
        let left = instance.settings.iter().map(|(k, v)| (k.as_str(), v.trim())).collect();
        Self { id, left }
    }

    /// A setting that may be missing; empty counts as missing.
    pub fn optional(&mut self, key: &str) -> Option<&'a str> {
        self.left.remove(key).filter(|value| !value.is_empty())
    }

    /// A setting that must be there.
    ///
    /// # Errors
    /// `Refused`, naming it and `example`.
    pub fn required(&mut self, key: &str, example: &str) -> Result<&'a str, DriverError> {
        let missing = || self.fault(format!("{key} is missing; set it, such as {example}"));
        self.left.get(key).copied().filter(|v| !v.is_empty()).ok_or_else(missing)?;
        Ok(self.optional(key).unwrap_or_default())
    }

    /// A fault of this instance's settings.
    pub fn fault(&self, text: impl fmt::Display) -> DriverError {
        DriverError::Refused(format!("instance {}: {text}", self.id))
    }

    /// Read what all traffic kinds share.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn common(mut self, group: &GroupId, region: &RegionId) -> Result<Settings, DriverError> {
        let zone = self.required("zone", "\"example.test.\"")?;
        let zone = domain(zone).map_err(|text| self.fault(format!("zone: {text}")))?;
        let names = self.required("name", "\"app.example.test.\"")?;
        let names = self.names(names, &zone)?;
        let kinds = self.optional("record_type").unwrap_or("A");
        let kinds = self.kinds(kinds)?;
        let ttl = self.ttl()?;
        let token_name = match self.optional("token_name") {
            Some(name) => domain(name).map_err(|text| self.fault(format!("token_name: {text}")))?,
            None => crate::dns_client::token_name(group, &zone),
        };
        if !within(&token_name, &zone) || token_name.len() > NAME_BYTES_MAX {
            return Err(self.fault(format!("token_name {token_name} is not a name in {zone}")));
        }
        if kinds == [RecordKind::Cname] && names.contains(&zone) {
            return Err(self.fault(format!("name {zone} holds SOA and NS; no CNAME lives there")));
        }
        if names.contains(&token_name) {
            return Err(self.fault(format!("token_name {token_name} is one of name; set another")));
        }
        let values = self.values(&kinds)?;
        if !values.contains_key(region) {
            return Err(self.fault(format!("value.{region} is missing; its region needs one")));
        }
        let tagged = false;
        Ok(Settings { group: group.clone(), zone, token_name, tagged, ttl, names, kinds, values })
    }

    /// Read them for a kind without zones, which leads one name to one target of each region and
    /// keeps the token in a tag.
    ///
    /// # Errors
    /// `Refused`, naming the setting and the remedy.
    pub fn zoneless(
        mut self,
        group: &GroupId,
        instance: &Instance,
    ) -> Result<Settings, DriverError> {
        let name = self.required("name", "\"shop.trafficmanager.net.\"")?;
        let name = domain(name).map_err(|text| self.fault(format!("name: {text}")))?;
        let ttl = self.ttl()?;
        let token_name = match self.optional("token_name") {
            Some(name) => name.to_owned(),
            None => format!("arbiter-token-{group}"),
        };
        if token_name.len() > TAG_CHARS_MAX || token_name.contains(TAG_WITHOUT) {
            return Err(self.fault(format!(
                "token_name {token_name:?}: a tag has at most {TAG_CHARS_MAX} characters, and none \
                 of < > % & \\ ? /"
            )));
        }
        let kinds = vec![RecordKind::Cname];
        let values = self.values(&kinds)?;
        let region = &instance.region;
        if !values.contains_key(region) {
            return Err(self.fault(format!("value.{region} is missing; its region needs one")));
        }
        Ok(Settings {
            group: group.clone(),
            zone: GroupSpec::zone(instance),
            token_name,
            tagged: true,
            ttl,
            names: vec![name],
            kinds,
            values,
        })
    }

    fn names(&self, text: &str, zone: &str) -> Result<Vec<String>, DriverError> {
        let mut names = Vec::new();
        for part in parts(text) {
            let name = domain(part).map_err(|text| self.fault(format!("name: {text}")))?;
            if !within(&name, zone) {
                return Err(self.fault(format!(
                    "name {name} is not in zone {zone}; one change reaches one zone only"
                )));
            }
            names.push(name);
        }
        names.sort();
        names.dedup();
        if names.is_empty() || names.len() > NAMES_MAX {
            return Err(self.fault(format!("name: give 1 to {NAMES_MAX} names")));
        }
        Ok(names)
    }

    fn kinds(&self, text: &str) -> Result<Vec<RecordKind>, DriverError> {
        let mut kinds = Vec::new();
        for part in parts(text) {
            kinds.push(match part.to_ascii_uppercase().as_str() {
                "A" => RecordKind::A,
                "AAAA" => RecordKind::Aaaa,
                "CNAME" => RecordKind::Cname,
                _ => {
                    return Err(self.fault(format!(
                        "record_type {part:?} is unknown; known are A, AAAA and CNAME"
                    )));
                }
            });
        }
        kinds.sort();
        kinds.dedup();
        if kinds.is_empty() || (kinds.len() > 1 && kinds.contains(&RecordKind::Cname)) {
            return Err(self.fault("record_type: give A, AAAA, \"A, AAAA\", or CNAME alone"));
        }
        Ok(kinds)
    }

    fn ttl(&mut self) -> Result<u32, DriverError> {
        let Some(text) = self.optional("ttl") else { return Ok(TTL_DEFAULT) };
        match text.parse() {
            Ok(ttl) if ttl <= TTL_MAX => Ok(ttl),
            _ => Err(self.fault(format!("ttl {text:?}: give seconds, 0 to {TTL_MAX}"))),
        }
    }

    fn values(
        &mut self,
        kinds: &[RecordKind],
    ) -> Result<BTreeMap<RegionId, BTreeMap<RecordKind, BTreeSet<String>>>, DriverError> {
        let mut regions: BTreeMap<RegionId, BTreeMap<_, BTreeSet<String>>> = BTreeMap::new();
        let keys: Vec<&str> =
            self.left.keys().copied().filter(|key| key.starts_with("value.")).collect();
        for key in keys {
            let mut values: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
            let text = self.left.remove(key).unwrap_or_default();
            for part in parts(text) {
                let (kind, value) =
                    value(part, kinds).map_err(|text| self.fault(format!("{key}: {text}")))?;
                values.entry(kind).or_default().insert(value);
            }
            let count: usize = values.values().map(BTreeSet::len).sum();
            if count == 0 || count > VALUES_MAX {
                return Err(self.fault(format!("{key}: give 1 to {VALUES_MAX} values")));
            }
            if values.get(&RecordKind::Cname).is_some_and(|names| names.len() > 1) {
                return Err(self.fault(format!("{key}: a CNAME has one value")));
            }
            if let Some((other, _)) = regions.iter().find(|(_, others)| **others == values) {
                return Err(self.fault(format!(
                    "{key} equals value.{other}: nobody could tell which region is named"
                )));
            }
            regions.insert(RegionId::from(&key["value.".len()..]), values);
        }
        Ok(regions)
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn within(name: &str, zone: &str) -> bool {
    name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}

fn value(text: &str, kinds: &[RecordKind]) -> Result<(RecordKind, String), String> {
    for kind in kinds {
        if let Some(value) = kind.parse(text) {
            return Ok((*kind, value));
        }
    }
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    Err(format!("{text:?} is no value of a record of type {}", kinds.join(" or ")))
}

/// A domain name, fully qualified, in lower case. Only letters, digits, `-` and `_`: every
/// authority writes these alike, so that texts can be compared.
fn domain(text: &str) -> Result<String, String> {
    let bare = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let plain = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if bare.len() > NAME_BYTES_MAX || !bare.split('.').all(plain) {
        return Err(format!("{text:?} is no domain name"));
    }
    Ok(format!("{bare}."))
}
