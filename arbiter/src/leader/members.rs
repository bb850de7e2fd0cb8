//! State's arbiters follow Raft's members, and its version what they all support. Knows both; never
//! why somebody joins or leaves.

use super::Leader;
use crate::clock;
use crate::raft::Members;
use arbiter_core::{ArbiterId, By, Command, Proposal, RequestId, STATE_VERSION_MAX, State, Voter};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// How often the leader looks.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);

/// The command that makes State say what Raft's members are; none: it does. `dropped` does not join
/// any more.
pub fn followed(state: &State, members: &Members, dropped: Option<&str>) -> Option<Command> {
    if members.voters.is_empty() || members.joint || state.version < 2 {
        return None;
    }
    let known = |name: &ArbiterId, id: u64| {
        let named = [state.spec.voters.get(name), state.joining.get(name)];
        named.into_iter().flatten().find(|voter| voter.node_id == id)
    };
    let mut voters: BTreeMap<ArbiterId, Voter> = BTreeMap::new();
    for (id, (name, address)) in &members.voters {
        let name = ArbiterId::from(name.as_str());
        // Of one that nobody announced, its region is not known: then State stays as it is.
        let voter = known(&name, *id)?;
        voters.insert(name, Voter { address: address.clone(), ..voter.clone() });
    }
    let waits = |name: &ArbiterId, voter: &Voter| {
        !members.voters.contains_key(&voter.node_id) && Some(name.as_str()) != dropped
    };
    let joining = state.joining.iter().filter(|(name, voter)| waits(name, voter));
    let joining: BTreeMap<ArbiterId, Voter> =
        joining.map(|(name, voter)| (name.clone(), voter.clone())).collect();
    let same = voters == state.spec.voters && joining == state.joining;
    (!same).then_some(Command::SetVoters { voters, joining })
}

impl Leader {
    /// What a lost leader left half done is ended, and State brought to what is so.
    pub(super) async fn members_loop(self: Arc<Self>) {
        loop {
            sleep(FOLLOW_EVERY).await;
            let Some((state, term)) = self.look(|state, view, _| (state.clone(), view.term)) else {
                continue;
            };
            if state.cluster_id.is_none() {
                continue;
            }
            if self.raft.members().joint {
                match self.raft.finish_change().await {
                    Ok(true) => tracing::info!("a change of members is ended"),
                    Ok(false) => {}
                    Err(error) => tracing::info!(%error, "a change of members is half done"),
                }
            }
            if let Some(command) = followed(&state, &self.raft.members(), None) {
                self.say(term, command).await;
            }
            if let Some(command) = self.version_for_all(&state).await {
                self.say(term, command).await;
            }
        }
    }

    /// The newest that every member supports, where State is below it.
    async fn version_for_all(&self, state: &State) -> Option<Command> {
        if state.version >= STATE_VERSION_MAX {
            return None;
        }
        let supported = self.raft.supported().await;
        let version = supported.values().map(|known| known.unwrap_or(0)).min()?;
        let version = version.min(STATE_VERSION_MAX);
        (version > state.version).then_some(Command::RaiseVersion { version })
    }

    async fn say(&self, term: u64, command: Command) {
        let proposal = Proposal {
            request: None::<RequestId>,
            by: By::Policy,
            reason: "as the members are".to_owned(),
            wall: clock::wall(),
            command,
        };
        match self.raft.propose_in(term, &proposal).await {
            Ok(Ok(_)) => {}
            Ok(Err(refused)) => tracing::info!(%refused, "what the members are was refused"),
            Err(failed) => tracing::debug!(%failed, "not proposed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(node_id: u64) -> Voter {
        Voter { node_id, region: format!("r{node_id}").into(), address: format!("h:{node_id}") }
    }

    fn named(ids: &[u64]) -> BTreeMap<ArbiterId, Voter> {
        ids.iter().map(|id| (format!("a{id}").into(), voter(*id))).collect()
    }

    fn members(voters: &[u64], learners: &[u64]) -> Members {
        let all = |ids: &[u64]| {
            ids.iter().map(|id| (*id, (format!("a{id}"), format!("h:{id}")))).collect()
        };
        Members { voters: all(voters), learners: all(learners), joint: false }
    }

    #[test]
    fn state_follows_raft_and_forgets_nobody_who_is_on_the_way() {
        let mut state = State { version: 2, joining: named(&[4, 5]), ..State::default() };
        state.spec.voters = named(&[1, 2, 3]);
        assert_eq!(followed(&state, &members(&[1, 2, 3], &[4]), None), None);
        let set = Command::SetVoters { voters: named(&[1, 2, 4]), joining: named(&[5]) };
        assert_eq!(followed(&state, &members(&[1, 2, 4], &[]), None), Some(set));
        let set = Command::SetVoters { voters: named(&[1, 2, 3]), joining: named(&[4]) };
        assert_eq!(followed(&state, &members(&[1, 2, 3], &[4]), Some("a5")), Some(set));
        let joint = Members { joint: true, ..members(&[1, 2, 4], &[]) };
        assert_eq!(followed(&state, &joint, None), None, "not before it is decided");
        assert_eq!(followed(&state, &members(&[1, 2, 9], &[]), None), None, "who is a9?");
        state.version = 1;
        assert_eq!(followed(&state, &members(&[1, 2, 4], &[]), None), None, "an old voter's log");
    }
}
