//! `arbiter status`: the verdict first, the command to run next last.

use super::{Look, bytes, next_line, or_dash, row, span, wall};
use arbiter_proto::v1 as pb;
use std::fmt::Write;

/// Every group that the status has, one view.
pub(in crate::cli) fn status(status: &pb::Status, look: Look) -> String {
    if status.cluster_id.is_empty() {
        let head = format!("{}: the cluster is not initialized\n", status.node);
        return head + &next_line("arbiter members initialize --config FILE");
    }
    let mut out = String::new();
    let mut next = String::new();
    for (at, group) in status.groups.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        one_group(&mut out, status, group, look);
        if next.is_empty() {
            next.clone_from(&group.next);
        }
    }
    if status.groups.is_empty() {
        let _ = writeln!(out, "{} has no such group", status.cluster_id);
    }
    out.push('\n');
    out + &next_line(&next)
}

/// Without quorum: each arbiter's own view, and who did not answer.
pub(in crate::cli) fn views(heard: &[(String, Result<pb::Status, String>)], look: Look) -> String {
    let answered = heard.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    let newest = answered.clone().map(|view| view.age_ms).min().unwrap_or(0);
    let mut out = format!(
        "{} ({} old): no quorum; {} of {} arbiters answered with views of their own\n\n",
        look.paint("STALE"),
        span(newest),
        answered.count(),
        heard.len(),
    );
    let (views, silent): (Vec<_>, Vec<_>) = heard.iter().partition(|(_, answer)| answer.is_ok());
    for (endpoint, answer) in views.into_iter().chain(silent) {
        match answer {
            Ok(view) => {
                let _ = writeln!(out, "view of {} at {endpoint}", view.node);
                for group in &view.groups {
                    one_group(&mut out, view, group, look);
                }
                if view.groups.is_empty() {
                    let _ = writeln!(out, "{}", warnings(view, look).trim_end());
                }
            }
            Err(why) => {
                let _ = write!(out, "{} {endpoint}: {why}", look.paint("unreachable"));
            }
        }
        out.push('\n');
    }
    out.push('\n');
    out + &next_line("start or reconnect arbiters until a quorum answers, then: arbiter status")
}

fn one_group(out: &mut String, status: &pb::Status, group: &pb::GroupStatus, look: Look) {
    let verdict = or_verdict(group);
    if status.stale {
        let stale = look.paint("STALE");
        let _ = writeln!(out, "{stale} ({} old): {verdict}", span(status.age_ms));
    } else {
        let _ = writeln!(out, "{verdict}");
    }
    out.push_str(&warnings(status, look));
    let answering = status.voters.iter().filter(|voter| voter.role != "unreachable").count();
    let _ = writeln!(
        out,
        "active {}   epoch {}   mode {}   leader {} ({answering} of {} voters)\n",
        or_dash(&group.active),
        group.epoch,
        mode(group),
        or_dash(&status.leader),
        status.voters.len(),
    );
    out.push_str(&regions(group, look));
    out.push('\n');
    let instances = super::instance::table(&super::instance::lines(group), look);
    let told = !status.stale || !unseen(group);
    if told && !instances.is_empty() {
        out.push_str(&instances);
        out.push('\n');
    }
    out.push_str(&look.columns(&facts(status, group)));
    if let Some(plan) = &group.plan {
        out.push('\n');
        out.push_str(&super::plan::progress(plan, look));
    }
}

/// An arbiter that does not lead has heard of no instance.
fn unseen(group: &pb::GroupStatus) -> bool {
    let agents = group.regions.iter().flat_map(|region| &region.agents);
    agents.flat_map(|agent| &agent.instances).all(|one| one.condition == "unknown")
}

fn warnings(status: &pb::Status, look: Look) -> String {
    let mut out = String::new();
    if status.stale {
        let stale = look.paint("STALE");
        let _ = writeln!(out, "{stale}: no quorum confirms this view; nothing can be changed now");
    }
    if status.insecure {
        let insecure = look.paint("INSECURE");
        let _ =
            writeln!(out, "{insecure}: plaintext between hosts; anyone on the way can give orders");
    }
    for line in super::members::about(status) {
        let _ = writeln!(out, "{line}");
    }
    out
}

fn or_verdict(group: &pb::GroupStatus) -> String {
    match (group.verdict.as_str(), group.active.as_str()) {
        ("", "") => format!("{}: no region is active yet", group.group),
        ("", active) => format!("{}: {active} is active, {}", group.group, or_dash(&group.health)),
        (verdict, _) => verdict.to_owned(),
    }
}

/// The mode, and whether it is in effect or why not.
pub(in crate::cli) fn mode(group: &pb::GroupStatus) -> String {
    let effect = match (group.mode_in_effect, group.mode_blocked_by.as_str()) {
        (true, _) => "in effect".to_owned(),
        (false, "") => "not in effect".to_owned(),
        (false, why) => format!("not in effect: {why}"),
    };
    let until = match group.mode_until.as_str() {
        "" => String::new(),
        until => format!(" {until}"),
    };
    format!("{}{until} ({effect})", or_dash(&group.mode))
}

/// What is set for a time, and what is out of the ordinary without a quorum.
fn guards(group: &pb::GroupStatus) -> Vec<Vec<String>> {
    let said = [("maintenance", &group.maintenance), ("no quorum", &group.on_quorum_loss)];
    let said = said.into_iter().filter(|(_, text)| !text.is_empty());
    said.map(|(label, text)| row(&[label, text])).collect()
}

/// Observe orders nothing, but what is armed stays so.
fn still_armed(group: &pb::GroupStatus) -> Option<Vec<String>> {
    let mut agents = group.regions.iter().flat_map(|region| &region.agents);
    let armed = group.mode == "observe" && agents.any(|agent| agent.arming == "armed");
    let text = format!("the deadman still fences, until: arbiter disarm --group {}", group.group);
    armed.then(|| row(&["armed", &text]))
}

fn regions(group: &pb::GroupStatus, look: Look) -> String {
    let mut rows = vec![row(&["REGION", "ROLE", "HEALTH", "GOAL", "LAG", "REPORTED"])];
    for region in &group.regions {
        let reported = if region.heard {
            format!("{} ago", span(region.reported_ms))
        } else {
            "never".to_owned()
        };
        rows.push(vec![
            region.region.clone(),
            or_dash(&region.kind),
            or_dash(&region.health),
            or_dash(&region.goal),
            lag(region),
            if region.kind == "witness" && !region.heard { "-".to_owned() } else { reported },
        ]);
    }
    look.columns(&rows)
}

/// The worst lag of a region's replicas; a dash where it has none.
fn lag(region: &pb::RegionStatus) -> String {
    let instances = region.agents.iter().flat_map(|agent| &agent.instances);
    let replicas: Vec<_> = instances.filter(|i| i.layer == "data" && i.role == "replica").collect();
    if replicas.is_empty() {
        return "-".to_owned();
    }
    if replicas.iter().any(|replica| !replica.lag_known) {
        return "unknown".to_owned();
    }
    let count = replicas.iter().map(|replica| replica.lag_bytes).max().unwrap_or(0);
    let age = replicas.iter().map(|replica| replica.lag_age_ms).max().unwrap_or(0);
    format!("{}, {} ago", bytes(count), span(age))
}

/// What is always shown, a line each.
fn facts(status: &pb::Status, group: &pb::GroupStatus) -> Vec<Vec<String>> {
    let mut lines = vec![row(&["writer", &writer(group)]), row(&["mode", &mode(group)])];
    lines.extend(still_armed(group));
    lines.extend(guards(group));
    lines.extend(automatic(status, group));
    lines.extend([
        row(&["evidence", &evidence(group)]),
        row(&["lag", &lag_mark(group)]),
        row(&["dns", &dns(group)]),
    ]);
    lines.extend(group.writes.iter().map(|said| row(&["writes", said])));
    lines.extend(drills(group));
    lines.extend(group.regions.iter().flat_map(|region| &region.agents).map(agent));
    lines.extend(watchdog(group));
    let lost = status.voters.iter().filter(|voter| voter.role == "unreachable");
    lines.extend(lost.map(|voter| row(&["voter", &format!("{} is unreachable", voter.name)])));
    for region in &group.regions {
        for instance in region.agents.iter().flat_map(|agent| &agent.instances) {
            if !instance.unfenced_since.is_empty() {
                let since = &instance.unfenced_since;
                lines.push(row(&["unfenced", &format!("{} since {since}", instance.instance)]));
            }
            if !instance.error.is_empty() {
                let text = format!("{}: {}", instance.instance, instance.error);
                lines.push(row(&["fault", &text]));
            }
        }
    }
    lines.extend(group.degraded_because.iter().map(|why| row(&["degraded", why])));
    lines.extend(group.readiness.iter().map(|why| row(&["not ready", why])));
    if !group.would_have.is_empty() {
        let text = format!("{} at {}", group.would_have, wall(group.would_have_wall_ms));
        lines.push(row(&["would have", &text]));
    }
    if !group.preferred.is_empty() && group.preferred != group.active {
        let text = match group.failback.as_str() {
            "" => format!("{} is not active", group.preferred),
            said => said.to_owned(),
        };
        lines.push(row(&["failback", &text]));
    }
    lines
}

/// What a failover would cost, the open drill, and whether the next is due.
fn drills(group: &pb::GroupStatus) -> Vec<Vec<String>> {
    let open = group.drill.as_ref().map(super::drill::now).unwrap_or_default();
    let due = match group.drill_due.as_str() {
        "" => String::new(),
        due => format!("the next is {due}"),
    };
    let said = [("predicted", &group.predicted), ("drill", &open), ("drill", &due)];
    let said = said.into_iter().filter(|(_, text)| !text.is_empty());
    said.map(|(label, text)| row(&[label, text])).collect()
}

fn writer(group: &pb::GroupStatus) -> String {
    match (group.writer.as_str(), group.writer_until_ms) {
        ("", _) => "nobody may write".to_owned(),
        (region, 0) if !group.on_quorum_loss.is_empty() => {
            format!("{region}, without limit (it holds)")
        }
        (region, 0) => format!("{region}, without limit (unarmed)"),
        (region, left) => format!("{region}, for {} more unless renewed", span(left)),
    }
}

/// Whether a failover opens by itself; each reason why not on a line of its own.
fn automatic(status: &pb::Status, group: &pb::GroupStatus) -> Vec<Vec<String>> {
    if status.stale {
        return vec![row(&["automatic", "blocked: without a quorum nothing is decided"])];
    }
    if group.automatic_blocked_by.is_empty() {
        return vec![row(&["automatic", "ready: a failover opens by itself"])];
    }
    let why = group.automatic_blocked_by.iter().enumerate();
    let label = |at: usize| if at == 0 { "automatic" } else { "" };
    why.map(|(at, reason)| row(&[label(at), &format!("blocked: {}", reason.text)])).collect()
}

fn evidence(group: &pb::GroupStatus) -> String {
    match group.strongest_evidence.as_str() {
        "" => "none can be had now".to_owned(),
        kind => format!("{kind} is the strongest that can be had now"),
    }
}

fn lag_mark(group: &pb::GroupStatus) -> String {
    match group.lag_mark.as_str() {
        "within" => "within the RPO".to_owned(),
        "over" => "over the RPO".to_owned(),
        _ => "unknown, counts as over the RPO".to_owned(),
    }
}

fn dns(group: &pb::GroupStatus) -> String {
    let Some(traffic) = &group.traffic else { return "none is managed".to_owned() };
    let names = match traffic.names.as_str() {
        "" => "names no region of ours".to_owned(),
        region if traffic.token.is_empty() => format!("names {region}, without a token"),
        region => format!("names {region} at {}", traffic.token),
    };
    match traffic.drift.as_str() {
        "" => names,
        drift => format!("{names}; drift: {drift}"),
    }
}

fn agent(agent: &pb::AgentStatus) -> Vec<String> {
    let mut text = format!("{} {}", agent.agent, or_dash(&agent.arming));
    if agent.arming == "armed" {
        let _ = write!(text, ", lease {}", span(agent.lease_left_ms));
    }
    if agent.lapsed {
        text.push_str(", lapsed");
    }
    if agent.incarnation == 0 {
        text.push_str(", never heard");
    } else if !agent.connected {
        let _ = write!(text, ", silent for {}", span(agent.reported_ms));
    }
    if agent.would_have_killed > 0 {
        let _ = write!(text, ", would have killed {} times", agent.would_have_killed);
    }
    row(&["agent", &text])
}

/// What stands behind the deadmen of armed agents: while agent and deadman are both stopped neither
/// fences, and in a region that is cut off too nobody else can.
fn watchdog(group: &pb::GroupStatus) -> Vec<Vec<String>> {
    let agents = group.regions.iter().flat_map(|region| &region.agents);
    let armed: Vec<_> = agents.filter(|agent| agent.arming == "armed").collect();
    let named = |has: bool| {
        let those = armed.iter().filter(|agent| agent.watchdog == Some(has));
        those.map(|agent| agent.agent.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut lines = Vec::new();
    let (without, with) = (named(false), named(true));
    if !without.is_empty() {
        let text = "while agent and deadman are both stopped, nothing fences a region cut off";
        lines.push(row(&["watchdog", &format!("no device beside {without}: {text}")]));
    }
    if !with.is_empty() {
        let text = "it guards only if set up to reset the host when the deadman stops";
        lines.push(row(&["watchdog", &format!("a device beside {with}: {text}")]));
    }
    lines
}

/// `arbiter traffic show`: what DNS says of a group.
pub(in crate::cli) fn traffic(group: &pb::GroupStatus) -> String {
    let next = match &group.traffic {
        Some(traffic) if !traffic.drift.is_empty() => {
            format!("arbiter traffic adopt ZONE --group {}", group.group)
        }
        _ => String::new(),
    };
    let active = or_dash(&group.active);
    format!("active {active}; dns {}\n{}", dns(group), next_line(&next))
}
