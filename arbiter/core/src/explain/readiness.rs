//! What a failover would miss: what drivers say is missing, and where the two sides differ. And
//! what is weaker than it could be. It holds up no plan.

use super::fault::Fault;
use super::reason;
use crate::{
    Control, FENCE_FAULT, FENCE_PROVEN_MS, Fact, Instance, InstanceId, NOTE, PARITY, Reason, Topic,
    decide::{Context, compared},
    external,
};
use std::time::Duration;

/// A proof older than this is none.
const FENCE_PROVEN_MAX: Duration = Duration::from_secs(3600);

pub(super) fn readiness(context: &Context) -> Vec<Reason> {
    let instances = context.spec.instances.keys();
    let facts = instances.filter_map(|id| Some((id, context.live_fact(id)?)));
    let faults = facts.clone().flat_map(|(id, fact)| fact.faults.iter().map(move |why| (id, why)));
    let faults =
        faults.map(|(id, why)| Fault::Resource.told(context, &id.0, format!("{id}: {why}")));
    let notes = facts.filter_map(|(id, fact)| Some((id, fact.detail.get(NOTE)?)));
    let notes = notes.map(|(id, what)| note(format!("{id}: {what}")));
    let found = faults.chain(unlike(context)).chain(comparisons(context));
    found.chain(fences(context)).chain(notes).collect()
}

/// Nothing is missing, but somebody who decides should know it.
fn note(text: String) -> Reason {
    reason(Topic::Readiness, "note", true, text, String::new())
}

/// Whether each fence was proven lately, by a rehearsal beside it: those of instances, where what
/// holds processes is armed, and those from outside, by each agent that may be ordered to run one.
fn fences(context: &Context) -> Vec<Reason> {
    let armed = |i: &Instance| context.state.arming(&i.agent, context.id).is_some();
    let own = context.spec.instances.iter();
    let own = own.filter(|(_, i)| i.control == Control::Api || i.needs_evidence() && armed(i));
    let own =
        own.filter_map(|(id, _)| proven(context, id.as_str(), id.as_str(), context.live_fact(id)?));
    let outside = external::beside(context).into_iter();
    let outside = outside.filter_map(|(region, agent, fact)| {
        proven(context, region.0.as_str(), &format!("{region} from outside, by {agent},"), fact)
    });
    own.chain(outside).collect()
}

/// `whose` is what the remedy names, `of` what the sentence does.
fn proven(context: &Context, whose: &str, of: &str, fact: &Fact) -> Option<Reason> {
    let age = fact.detail.get(FENCE_PROVEN_MS).and_then(|text| text.parse().ok());
    let age = age.map(Duration::from_millis);
    let last = match age {
        None => "never".to_owned(),
        Some(age) if age < Duration::from_secs(60) => format!("{} s ago", age.as_secs()),
        Some(age) => format!("{} min ago", age.as_secs() / 60),
    };
    if let Some(why) = fact.detail.get(FENCE_FAULT) {
        let text = format!("the fence of {of} could not be proven: {why}; last proven {last}");
        return Some(Fault::Fence.told(context, whose, text));
    }
    // None: it was just started, or nothing of it runs.
    let age = age?;
    let text = format!("the fence of {of} was last proven {last}");
    if age > FENCE_PROVEN_MAX {
        return Some(Fault::FenceOld.told(context, whose, text));
    }
    Some(reason(Topic::Readiness, "fence", true, text, String::new()))
}

/// What came of comparing what instances hold with what their primaries do.
fn comparisons(context: &Context) -> Vec<Reason> {
    let found = context.spec.instances.keys().flat_map(|id| compared::of(context, id));
    let found = found.map(|one| {
        let next = if one.alike { "" } else { compared::REMEDY };
        reason(Topic::Readiness, "checksum", one.alike, one.text, next.to_owned())
    });
    found.collect()
}

/// Where an instance is not as the primary of its resource.
fn unlike(context: &Context) -> Vec<Reason> {
    let mut found = Vec::new();
    for (id, instance) in &context.spec.instances {
        let Some(primary) = reference(context, instance) else { continue };
        let both = context.live_fact(primary).zip(context.live_fact(id));
        if let Some((there, here)) = both.filter(|_| primary != id) {
            found.extend(differences(context, (primary, there), (id, here)));
        }
    }
    found
}

/// The primary of its resource; of what has none, what stands in the active region.
fn reference<'a>(context: &Context<'a>, instance: &Instance) -> Option<&'a InstanceId> {
    let active = context.group.active();
    let there = |i: &Instance| i.resource == instance.resource && Some(&i.region) == active;
    let mut others = context.spec.instances.iter().filter(|(_, i)| there(i)).map(|(id, _)| id);
    context.group.primaries.get(&instance.resource).or_else(|| others.next())
}

/// What either tells and both must have alike. What only one can tell is not compared: the other
/// may not run.
fn differences(
    context: &Context,
    (primary, there): (&InstanceId, &Fact),
    (id, here): (&InstanceId, &Fact),
) -> Vec<Reason> {
    let parity = there.detail.iter().filter_map(|(key, wanted)| {
        let name = key.strip_prefix(PARITY)?;
        let own = here.detail.get(key).filter(|own| *own != wanted)?;
        let text = format!("{id}: {name} is {own:?}, and on {primary} {wanted:?}");
        Some(Fault::Parity.told(context, &format!("{name} of {id} and {primary}"), text))
    });
    parity.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mode;
    use crate::testing::{World, group};

    #[test]
    fn a_fence_is_proven_until_it_is_old_or_a_rehearsal_failed() {
        let world = World::in_mode(Mode::Manual);
        let id = group();
        let context = Context::new(&world.state, &world.view, world.now, &id).unwrap();
        let said = |proven: &str, fault: &str| {
            let told = [(FENCE_PROVEN_MS, proven), (FENCE_FAULT, fault)];
            let told = told.into_iter().filter(|(_, text)| !text.is_empty());
            let detail = told.map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
            let fact = Fact { detail, ..Fact::default() };
            super::proven(&context, "db", "db", &fact).map(|reason| (reason.open, reason.text))
        };
        assert_eq!(said("", ""), None);
        let recent = "the fence of db was last proven 3 min ago".to_owned();
        assert_eq!(said("180000", ""), Some((true, recent)));
        assert!(!said("3600001", "").unwrap().0);
        let (open, text) = said("180000", "process 7 is not held").unwrap();
        assert!(!open && text.contains("process 7") && text.ends_with("last proven 3 min ago"));
        assert!(said("", "no cgroup").unwrap().1.ends_with("last proven never"));
    }
}
