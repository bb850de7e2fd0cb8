//! `arbiter explain`: each gate, open or not, with its numbers.

use super::{Look, next_line};
use arbiter_proto::v1 as pb;
use std::fmt::Write;

/// What each topic of the answer is about.
fn heading(topic: &str) -> &str {
    match topic {
        "region-lost" => "is the active region lost?",
        "primary-lost" => "is its primary lost?",
        "automatic" => "may a failover open by itself?",
        "switchover" => "would a switchover open now?",
        "failover" => "would a failover by command open now?",
        "plan" => "why does the open plan wait?",
        "failback" => "would it fail back by itself?",
        "degraded" => "is the group degraded?",
        "readiness" => "what would a failover miss?",
        other => other,
    }
}

pub(in crate::cli) fn explain(explanation: &pb::Explanation, _look: Look) -> String {
    let mut out = format!("{}\n", explanation.group);
    let mut topic = "";
    for reason in &explanation.reasons {
        if reason.topic != topic {
            topic = &reason.topic;
            let _ = writeln!(out, "\n{}", heading(topic));
        }
        let word = if reason.open { "yes" } else { "no" };
        let _ = writeln!(out, "  {word:3}  {:18} {}", reason.code, reason.text);
    }
    if explanation.reasons.is_empty() {
        out.push_str("\nnothing speaks for or against anything\n");
    }
    out.push('\n');
    let blocked = explanation.reasons.iter().filter(|reason| !reason.open);
    let next = blocked.map(|reason| reason.next.as_str()).find(|next| !next.is_empty());
    out + &next_line(next.unwrap_or_default())
}
