//! Drills of a group, as operators ask for them.

use super::{Face, refusal};
use crate::{calendar, clock, wire};
use arbiter_core::{Due, GroupId, drill_waits, due};
use arbiter_proto::v1 as pb;
use tonic::Status;

/// Drills listed where no number is given, and at most.
const DRILLS_DEFAULT: usize = 20;
const DRILLS_MAX: usize = 512;

/// Newest first.
pub(super) fn list(
    face: &Face,
    request: &pb::ListDrillsRequest,
) -> Result<pb::ListDrillsResponse, Status> {
    let id = GroupId::from(super::group_name(&request.group));
    let limit = match request.limit {
        0 => DRILLS_DEFAULT,
        limit => usize::try_from(limit).unwrap_or(DRILLS_MAX).min(DRILLS_MAX),
    };
    let state = face.state();
    let (spec, group) = state.group(&id).ok_or_else(|| refusal::unknown_group(id.as_str()))?;
    let waits = face.leader.look(|state, view, now| drill_waits(state, view, now, &id)).flatten();
    let open = group.drill.iter().map(|drill| (drill, waits.clone()));
    let all = open.chain(group.drills.iter().rev().map(|drill| (drill, None)));
    let wanted = all.filter(|(drill, _)| request.id == 0 || drill.id.0 == request.id);
    let drills = wanted.take(limit);
    Ok(pb::ListDrillsResponse {
        drills: drills
            .map(|(drill, waits)| wire::drill_to_proto(&id, spec, group, drill, waits))
            .collect(),
        due: said_of_drills(&due(spec, group, clock::wall())),
    })
}

/// When the next is due, in words; empty: policy asks for none.
pub(super) fn said_of_drills(due: &Due) -> String {
    match due {
        Due::Never => String::new(),
        Due::Later(from) => format!("due from {}", calendar::utc(from.0)),
        Due::Due(_, until) => format!("due, overdue from {}", calendar::utc(until.0)),
        Due::Overdue(since) => format!("overdue since {}", calendar::utc(since.0)),
        Due::NoneYet => "due: none has moved this group yet".to_owned(),
    }
}
