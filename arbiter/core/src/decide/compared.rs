//! Whether what an instance holds is what its primary holds, as far as drivers tell. Knows two
//! Facts; holds up nothing by itself.

use super::context::Context;
use crate::{CHECKSUM, COMPARED, DIFFERS, Fact, InstanceId, Layer, RegionId};

/// What to do about what differs.
pub(crate) const REMEDY: &str = "see which side is right, then have the other one copied anew";

/// What came of one comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    /// Nothing differs.
    pub alike: bool,
    /// One sentence, with the name that the user gave it.
    pub text: String,
}

/// Of each resource, the furthest instance in `region` with the primary.
pub(crate) fn in_region(context: &Context, region: &RegionId) -> Vec<Compared> {
    let here = context.spec.instances_of(region, Layer::Data);
    let furthest = |resource| context.furthest(resource, region).map(|(id, _)| id);
    let chosen = here.filter(|(id, i)| furthest(&i.resource) == Some(id));
    chosen.flat_map(|(id, _)| of(context, id)).collect()
}

/// Of `id` with the primary of its resource. What only one of them tells is not compared.
pub(crate) fn of(context: &Context, id: &InstanceId) -> Vec<Compared> {
    let Some(instance) = context.spec.instances.get(id) else { return Vec::new() };
    let primary = context.primary(&instance.resource);
    let Some((primary, here)) = primary.filter(|p| *p != id).zip(context.live_fact(id)) else {
        return Vec::new();
    };
    let there = context.live_fact(primary);
    let mut found = there.map_or_else(Vec::new, |there| sums(id, here, primary, there));
    found.extend(told(id, here));
    found
}

/// Sums that both sides made by themselves.
fn sums(id: &InstanceId, here: &Fact, primary: &InstanceId, there: &Fact) -> Vec<Compared> {
    let own = here.detail.iter().filter(|(key, _)| key.starts_with(CHECKSUM));
    let found = own.filter_map(|(name, own)| {
        let alike = same(own, there.detail.get(name)?)?;
        let word = if alike { "is" } else { "is not" };
        Some(Compared { alike, text: format!("{name} of {id} {word} as on {primary}") })
    });
    found.collect()
}

/// What the instance itself compared with the one that it follows.
fn told(id: &InstanceId, here: &Fact) -> Vec<Compared> {
    let own =
        here.detail.iter().filter_map(|(key, said)| Some((key.strip_prefix(COMPARED)?, said)));
    let found = own.map(|(name, said)| {
        let differs = said.strip_prefix(DIFFERS);
        let text = format!("{CHECKSUM}{name} of {id}: {}", differs.unwrap_or(said));
        Compared { alike: differs.is_none(), text }
    });
    found.collect()
}

/// Whether two sums are the same; none where they are of two times.
fn same(own: &str, other: &str) -> Option<bool> {
    let time = |text: &str| text.split_once(' ').map(|(time, _)| time.to_owned());
    (time(own) == time(other)).then(|| own == other)
}
