//! Members come and go: a learner first, then one conditional change, one at a time. Knows who
//! votes and how far they are; never what a command means, nor why somebody leaves.

use super::handle::RaftHandle;
use super::timing::VoterAt;
use super::types::{Member, RaftLogId, StoredMembership};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::Precondition;
use openraft::{ChangeMembers, RaftMetrics};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use thiserror::Error;

use super::types::TypeConfig;

/// Entries that a learner may lack when it is made a voter: with more to come than that it would
/// hold commits up.
const BEHIND_MAX: u64 = 16;
/// One stage of a change. An answer that is later than this is asked for again.
const STAGE_LIMIT: Duration = Duration::from_secs(8);
/// How long a call waits for a learner before it says how far it is.
const WATCH_LIMIT: Duration = Duration::from_secs(3);

/// How far a change is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It listens and has not caught up: entries that it lacks; none: it has not answered yet.
    CatchingUp(Option<u64>),
    /// The members are as they should be.
    Done,
}

/// Why members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// Ask the leader.
    #[error("this arbiter does not lead")]
    NotLeader,
    /// Another change is under way.
    #[error("another change of members is under way")]
    Busy,
    /// The new arbiter is not what it should be.
    #[error("{0}")]
    Newcomer(String),
    /// It may be done or not: look, and ask again.
    #[error("not known whether it was done: {0}")]
    Unknown(String),
}

/// Who votes and who only listens, as this node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Name and address of each voter, by id.
    pub voters: BTreeMap<u64, (String, String)>,
    /// Of each that only listens.
    pub learners: BTreeMap<u64, (String, String)>,
    /// A change is half done: two sets of voters decide together.
    pub joint: bool,
}

impl Members {
    fn of(stored: &StoredMembership) -> Self {
        let membership = stored.membership();
        let ids: BTreeSet<u64> = membership.voter_ids().collect();
        let shown = |member: &Member| (member.name.clone(), member.address.clone());
        let all = membership.nodes().map(|(id, member)| (*id, shown(member)));
        let (voters, learners) = all.partition(|(id, _)| ids.contains(id));
        Self { voters, learners, joint: membership.get_joint_config().len() > 1 }
    }
}

impl RaftHandle {
    fn metrics(&self) -> RaftMetrics<TypeConfig> {
        // Copied: the guard must not be held while anything else is done.
        let metrics = self.inner.raft.metrics();
        metrics.borrow_watched().clone()
    }

    /// Who votes and who only listens.
    pub fn members(&self) -> Members {
        Members::of(&self.metrics().membership_config)
    }

    /// One stage of bringing `newcomer` in, in the place of `replaces` where that is named: it
    /// listens first, and once it has caught up it votes, in one change. Asked again it goes on.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn bring_in(
        &self,
        newcomer: &VoterAt,
        replaces: Option<u64>,
    ) -> Result<Stage, ChangeError> {
        let _turn = self.inner.changing.try_lock().map_err(|_| ChangeError::Busy)?;
        self.leads()?;
        let id = newcomer.node_id;
        let known = self.members();
        if !known.voters.contains_key(&id) && !known.learners.contains_key(&id) {
            self.listen(newcomer).await?;
        }
        if known.voters.contains_key(&id) && replaces.is_none_or(|old| !is_member(&known, old)) {
            self.settle_joint().await?;
            return Ok(Stage::Done);
        }
        if let Some(behind) = self.behind(id).await {
            return Ok(Stage::CatchingUp(behind));
        }
        self.vote_anew(|voters| {
            voters.insert(id);
            if let Some(old) = replaces {
                voters.remove(&old);
            }
        })
        .await?;
        Ok(Stage::Done)
    }

    /// Takes a member out: it neither votes nor listens any more, and is not told so.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn take_out(&self, node_id: u64) -> Result<(), ChangeError> {
        let _turn = self.inner.changing.try_lock().map_err(|_| ChangeError::Busy)?;
        self.leads()?;
        if self.members().learners.contains_key(&node_id) {
            let change = ChangeMembers::RemoveNodes(BTreeSet::from([node_id]));
            return self.change(change, false).await;
        }
        self.vote_anew(|voters| {
            voters.remove(&node_id);
        })
        .await
    }

    /// Ends a change that a lost leader left half done.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn finish_change(&self) -> Result<bool, ChangeError> {
        let _turn = self.inner.changing.try_lock().map_err(|_| ChangeError::Busy)?;
        self.leads()?;
        let joint = self.members().joint;
        self.settle_joint().await?;
        Ok(joint)
    }

    fn leads(&self) -> Result<(), ChangeError> {
        let leads = self.inner.leadership.borrow().acting;
        if leads { Ok(()) } else { Err(ChangeError::NotLeader) }
    }

    /// The newcomer listens. Its disk is pinned in the same entry, and must be empty.
    async fn listen(&self, newcomer: &VoterAt) -> Result<(), ChangeError> {
        let (name, address) = (newcomer.name.clone(), newcomer.address.clone());
        let said = self
            .ask_who(newcomer)
            .await
            .map_err(|why| ChangeError::Newcomer(format!("arbiter {name} at {address}: {why}")))?;
        let member = Member { name, address, incarnation: said.incarnation };
        let limited = self.inner.raft.add_learner(newcomer.node_id, member, false);
        ended(tokio::time::timeout(STAGE_LIMIT, limited).await)
    }

    /// None: it has caught up.
    async fn behind(&self, id: u64) -> Option<Option<u64>> {
        let mut metrics = self.inner.raft.metrics();
        let lag = |now: &RaftMetrics<TypeConfig>| {
            let matched: Option<RaftLogId> = now.replication.as_ref()?.get(&id).copied()?;
            let have = matched.map_or(0, |at| at.index + 1);
            Some(now.last_log_index.map_or(0, |last| (last + 1).saturating_sub(have)))
        };
        let near = |now: &RaftMetrics<TypeConfig>| {
            let matched = now.replication.as_ref().and_then(|all| all.get(&id).copied().flatten());
            matched.is_some() && lag(now).is_some_and(|behind| behind <= BEHIND_MAX)
        };
        let watched = async {
            loop {
                if near(&metrics.borrow_watched()) {
                    return;
                }
                if metrics.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        match tokio::time::timeout(WATCH_LIMIT, watched).await {
            Ok(()) => None,
            Err(_) => Some(lag(&self.metrics())),
        }
    }

    /// A change that was left half done ends first: the next begins from one set of voters.
    async fn settle_joint(&self) -> Result<(), ChangeError> {
        let stored = self.metrics().membership_config;
        match stored.membership().get_joint_config().as_slice() {
            [_, last, ..] => {
                let change = ChangeMembers::ReplaceAllVoters(last.clone());
                self.change(change, false).await
            }
            _ => Ok(()),
        }
    }

    async fn vote_anew(&self, edit: impl FnOnce(&mut BTreeSet<u64>)) -> Result<(), ChangeError> {
        self.settle_joint().await?;
        let stored = self.metrics().membership_config;
        let mut voters: BTreeSet<u64> = stored.membership().voter_ids().collect();
        edit(&mut voters);
        self.change(ChangeMembers::ReplaceAllVoters(voters), false).await
    }

    /// Only while the members are still those that were looked at.
    async fn change(
        &self,
        change: ChangeMembers<u64, Member>,
        retain: bool,
    ) -> Result<(), ChangeError> {
        let last_membership_log_id = *self.metrics().membership_config.log_id();
        let only = [Precondition::LastMembershipLogId { last_membership_log_id }];
        let changing = self.inner.raft.change_membership_if(change, retain, only);
        ended(tokio::time::timeout(STAGE_LIMIT, changing).await)
    }
}

fn is_member(members: &Members, id: u64) -> bool {
    members.voters.contains_key(&id) || members.learners.contains_key(&id)
}

type Ended<T> = Result<
    Result<T, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>,
    tokio::time::error::Elapsed,
>;

fn ended<T>(result: Ended<T>) -> Result<(), ChangeError> {
    match result {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
            Err(ChangeError::NotLeader)
        }
        Ok(Err(RaftError::APIError(error))) => Err(ChangeError::Unknown(error.to_string())),
        Ok(Err(error)) => Err(ChangeError::Unknown(error.to_string())),
        Err(_) => Err(ChangeError::Unknown("no quorum answered in time".to_owned())),
    }
}
