//! Drills by command: begin and end. The leader opens their plans.

use super::change::{epoch_or_now, known, outcome};
use crate::server::{Face, group_name, refusal};
use crate::wire;
use arbiter_core::{Command, DrillId, GroupId};
use arbiter_proto::v1 as pb;
use tonic::{Response, Status};

impl Face {
    /// Begin a drill. What its first plan still waits for, the drill waits for, and says so.
    pub(super) async fn run_drill(
        &self,
        request: &pb::RunDrillRequest,
    ) -> Result<pb::RunDrillResponse, Status> {
        let group = GroupId::from(group_name(&request.group));
        let kind = wire::drill_kind_from_word(&request.kind).ok_or_else(|| {
            let text = format!("there is no drill of kind {:?}", request.kind);
            refusal::invalid("unknown-kind", text, "rehearsal, switchover or region-loss")
        })?;
        let accept_loss = request.accept_loss;
        let index = self
            .change(request.asked.as_ref(), |state, _, _| {
                let expected_epoch = epoch_or_now(known(state, &group)?, request.expected_epoch);
                Ok(Command::RunDrill { group: group.clone(), kind, accept_loss, expected_epoch })
            })
            .await?;
        // A drill's id is the index of the entry that began it.
        let state = self.state();
        let drill = state.group(&group).and_then(|(spec, found)| {
            let drill = found.drill(DrillId(index))?;
            Some(wire::drill_to_proto(&group, spec, found, drill, None))
        });
        Ok(pb::RunDrillResponse { drill })
    }

    /// End the open drill.
    pub(super) async fn abort_drill(
        &self,
        request: &pb::GroupRequest,
    ) -> Result<Response<pb::Outcome>, Status> {
        let group = GroupId::from(group_name(&request.group));
        let next = format!("arbiter status --group {group}");
        let index = self
            .change(request.asked.as_ref(), |state, view, now| {
                let found = known(state, &group)?;
                let none = || {
                    let text = format!("no drill of {group} is open");
                    refusal::precondition("no-drill", text, &next)
                };
                Ok(Command::AbortDrill {
                    group: group.clone(),
                    drill: found.drill.as_ref().ok_or_else(none)?.id,
                    expected_epoch: epoch_or_now(found, request.expected_epoch),
                    took: view.row_took(&group, now),
                })
            })
            .await?;
        let text = format!(
            "the drill of {group} is ended; a plan of it past its point of no return goes on"
        );
        Ok(outcome(index, text, &next))
    }
}
