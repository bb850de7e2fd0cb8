//! Which leases an answer renews. Knows State and one Report; never when an answer was given (the
//! lease book does).

use crate::{Arming, EvidenceKind, GroupId, GroupReport, Report, State};
use std::collections::BTreeMap;
use std::time::Duration;

/// Which leases an answer to `report` renews, and for how long. The caller holds the critical
/// section of design §5 and writes each into the lease book before it hands over the answer:
/// [`crate::View::answer`] does.
///
/// A Report that shows a lapsed lease is answered too: the agent asks anew, and takes an answer
/// only to a Report that it sent after its fence began.
pub fn grants(state: &State, report: &Report) -> BTreeMap<GroupId, Duration> {
    report
        .groups
        .iter()
        .filter(|(id, shown)| may_renew(state, report, id, shown))
        .filter_map(|(id, _)| Some((id.clone(), lease_of(state, id)?)))
        .collect()
}

/// L as it may be granted now: never longer than State knows that it may be outstanding (I4).
pub(crate) fn lease_of(state: &State, id: &GroupId) -> Option<Duration> {
    let (spec, group) = state.group(id)?;
    Some(group.lease_wanted(spec).min(group.lease_max))
}

/// I1, I4: only the bound life of an agent of the active region, whose lease is not stopped, and
/// which shows the arming of State or more. An unarmed group's lease is a shadow: its deadman only
/// counts what it would have done.
fn may_renew(state: &State, report: &Report, id: &GroupId, shown: &GroupReport) -> bool {
    let Some((spec, group)) = state.group(id) else { return false };
    let ours = report.cluster_id.is_none() || report.cluster_id == state.cluster_id;
    let region = state.spec.agents.get(&report.agent);
    ours && spec.serves(&report.agent)
        && is_bound(state, report)
        && group.active().is_some()
        && group.active() == region
        && group.unsettled.is_none()
        && !group.lease_stopped
        && enforces(shown.arming, state.arming(&report.agent, id))
}

/// The Report comes from the life that may hold leases.
pub(crate) fn is_bound(state: &State, report: &Report) -> bool {
    let binding = state.bindings.get(&report.agent);
    binding.is_some_and(|b| {
        !b.foreign && b.incarnation == report.incarnation && b.boot_id == report.boot_id
    })
}

/// Whether what a Report shows is at least what State knows.
pub(crate) fn enforces(shown: Option<Arming>, known: Option<Arming>) -> bool {
    strength(shown) >= strength(known)
}

fn strength(arming: Option<Arming>) -> Option<EvidenceKind> {
    arming.map(|arming| arming.expiry_counts_as)
}
