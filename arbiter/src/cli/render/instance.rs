//! Instances of a group, a row each, with what is particular of each. Knows layout, and the names
//! of details that drivers tell; no kind of resource.

use super::{Look, bytes, or_dash, row, span};
use arbiter_proto::v1 as pb;
use serde::Serialize;

/// Details worth a glance, and how each is said, in this order.
const PARTICULARS: &[(&str, &str)] = &[
    ("rejoin", "rejoin: {}"),
    ("late-writes", "late writes: {}"),
    ("replication", "replicates {}"),
    ("all replicas", "replicas {}"),
    ("age", "backup {} old"),
    ("serial", "serial {}"),
    ("standbys", "standbys {}"),
    ("replicas", "standbys {}"),
    ("leads_to", "leads to {}"),
    ("message", "{}"),
    ("error", "{}"),
];
/// What is said of one that nothing fences.
const UNFENCED: &str = "unfenced";
/// An agent that was not heard for so long tells nothing any more, in milliseconds.
const SILENT_MS: u64 = 5_000;
/// The longest that one detail may be here; `--json` has all of it.
const SAID_MAX: usize = 40;

/// One instance, for people and machines.
#[derive(Debug, Default, Serialize)]
pub(super) struct Line {
    instance: String,
    kind: String,
    region: String,
    /// Its condition, one word.
    state: String,
    role: String,
    lag: String,
    what: String,
}

/// A line an instance, region by region.
pub(super) fn lines(group: &pb::GroupStatus) -> Vec<Line> {
    let mut found = Vec::new();
    for region in &group.regions {
        for agent in &region.agents {
            let silent = !agent.connected || agent.reported_ms > SILENT_MS;
            let line = |one| if silent { last_known(agent, one) } else { told(one) };
            found.extend(agent.instances.iter().map(|one| line(one).of(region, one)));
        }
    }
    found
}

impl Line {
    fn of(self, region: &pb::RegionStatus, one: &pb::InstanceStatus) -> Self {
        let (instance, kind) = (one.instance.clone(), or_dash(&one.kind));
        Self { instance, kind, region: region.region.clone(), ..self }
    }
}

fn told(one: &pb::InstanceStatus) -> Line {
    Line {
        state: or_dash(&one.condition),
        role: or_dash(&one.role),
        lag: lag(one),
        what: or_dash(&particular(one)),
        ..Line::default()
    }
}

/// Of what nobody tells any more nothing is claimed, least of all that it is a healthy primary.
fn last_known(agent: &pb::AgentStatus, one: &pb::InstanceStatus) -> Line {
    let dash = || "-".to_owned();
    let was = [one.condition.as_str(), one.role.as_str()].join(" ");
    let last = match one.condition.as_str() {
        "" | "unknown" => String::new(),
        _ => format!("last heard {} ago: {}", span(agent.reported_ms), was.trim_end()),
    };
    let unfenced = (!one.unfenced_since.is_empty()).then_some(UNFENCED);
    let said = unfenced.into_iter().chain(Some(last.as_str()).filter(|last| !last.is_empty()));
    let what = or_dash(&said.collect::<Vec<_>>().join(", "));
    Line { state: "unknown".to_owned(), role: dash(), lag: dash(), what, ..Line::default() }
}

/// They in columns; empty where there are none.
pub(super) fn table(lines: &[Line], look: Look) -> String {
    let head = row(&["INSTANCE", "KIND", "REGION", "STATE", "ROLE", "LAG", "WHAT"]);
    let cells = |line: &Line| {
        let Line { instance, kind, region, state, role, lag, what } = line;
        [instance, kind, region, state, role, lag, what].map(String::clone).to_vec()
    };
    let rows: Vec<_> = std::iter::once(head).chain(lines.iter().map(cells)).collect();
    if lines.is_empty() { String::new() } else { look.columns(&rows) }
}

/// Of a database that follows in bytes, of others as they tell it.
fn lag(one: &pb::InstanceStatus) -> String {
    match one.role.as_str() {
        "primary" => "-".to_owned(),
        "replica" if one.layer == "data" && one.lag_known => {
            format!("{}, {} ago", bytes(one.lag_bytes), span(one.lag_age_ms))
        }
        "replica" if one.layer == "data" => "unknown".to_owned(),
        _ => or_dash(&one.detail.get("lag").map_or(String::new(), |lag| cut(lag))),
    }
}

/// What is particular of it, shortly.
pub(super) fn particular(one: &pb::InstanceStatus) -> String {
    let unfenced = (!one.unfenced_since.is_empty()).then(|| UNFENCED.to_owned());
    let told = PARTICULARS.iter().filter_map(|(key, said)| {
        let text = one.detail.get(*key).filter(|text| !text.is_empty())?;
        Some(said.replace("{}", &cut(text)))
    });
    unfenced.into_iter().chain(told).collect::<Vec<_>>().join(", ")
}

/// The first line, no longer than fits.
fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= SAID_MAX {
        return line.to_owned();
    }
    line.chars().take(SAID_MAX - 1).chain(['…']).collect()
}
