//! What a command asks for, in the words of the audit log. Knows every command that people ask;
//! what only the leader proposes leaves no record.

use crate::{ClusterSpec, Command, GroupId, Mode, OpenPlan, PlanKind, State, apply::mode_word};

/// See [`crate::AuditRecord`].
pub(crate) struct Described {
    pub what: String,
    pub group: Option<GroupId>,
    pub detail: String,
}

/// Of a command. `before`: State as the asker found it.
pub(crate) fn describe(before: &State, command: &Command) -> Described {
    use Command::*;
    let of = |what: &str, group: Option<&GroupId>, detail: String| Described {
        what: what.to_owned(),
        group: group.cloned(),
        detail,
    };
    match command {
        Initialize { cluster_id, spec } => {
            let detail = format!("cluster {cluster_id}, {} groups", spec.groups.len());
            of("initialize", None, detail)
        }
        ApplyPolicy { spec } => of("apply-policy", None, changes(&before.spec, spec)),
        RaiseVersion { version } => of("raise-version", None, format!("to {version}")),
        Arm { group, armed: true } => of("arm", Some(group), String::new()),
        Arm { group, armed: false } => of("disarm", Some(group), String::new()),
        SetMode { group, mode, expected_epoch } => {
            let detail =
                format!("{}, epoch {expected_epoch}", change_of_mode(before, group, *mode));
            of("set-mode", Some(group), detail)
        }
        SetModeFor { group, mode, lasts, expected_epoch } => {
            let change = change_of_mode(before, group, *mode);
            let detail = format!("{change} for {lasts:?}, epoch {expected_epoch}");
            of("set-mode", Some(group), detail)
        }
        Maintain { group, lease, lasts, expected_epoch } => {
            let detail = format!("a lease of {lease:?} for {lasts:?}, epoch {expected_epoch}");
            of("maintain", Some(group), detail)
        }
        EndMaintenance { group, .. } => of("end-maintenance", Some(group), String::new()),
        AskApproval { action } => of("ask-approval", None, action.clone()),
        Approve { id } => {
            let action = before.approvals.get(id).map_or("", |known| &known.action);
            of("approve", None, format!("{id} {action}").trim_end().to_owned())
        }
        UseApproval { action } => of("use-approval", None, action.clone()),
        NoteCall { call, group, detail, .. } => of(call, group.as_ref(), detail.clone()),
        AdoptTraffic { group, zone, expected_epoch } => {
            of("adopt-traffic", Some(group), format!("zone {zone}, epoch {expected_epoch}"))
        }
        RunDrill { group, kind, accept_loss, expected_epoch } => {
            let loss = if *accept_loss { ", accepts loss" } else { "" };
            of("run-drill", Some(group), format!("{}{loss}, epoch {expected_epoch}", kind.as_str()))
        }
        AbortDrill { group, drill, .. } => of("abort-drill", Some(group), format!("drill {drill}")),
        of_a_plan => plan(of_a_plan),
    }
}

fn plan(command: &Command) -> Described {
    let (what, group, detail) = match command {
        Command::OpenPlan(open) => (kind(open), &open.group, opened(open)),
        Command::Supersede { plan, open, .. } => {
            (kind(open), &open.group, format!("{}, supersedes plan {plan}", opened(open)))
        }
        Command::ResumePlan { group, plan, accept_loss, .. } => {
            let loss = if *accept_loss { ", overrides rpo" } else { "" };
            ("resume-plan", group, format!("plan {plan}{loss}"))
        }
        Command::AbortPlan { group, plan, .. } => ("abort-plan", group, format!("plan {plan}")),
        Command::Attest { group, plan, instance, token, .. } => {
            ("attest-fenced", group, format!("{instance} for plan {plan}, token {token}"))
        }
        // Nobody but the leader proposes it; if somebody did, that alone is worth a record.
        _ => return Described { what: "other".to_owned(), group: None, detail: String::new() },
    };
    Described { what: what.to_owned(), group: Some(group.clone()), detail }
}

fn kind(open: &OpenPlan) -> &'static str {
    match open.kind {
        PlanKind::Switchover => "switchover",
        PlanKind::Failover => "failover",
    }
}

fn opened(open: &OpenPlan) -> String {
    let mut text = format!("to {}, epoch {}", open.target, open.expected_epoch);
    if open.immediate {
        text.push_str(", immediate");
    }
    if open.accept_loss && open.overrides.is_empty() {
        text.push_str(", accepts loss");
    }
    for gate in open.overrides.keys() {
        text.push_str(&format!(", overrides {gate}"));
    }
    text
}

fn change_of_mode(before: &State, group: &GroupId, mode: Mode) -> String {
    let was = before.groups.get(group).map_or("?", |found| mode_word(found.mode));
    format!("{was} to {}", mode_word(mode))
}

/// Which parts of a specification differ.
fn changes(before: &ClusterSpec, after: &ClusterSpec) -> String {
    let mut parts = Vec::new();
    for (name, differ) in [
        ("regions", before.regions != after.regions),
        ("arbiters", before.voters != after.voters),
        ("agents", before.agents != after.agents),
        ("two_person", before.two_person != after.two_person),
    ] {
        parts.extend(differ.then(|| name.to_owned()));
    }
    let groups = before.groups.keys().chain(after.groups.keys());
    let mut groups: Vec<&GroupId> =
        groups.filter(|id| before.groups.get(*id) != after.groups.get(*id)).collect();
    groups.sort_unstable();
    groups.dedup();
    parts.extend(groups.into_iter().map(|id| format!("group {id}")));
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}
