//! `arbiter check`: whether a failover would open now, by command and by itself, and what either
//! would miss. Knows topics and words; judges nothing.

use super::{Look, instance, next_line, row};
use arbiter_proto::v1 as pb;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Topics that say whether a failover opens: by command, and by itself.
const OPENS: [&str; 2] = ["failover", "automatic"];
/// Topics that say what it would miss.
const MISSES: [&str; 2] = ["degraded", "readiness"];

/// Gates that stay closed until somebody changes something here, whatever happens to the region.
const STANDING: [&str; 5] = ["mode", "not-armed", "too-few-signals", "evidence", "unknown-region"];

/// What was found, for machines as it is for people.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Check {
    group: String,
    /// A failover by command would open now.
    failover_opens: bool,
    /// Once the active region were lost, one would open by itself.
    automatic_opens: bool,
    preconditions: Vec<Precondition>,
    /// Each instance, also where nothing is wrong.
    instances: Vec<instance::Line>,
}

#[derive(Debug, Serialize)]
struct Precondition {
    check: String,
    /// `ok`, `closed` (a failover does not open), `fault` (it would miss something) or `note` (a
    /// weakness that nobody can mend here).
    state: &'static str,
    text: String,
    remedy: String,
}

impl Check {
    /// By the gates, and what the status shows of the same group.
    pub(in crate::cli) fn of(found: &pb::Explanation, shown: &pb::GroupStatus) -> Self {
        let of = |topic: &'static str| found.reasons.iter().filter(move |r| r.topic == topic);
        let opens = |topic| {
            let mut gates = of(topic).peekable();
            gates.peek().is_some() && gates.all(|gate| gate.open)
        };
        let mut seen = BTreeSet::new();
        let gates = OPENS.into_iter().flat_map(of);
        let gates = gates.filter(|gate| seen.insert((gate.code.clone(), gate.text.clone())));
        let gates = gates.map(|gate| one(gate, if gate.open { "ok" } else { "closed" }));
        let mut preconditions: Vec<Precondition> = gates.collect();
        let missing = MISSES.into_iter().flat_map(of);
        let missing = missing.filter(|reason| !reason.open || reason.topic == MISSES[1]);
        preconditions.extend(missing.map(|reason| one(reason, missed(reason))));
        Self {
            group: found.group.clone(),
            failover_opens: opens(OPENS[0]),
            automatic_opens: opens(OPENS[1]),
            preconditions,
            instances: instance::lines(shown),
        }
    }

    /// A failover would open, and miss nothing.
    pub(in crate::cli) fn ready(&self) -> bool {
        self.failover_opens && self.preconditions.iter().all(|found| found.state != "fault")
    }
}

/// What a reason of [`MISSES`] is called.
fn missed(reason: &pb::Reason) -> &'static str {
    match (reason.open, reason.code.as_str()) {
        (false, _) => "fault",
        (true, "note") => "note",
        (true, _) => "ok",
    }
}

fn one(reason: &pb::Reason, state: &'static str) -> Precondition {
    Precondition {
        check: reason.code.clone(),
        state,
        text: reason.text.clone(),
        remedy: if reason.open { String::new() } else { reason.next.clone() },
    }
}

pub(in crate::cli) fn check(found: &Check, look: Look) -> String {
    let Check { group, failover_opens, automatic_opens, preconditions, instances } = found;
    let would = |yes: &bool| if *yes { "would open" } else { "would not open" };
    let mut out = format!("{group}: a failover by command {} now", would(failover_opens));
    let faults = preconditions.iter().filter(|found| found.state == "fault").count();
    if faults > 0 {
        let things = if faults == 1 { "thing" } else { "things" };
        let _ = write!(out, ", and would miss {faults} {things}");
    }
    out.push('\n');
    out.push_str(&by_itself(*automatic_opens, preconditions));
    out.push('\n');
    let mut rows = vec![row(&["CHECK", "STATE", "WHAT", "REMEDY"])];
    for found in preconditions {
        rows.push(row(&[&found.check, found.state, &found.text, &found.remedy]));
    }
    out.push_str(&look.columns(&rows));
    out.push('\n');
    if !instances.is_empty() {
        out.push_str(&instance::table(instances, look));
        out.push('\n');
    }
    let remedies = preconditions.iter().map(|found| found.remedy.as_str());
    out + &next_line(remedies.into_iter().find(|remedy| !remedy.is_empty()).unwrap_or_default())
}

/// Whether one opens by itself, and if not, whether that passes.
fn by_itself(opens: bool, preconditions: &[Precondition]) -> String {
    if opens {
        return "once the active region is lost, one opens by itself\n".to_owned();
    }
    let closed = preconditions.iter().filter(|found| found.state == "closed");
    let stands = |found: &&Precondition| STANDING.contains(&found.check.as_str());
    let standing: Vec<&str> = closed.clone().filter(stands).map(|f| f.text.as_str()).collect();
    if standing.is_empty() {
        let now: Vec<&str> = closed.map(|found| found.text.as_str()).collect();
        return format!("none would open by itself now: {}\n", now.join("; "));
    }
    format!("automatic can never happen here, because {}\n", standing.join("; "))
}
