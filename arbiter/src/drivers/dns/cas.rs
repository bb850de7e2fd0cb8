//! Compare-and-swap over traffic records: what was read, what is wanted, what may be written. Pure.
//!
//! Knows RRsets as text and the token among them. Never knows a server, a signature or a clock.

use super::settings::{RecordKind, Settings, Slot};
use arbiter_core::{RegionId, Terms, Token, TrafficFact, zone_name};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The records of one name and type. Values are in the authority's own text, so that they can be
/// given back to it exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RrSet {
    /// Time to live in seconds.
    pub ttl: u32,
    /// Each record's data as text.
    pub values: BTreeSet<String>,
}

impl RrSet {
    /// One record.
    pub fn one(ttl: u32, value: impl Into<String>) -> Self {
        Self { ttl, values: BTreeSet::from([value.into()]) }
    }

    /// The values with one spelling for one meaning, to be compared; never to be given back.
    fn canonical(&self, kind: RecordKind) -> BTreeSet<String> {
        self.values.iter().map(|value| kind.canonical(value)).collect()
    }
}

impl fmt::Display for RrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        write!(f, "{} (ttl {})", values.join(", "), self.ttl)
    }
}

/// What one read of the authority found. Absent records are `None`: absence is compared as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The TXT records at the token's name.
    pub token: Option<RrSet>,
    /// The traffic records, one entry for each slot of the settings.
    pub records: BTreeMap<Slot, Option<RrSet>>,
    /// Whatever makes a request that does not raise a token unrepeatable; see [`Change::guarded`].
    pub guard: Option<RrSet>,
    /// Records that no change of ours could live beside, each a sentence with the remedy.
    pub in_the_way: Vec<String>,
}

/// One atomic change, conditioned on everything in `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What must still be so.
    pub from: Seen,
    /// The TXT records to leave.
    pub token: RrSet,
    /// The traffic records to leave; `None` deletes.
    pub records: BTreeMap<Slot, Option<RrSet>>,
    /// The change does not raise an existing token, so the token alone would not refuse a replay
    /// of it: where the traffic records come back to what they were and the TXT is deleted by
    /// hand, its conditions hold again. It must require `from.guard` too, and use it up. // I7
    pub guarded: bool,
    /// What it overwrites that no region of ours has, in words; empty when nothing.
    pub overwrites: String,
}

/// What is to be done about what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is as wanted.
    Done,
    /// Make this change.
    Swap(Box<Change>),
    /// Not without somebody's doing; a sentence with the remedy.
    Refused(String),
    /// A higher token stands there.
    Stale(Token),
}

/// What stands at the token's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    Absent,
    /// A token.
    Token(Token),
    /// Something that the arbiter did not write.
    Foreign(String),
}

impl Seen {
    /// Read the token.
    pub fn held(&self) -> Held {
        let Some(set) = &self.token else { return Held::Absent };
        let mut values = set.values.iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Held::Foreign(set.to_string());
        };
        let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match inner.and_then(|text| text.parse().ok()) {
            Some(token) => Held::Token(token),
            None => Held::Foreign(set.to_string()),
        }
    }

    /// The region whose values stand there, whatever their TTL.
    pub fn names(&self, settings: &Settings) -> Option<RegionId> {
        let values = |slot: &Slot, set: Option<&RrSet>| set.map(|set| set.canonical(slot.kind));
        let mut regions = settings.regions();
        let named = regions.find(|region| {
            settings.records(region).is_some_and(|records| {
                let mut slots = records.iter();
                slots.all(|(slot, set)| values(slot, set.as_ref()) == values(slot, self.at(slot)))
            })
        });
        named.cloned()
    }

    fn at(&self, slot: &Slot) -> Option<&RrSet> {
        self.records.get(slot).and_then(Option::as_ref)
    }

    /// Whether `set` stands at `slot`, TTL included.
    fn holds(&self, slot: &Slot, set: Option<&RrSet>) -> bool {
        match (self.at(slot), set) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                a.ttl == b.ttl && a.canonical(slot.kind) == b.canonical(slot.kind)
            }
            _ => false,
        }
    }

    /// In words, how the records differ from those of `region`, or from those of any region where
    /// none is given; empty when they do not.
    pub fn drift(&self, settings: &Settings, region: Option<&RegionId>) -> String {
        let Some(region) = region else {
            let found: Vec<String> = self
                .records
                .iter()
                .map(|(slot, set)| format!("{slot} is {}", text(set.as_ref())))
                .collect();
            return format!("{}, which is no region's", found.join("; "));
        };
        let Some(wanted) = settings.records(region) else {
            return format!("no value.{region} is configured");
        };
        let differing: Vec<String> = wanted
            .iter()
            .filter(|(slot, set)| !self.holds(slot, set.as_ref()))
            .map(|(slot, set)| {
                format!("{slot} is {}, not {}", text(self.at(slot)), text(set.as_ref()))
            })
            .collect();
        differing.join("; ")
    }

    /// What is reported. `ordered`: the region that this process last had to name, and at which
    /// token.
    pub fn fact(&self, settings: &Settings, ordered: Option<&(Token, RegionId)>) -> TrafficFact {
        let names = self.names(settings);
        let held = self.held();
        let token = match &held {
            Held::Token(token) => Some(*token),
            Held::Absent | Held::Foreign(_) => None,
        };
        let by_us = ordered.filter(|(at, _)| token == Some(*at)).map(|(_, region)| region);
        let mut drift = self.drift(settings, by_us.or(names.as_ref()));
        if let Held::Foreign(found) = held {
            let place = settings.token_place();
            drift = join(format!("{place} is {found}, which is no token"), &drift);
        }
        for sentence in &self.in_the_way {
            drift = join(sentence.clone(), &drift);
        }
        // What was written here is gone, or older than what was written.
        if let Some((at, _)) = ordered.filter(|(at, _)| token.is_none_or(|held| held < *at)) {
            let place = settings.token_place();
            let held = token.map_or_else(|| "absent".to_owned(), |held| held.to_string());
            drift = join(format!("{place} is {held}, not {at}"), &drift);
        } else if self.token.is_none() && names.is_none() && self.in_the_way.is_empty() {
            // Before the first write, records that name nobody are nobody's drift.
            drift.clear();
        }
        TrafficFact { token, names, drift }
    }
}

fn join(first: String, rest: &str) -> String {
    if rest.is_empty() { first } else { format!("{first}; {rest}") }
}

fn text(set: Option<&RrSet>) -> String {
    set.map_or_else(|| "absent".to_owned(), RrSet::to_string)
}

/// Judge what was read against the order to name `region` at `token`. // I7
pub fn judge(
    settings: &Settings,
    seen: &Seen,
    region: &RegionId,
    token: Token,
    terms: &Terms,
) -> Verdict {
    let held = seen.held();
    if let Held::Token(found) = held
        && found > token
    {
        return Verdict::Stale(found);
    }
    let Some(records) = settings.records(region) else {
        return Verdict::Refused(format!(
            "region {region} has no traffic values; set value.{region} in the resource's settings"
        ));
    };
    if let Some(sentence) = seen.in_the_way.first() {
        return Verdict::Refused(sentence.clone());
    }
    let guarded = match held {
        Held::Token(found) if found < token => false,
        Held::Token(_) if records.iter().all(|(slot, set)| seen.holds(slot, set.as_ref())) => {
            return Verdict::Done;
        }
        Held::Token(_) if terms.repair || terms.adopt => true,
        Held::Token(_) => return Verdict::Refused(drifted(settings, seen, region, token)),
        Held::Absent if terms.may_create || terms.adopt => true,
        Held::Absent => return Verdict::Refused(lost(settings, "is gone".to_owned())),
        Held::Foreign(_) if terms.adopt => true,
        Held::Foreign(found) => {
            return Verdict::Refused(lost(settings, format!("is {found}, which is no token")));
        }
    };
    let overwrites = match seen.names(settings) {
        Some(_) => String::new(),
        None if seen.records.values().all(Option::is_none) => String::new(),
        None => seen.drift(settings, None),
    };
    Verdict::Swap(Box::new(Change {
        from: seen.clone(),
        token: RrSet::one(settings.ttl, format!("\"{token}\"")),
        records,
        guarded,
        overwrites,
    }))
}

fn drifted(settings: &Settings, seen: &Seen, region: &RegionId, token: Token) -> String {
    format!(
        "drift: somebody else changed the records of token {token}: {}; put them back, or set \
         on_drift = \"repair\", or take over with `arbiter traffic adopt {} --group {}`",
        seen.drift(settings, Some(region)),
        zone_name(&settings.zone),
        settings.group
    )
}

fn lost(settings: &Settings, how: String) -> String {
    format!(
        "{} {how}, though it was written before; see who changed it, then run `arbiter traffic \
         adopt {} --group {}`",
        settings.token_place(),
        zone_name(&settings.zone),
        settings.group
    )
}

/// The guard that follows `guard`, where the guard is a TXT record of our own: it counts.
pub fn next_guard(guard: Option<&RrSet>, ttl: u32) -> RrSet {
    let count = |text: &String| text.trim_matches('"').parse::<u64>().ok();
    let last = guard.and_then(|set| set.values.iter().filter_map(count).max()).unwrap_or(0);
    RrSet::one(ttl, format!("\"{}\"", last.saturating_add(1)))
}
