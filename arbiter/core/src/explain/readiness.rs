//! What a failover would miss: what drivers say is missing, and where the two sides differ. And
//! what is weaker than it could be. It holds up no plan.

use super::reason;
use crate::{Fact, InstanceId, NOTE, PARITY, Reason, Topic, decide::Context};

pub(super) fn readiness(context: &Context) -> Vec<Reason> {
    let instances = context.spec.instances.keys();
    let facts = instances.filter_map(|id| Some((id, context.live_fact(id)?)));
    let faults = facts.clone().flat_map(|(id, fact)| fact.faults.iter().map(move |why| (id, why)));
    let faults = faults.map(|(id, why)| fault("resource", format!("{id}: {why}")));
    let notes = facts.filter_map(|(id, fact)| Some((id, fact.detail.get(NOTE)?)));
    let notes = notes.map(|(id, what)| note(format!("{id}: {what}")));
    faults.chain(unlike(context)).chain(notes).collect()
}

/// Nothing is missing, but somebody who decides should know it.
fn note(text: String) -> Reason {
    reason(Topic::Readiness, "note", true, text, String::new())
}

fn fault(code: &str, text: String) -> Reason {
    reason(Topic::Readiness, code, false, text, String::new())
}

/// Where an instance is not as the primary of its resource.
fn unlike(context: &Context) -> Vec<Reason> {
    let mut found = Vec::new();
    for (id, instance) in &context.spec.instances {
        let Some(primary) = context.group.primaries.get(&instance.resource) else { continue };
        let both = context.live_fact(primary).zip(context.live_fact(id));
        if let Some((there, here)) = both.filter(|_| primary != id) {
            found.extend(differences(primary, there, id, here));
        }
    }
    found
}

/// What either tells and both must have alike. What only one can tell is not compared: the other
/// may not run.
fn differences(primary: &InstanceId, there: &Fact, id: &InstanceId, here: &Fact) -> Vec<Reason> {
    let parity = there.detail.iter().filter_map(|(key, wanted)| {
        let name = key.strip_prefix(PARITY)?;
        let own = here.detail.get(key).filter(|own| *own != wanted)?;
        Some(fault("parity", format!("{id}: {name} is {own:?}, and on {primary} {wanted:?}")))
    });
    parity.collect()
}
