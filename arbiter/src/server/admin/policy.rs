//! The policy by command: a file's text, checked, compared, committed.

use super::change::{asked_before, asker};
use crate::policy_file;
use crate::server::{Face, refusal};
use arbiter_core::{ClusterSpec, Command, Timing};
use arbiter_proto::v1 as pb;
use std::time::Duration;
use tonic::Status;

/// What faults call the text that came over the wire.
const FILE: &str = "cluster file";

/// The specification in `text`, for cluster `cluster_id`.
pub(super) fn spec_of(text: &str, cluster_id: &str) -> Result<ClusterSpec, Status> {
    let cluster = policy_file::parse(text, FILE).map_err(|faults| {
        refusal::invalid("bad-config", faults.to_string(), "arbiter config check FILE")
    })?;
    if cluster.id != cluster_id {
        let text = format!("the file is for cluster {}, this is {cluster_id}", cluster.id);
        return Err(refusal::invalid("wrong-cluster", text, "arbiter config check FILE"));
    }
    Ok(policy_file::to_spec(&cluster))
}

/// The timers that Raft reads once, when an arbiter starts.
fn of_raft(timing: &Timing) -> [(&'static str, Duration); 4] {
    [
        ("rtt", timing.rtt),
        ("heartbeat", timing.heartbeat),
        ("election_min", timing.election_min),
        ("election_max", timing.election_max),
    ]
}

impl Face {
    /// A lease is measured by how soon voters elect: leases for timers that Raft does not keep
    /// would end before a lost leader is replaced, and every active region would be fenced.
    pub(super) fn keeps_timers_of(&self, spec: &ClusterSpec) -> Result<(), Status> {
        let ours = of_raft(self.raft.timing());
        let groups = spec.groups.values().map(|group| of_raft(&group.policy.timing));
        let pairs = groups.flat_map(|theirs| ours.into_iter().zip(theirs));
        for ((name, runs), (_, asked)) in pairs {
            if runs != asked {
                let text = format!(
                    "{name} is {asked:?} in the file, and Raft runs with {runs:?}, which it reads \
                     when an arbiter starts"
                );
                let next = format!(
                    "where {name} grows, apply longer leases alone first; restart every arbiter \
                     with the file, one after another, then: arbiter config apply FILE"
                );
                return Err(refusal::precondition("raft-timers-changed", text, &next));
            }
        }
        Ok(())
    }

    /// Bring a policy into force, or say what it would change.
    pub(super) async fn apply_policy(
        &self,
        request: &pb::ApplyPolicyRequest,
    ) -> Result<pb::ApplyPolicyResponse, Status> {
        let asker = asker(request.asked.as_ref());
        self.confirm().await?;
        let state = self.state();
        if state.cluster_id.is_none() {
            return Err(refusal::not_initialized());
        }
        let spec = spec_of(&request.config_toml, &self.cluster_id)?;
        if spec.voters != state.spec.voters {
            let text = "the file names other arbiters than the cluster has";
            let next = "leave [arbiters] as it is";
            return Err(refusal::precondition("voters-changed", text, next));
        }
        self.keeps_timers_of(&spec)?;
        let lines = policy_file::diff(&state.spec, &spec);
        let diff = lines.join("\n");
        if request.dry_run {
            return Ok(pb::ApplyPolicyResponse { diff, outcome: None });
        }
        let asker = asker?;
        let log_index = match asked_before(&state, &asker.request) {
            Some(before) => before.map_err(|refused| refusal::rejected(&refused))?,
            None if lines.is_empty() => self.raft.state().applied_index(),
            None => self.propose(asker, Command::ApplyPolicy { spec }).await?,
        };
        let message = match lines.len() {
            0 => "this policy is in force".to_owned(),
            1 => "1 change is in force".to_owned(),
            many => format!("{many} changes are in force"),
        };
        let outcome = pb::Outcome { log_index, message, next: "arbiter status".to_owned() };
        Ok(pb::ApplyPolicyResponse { diff, outcome: Some(outcome) })
    }
}
