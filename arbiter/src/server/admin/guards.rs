//! Guard rails for people: modes and leases for a time, and what takes two persons.

use super::change::{asker, check_epoch, epoch_or_now, known, outcome};
use crate::server::{Face, group_name, refusal};
use crate::wire;
use arbiter_core::{Command, GroupId, Mode, Rejected};
use arbiter_proto::v1 as pb;
use std::time::Duration;
use tonic::{Response, Status};

type Answer = Result<Response<pb::Outcome>, Status>;

impl Face {
    /// Set the mode, for good or for a time.
    pub(super) async fn set_mode(&self, request: &pb::SetModeRequest) -> Answer {
        let group = GroupId::from(group_name(&request.group));
        let mode = wire::mode_from_word(&request.mode).ok_or_else(|| {
            let text = format!("there is no mode {:?}", request.mode);
            refusal::invalid("unknown-mode", text, "one of: observe, manual, automatic")
        })?;
        let lasts = (request.for_ms > 0).then(|| Duration::from_millis(request.for_ms));
        let done = self
            .change(request.asked.as_ref(), |state, _, _| {
                let found = known(state, &group)?;
                let expected_epoch = epoch_or_now(found, request.expected_epoch);
                let group = group.clone();
                Ok(match lasts {
                    None => Command::SetMode { group, mode, expected_epoch },
                    Some(lasts) => Command::SetModeFor { group, mode, lasts, expected_epoch },
                })
            })
            .await?;
        let state = self.state();
        let found = state.groups.get(&group);
        let then = found.and_then(|found| found.timed_mode.as_ref());
        let then = then.map(|timed| {
            let then = wire::mode_word(timed.then);
            format!(" until {}, then {then}", crate::calendar::utc(timed.until.0))
        });
        let text = format!("mode of {group} is {}{}", request.mode, then.unwrap_or_default());
        if mode == Mode::Observe && found.is_some_and(|found| found.arming_wanted) {
            let text = format!("{text}; it stays armed, and the deadman still fences");
            return Ok(outcome(done, text, &format!("arbiter disarm --group {group}")));
        }
        Ok(outcome(done, text, &format!("arbiter status --group {group}")))
    }

    /// A longer lease for a time; says how much longer a failover takes.
    pub(super) async fn maintain(&self, request: &pb::MaintainRequest) -> Answer {
        let group = GroupId::from(group_name(&request.group));
        let lease = Duration::from_millis(request.lease_ms);
        let lasts = Duration::from_millis(request.for_ms);
        let done = self
            .change(request.asked.as_ref(), |state, _, _| {
                let found = known(state, &group)?;
                let expected_epoch = epoch_or_now(found, request.expected_epoch);
                Ok(Command::Maintain { group: group.clone(), lease, lasts, expected_epoch })
            })
            .await?;
        let state = self.state();
        let waits = state.spec.groups.get(&group).map(|spec| {
            let timing = &spec.policy.timing;
            let [longer, usual] = [lease, timing.lease].map(|lease| timing.dead_after(lease));
            format!(
                "; if its region is lost without a word, a failover waits {longer:.1?} instead of \
                 {usual:.1?}"
            )
        });
        let text =
            format!("leases of {group} last {lease:?} for {lasts:?}{}", waits.unwrap_or_default());
        Ok(outcome(done, text, &format!("arbiter maintain --group {group} --end")))
    }

    /// The lease is policy's again.
    pub(super) async fn end_maintenance(&self, request: &pb::GroupRequest) -> Answer {
        let group = GroupId::from(group_name(&request.group));
        let done = self
            .change(request.asked.as_ref(), |state, _, _| {
                let found = known(state, &group)?;
                check_epoch(&group, found, request.expected_epoch)?;
                let maintenance = found.maintenance.as_ref().ok_or_else(|| {
                    let text = format!("no maintenance of {group} runs");
                    refusal::precondition("no-maintenance", text, "arbiter status")
                })?;
                let since = maintenance.since;
                Ok(Command::EndMaintenance { group: group.clone(), since, waited: None })
            })
            .await?;
        let text = format!("the maintenance of {group} ended; the longer leases run out first");
        Ok(outcome(done, text, &format!("arbiter status --group {group}")))
    }

    /// The second person agrees.
    pub(super) async fn approve(&self, request: &pb::ApproveRequest) -> Answer {
        let id = request.id;
        let done = self
            .change(request.asked.as_ref(), |state, _, _| match state.cluster_id {
                None => Err(refusal::not_initialized()),
                Some(_) => Ok(Command::Approve { id }),
            })
            .await?;
        let state = self.state();
        let text = match state.approvals.get(&id) {
            Some(known) => format!("{} may {}, once, within the hour", known.by, known.action),
            None => format!("request {id} is approved"),
        };
        Ok(outcome(done, text, "arbiter approvals"))
    }

    /// Whether the asker may do `action` now: where two persons are wanted, only once a second one
    /// agreed, and that agreement is spent. Else the request is made, and the refusal names it.
    /// `action` is a text of all that matters, such as `remove-node arbiter-3`.
    ///
    /// # Errors
    /// `needs-approval`: a second person has to agree first.
    pub(super) async fn need_approval(
        &self,
        asked: Option<&pb::Asked>,
        action: &str,
    ) -> Result<(), Status> {
        if !self.state().spec.two_person {
            return Ok(());
        }
        let own = |suffix: &str| {
            let mut own = asker(asked)?;
            own.request.0.push_str(suffix);
            Ok::<_, Status>(own)
        };
        let used = self.propose_as(own(".use")?, use_of(action)).await?;
        let Err(Rejected::Refused { code, reason, next }) = used else { return Ok(()) };
        if code == "not-approved" {
            return Err(refusal::precondition("needs-approval", reason, &next));
        }
        let wanted = Command::AskApproval { action: action.to_owned() };
        let id = match self.propose_as(own(".ask")?, wanted).await? {
            Ok(id) => id,
            Err(refused) => return Err(refusal::rejected(&refused)),
        };
        let text = format!("to {action} takes a second person; request {id} waits for one");
        let next = format!("another person: arbiter approve {id} --reason TEXT");
        Err(refusal::precondition("needs-approval", text, &next))
    }
}

fn use_of(action: &str) -> Command {
    Command::UseApproval { action: action.to_owned() }
}
