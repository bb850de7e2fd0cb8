//! Arbiters come and go: each call does one stage of it and says how far it is (decision 0031).
//! Knows what may be asked; Raft's members are the truth, and State is brought to what they are.

use super::change::asker;
use crate::clock;
use crate::leader::followed;
use crate::raft::{ChangeError, Stage, VoterAt};
use crate::server::{Face, refusal};
use arbiter_core::{ArbiterId, By, Command, Proposal, Rejected, State, Voter, attest_agent};
use arbiter_proto::v1 as pb;
use tonic::{Code, Status};

/// Voters that a cluster is to have: with fewer, losing one loses the quorum.
const VOTERS_MIN: usize = 3;

impl Face {
    /// One stage of bringing an arbiter in.
    pub(super) async fn add_node(
        &self,
        request: &pb::AddNodeRequest,
    ) -> Result<pb::MemberChange, Status> {
        let asked = asker(request.asked.as_ref())?;
        self.allowed(request.asked.as_ref(), &format!("add arbiter {}", request.name)).await?;
        let state = self.confirmed_state().await?;
        let (name, voter) = newcomer(request, &state)?;
        let replaced = replaced(request, &state)?;
        self.not_me(&request.replaces)?;
        let known = [state.spec.voters.get(&name), state.joining.get(&name)];
        if !known.contains(&Some(&voter)) {
            self.propose(asked, Command::ReserveNode { name: name.clone(), voter: voter.clone() })
                .await?;
        }
        let witness =
            state.spec.regions.get(&voter.region) == Some(&arbiter_core::RegionKind::Witness);
        let newcomer = VoterAt {
            name: name.0.clone(),
            node_id: voter.node_id,
            address: voter.address.clone(),
            witness,
        };
        match self.raft.bring_in(&newcomer, replaced).await.map_err(|e| unchanged(&e, &name))? {
            Stage::CatchingUp(behind) => Ok(catching_up(&name, behind)),
            Stage::Done => {
                self.follow_members(None).await?;
                Ok(done(format!("{name} votes"), "write it into [arbiters] of every cluster file"))
            }
        }
    }

    /// An arbiter leaves.
    pub(super) async fn remove_node(
        &self,
        request: &pb::RemoveNodeRequest,
    ) -> Result<pb::MemberChange, Status> {
        self.allowed(request.asked.as_ref(), &format!("remove arbiter {}", request.name)).await?;
        let state = self.confirmed_state().await?;
        let name = ArbiterId::from(request.name.as_str());
        self.not_me(&request.name)?;
        let gone = || done(format!("{name} is no member"), "stop it, and empty its data directory");
        let found = state.spec.voters.get(&name).or_else(|| state.joining.get(&name));
        let Some(voter) = found else {
            let known: Vec<&str> = state.spec.voters.keys().map(ArbiterId::as_str).collect();
            let text = format!("no arbiter is called {name}; there are {}", known.join(", "));
            return Err(refusal::precondition("no-such-voter", text, "arbiter members list"));
        };
        may_leave(&state, &name, voter, request.accept_fewer)?;
        let members = self.raft.members();
        let id = voter.node_id;
        if members.voters.contains_key(&id) || members.learners.contains_key(&id) {
            self.raft.take_out(id).await.map_err(|error| unchanged(&error, &name))?;
        }
        self.follow_members(Some(&request.name)).await?;
        Ok(gone())
    }

    /// An operator's word for a foreign agent.
    pub(super) async fn attest_agent(
        &self,
        request: &pb::AttestAgentRequest,
    ) -> Result<pb::Outcome, Status> {
        if request.asked.as_ref().is_none_or(|asked| asked.reason.is_empty()) {
            let text = "an attestation needs a reason: how is it known that nothing there writes?";
            return Err(refusal::invalid("no-reason", text, "ask again with a reason"));
        }
        let agent = request.agent.as_str().into();
        let log_index = self
            .change(request.asked.as_ref(), |state, view, now| {
                attest_agent(state, view, &agent, now).map_err(|e| refusal::rejected(&e))
            })
            .await?;
        let message = format!("nothing beside {agent} is waited for");
        Ok(pb::Outcome { log_index, message, next: "arbiter status".to_owned() })
    }

    async fn confirmed_state(&self) -> Result<std::sync::Arc<State>, Status> {
        self.confirm().await?;
        let state = self.state();
        if state.cluster_id.is_none() {
            return Err(refusal::not_initialized());
        }
        if state.version < 2 {
            let text = "members change from state version 2 on, which not every arbiter supports \
                        yet";
            let next = "arbiter members list, which names who holds it down";
            return Err(refusal::precondition("state-version", text, next));
        }
        Ok(state)
    }

    /// The leader stays while others come and go.
    fn not_me(&self, name: &str) -> Result<(), Status> {
        if name != self.raft.name() {
            return Ok(());
        }
        let text = format!("{name} leads now");
        let next = "arbiter members transfer --to ANOTHER, then ask again";
        Err(refusal::precondition("leads", text, next))
    }

    /// State is as Raft has it now; where it is not yet, the leader's loop brings it there.
    async fn follow_members(&self, dropped: Option<&str>) -> Result<(), Status> {
        let found = followed(&self.state(), &self.raft.members(), dropped);
        let Some(command) = found else { return Ok(()) };
        let reason = "as the members are".to_owned();
        let proposal =
            Proposal { request: None, by: By::Policy, reason, wall: clock::wall(), command };
        match self.raft.propose(&proposal).await {
            // Stale: somebody else said it first.
            Ok(Ok(_) | Err(Rejected::Stale(_))) => Ok(()),
            Ok(Err(refused)) => Err(refusal::rejected(&refused)),
            Err(error) => Err(refusal::unproposed(&error)),
        }
    }
}

fn newcomer(request: &pb::AddNodeRequest, state: &State) -> Result<(ArbiterId, Voter), Status> {
    let missing = |what: &str| {
        let text = format!("the new arbiter needs {what}");
        refusal::invalid("incomplete", text, "arbiter members add NAME --config FILE")
    };
    if request.name.is_empty() {
        return Err(missing("a name"));
    }
    if !request.address.contains(':') {
        return Err(missing("an address, host:port, that the others reach"));
    }
    if request.node_id == 0 {
        let next = state.next_node_id();
        return Err(missing(&format!("a node id that none ever had: {next} is free")));
    }
    let voter = Voter {
        node_id: request.node_id,
        region: request.region.as_str().into(),
        address: request.address.clone(),
    };
    Ok((request.name.as_str().into(), voter))
}

/// Raft's id of the arbiter that leaves in the same change.
fn replaced(request: &pb::AddNodeRequest, state: &State) -> Result<Option<u64>, Status> {
    if request.replaces.is_empty() {
        return Ok(None);
    }
    let name = ArbiterId::from(request.replaces.as_str());
    let newcomer = ArbiterId::from(request.name.as_str());
    match state.spec.voters.get(&name) {
        Some(voter) => Ok(Some(voter.node_id)),
        // It was replaced by an earlier call.
        None if state.spec.voters.contains_key(&newcomer) => Ok(None),
        None => {
            let text = format!("no arbiter is called {name}");
            Err(refusal::precondition("no-such-voter", text, "arbiter members list"))
        }
    }
}

/// A cluster keeps three voters, and each of its regions one, unless an operator says otherwise.
fn may_leave(
    state: &State,
    name: &ArbiterId,
    voter: &Voter,
    accept_fewer: bool,
) -> Result<(), Status> {
    let voters = &state.spec.voters;
    if !voters.contains_key(name) || accept_fewer && voters.len() > 1 {
        return Ok(());
    }
    let others = voters.iter().filter(|(other, _)| *other != name);
    let beside = others.clone().any(|(_, other)| other.region == voter.region);
    let next =
        format!("arbiter members replace {name} --with NEW, or remove it with --accept-fewer");
    if voters.len() <= VOTERS_MIN {
        let text = format!(
            "{} voters would be left: losing one more would lose the quorum",
            voters.len() - 1
        );
        return Err(refusal::precondition("too-few", text, &next));
    }
    if !beside {
        let text = format!("{} would have no voter: its loss could decide nothing", voter.region);
        return Err(refusal::precondition("last-of-region", text, &next));
    }
    Ok(())
}

fn catching_up(name: &ArbiterId, behind: Option<u64>) -> pb::MemberChange {
    let message = match behind {
        Some(behind) => format!("{name} listens, and lacks {behind} entries"),
        None => format!("{name} listens, and has not answered yet"),
    };
    pb::MemberChange {
        done: false,
        stage: "catching-up".to_owned(),
        behind: behind.unwrap_or(0),
        message,
        next: "ask again: it goes on".to_owned(),
    }
}

fn done(message: String, next: &str) -> pb::MemberChange {
    let stage = "done".to_owned();
    pb::MemberChange { done: true, stage, behind: 0, message, next: next.to_owned() }
}

fn unchanged(error: &ChangeError, name: &ArbiterId) -> Status {
    let text = error.to_string();
    match error {
        ChangeError::NotLeader => refusal::not_leader(),
        ChangeError::Busy => refusal::refusal(Code::Aborted, "members-changing", text, "ask again"),
        ChangeError::Newcomer(_) => {
            let next = format!(
                "arbiter node --join --name {name} --config FILE --data-dir EMPTY, on its host; \
                 then ask again"
            );
            refusal::precondition("newcomer", text, &next)
        }
        ChangeError::Unknown(_) => {
            let text = format!("{text}; asking again is safe");
            refusal::refusal(Code::Unavailable, "members-changing", text, "arbiter members list")
        }
    }
}
