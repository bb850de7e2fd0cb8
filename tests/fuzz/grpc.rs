//! Every message of every RPC, asked and answered.

use super::{Input, tells};
use arbiter::wire;
use arbiter_proto::v1 as pb;
use prost::Message;

/// One method: its service and name, and what its messages go through.
pub type Method = (&'static str, fn(&[u8]), fn(&[u8]));

/// Every method of every service. A test compares it with the descriptors.
pub const METHODS: &[Method] = &[
    ("Admin.Switchover", same::<pb::OpenPlanRequest>, same::<pb::OpenPlanResponse>),
    ("Admin.Failover", same::<pb::OpenPlanRequest>, same::<pb::OpenPlanResponse>),
    ("Admin.AbortPlan", same::<pb::PlanRequest>, same::<pb::Outcome>),
    ("Admin.ResumePlan", same::<pb::PlanRequest>, same::<pb::Outcome>),
    ("Admin.RunDrill", drill, same::<pb::RunDrillResponse>),
    ("Admin.AbortDrill", same::<pb::GroupRequest>, same::<pb::Outcome>),
    ("Admin.SetMode", mode, same::<pb::Outcome>),
    ("Admin.Arm", same::<pb::GroupRequest>, same::<pb::Outcome>),
    ("Admin.Disarm", same::<pb::GroupRequest>, same::<pb::Outcome>),
    ("Admin.AttestFenced", attest, same::<pb::Outcome>),
    ("Admin.AdoptTraffic", same::<pb::AdoptTrafficRequest>, same::<pb::Outcome>),
    ("Admin.TransferLeadership", same::<pb::TransferLeadershipRequest>, same::<pb::Outcome>),
    ("Admin.Initialize", same::<pb::InitializeRequest>, same::<pb::Outcome>),
    ("Admin.ApplyPolicy", same::<pb::ApplyPolicyRequest>, same::<pb::ApplyPolicyResponse>),
    ("Admin.TestNotify", same::<pb::TestNotifyRequest>, same::<pb::TestNotifyResponse>),
    ("Admin.Maintain", same::<pb::MaintainRequest>, same::<pb::Outcome>),
    ("Admin.EndMaintenance", same::<pb::GroupRequest>, same::<pb::Outcome>),
    ("Admin.Approve", same::<pb::ApproveRequest>, same::<pb::Outcome>),
    ("Admin.AddNode", same::<pb::AddNodeRequest>, same::<pb::MemberChange>),
    ("Admin.RemoveNode", same::<pb::RemoveNodeRequest>, same::<pb::MemberChange>),
    ("Admin.Restore", same::<pb::RestoreRequest>, same::<pb::Outcome>),
    ("Admin.AttestAgent", same::<pb::AttestAgentRequest>, same::<pb::Outcome>),
    ("Admin.Backup", same::<pb::BackupRequest>, same::<pb::BackupResponse>),
    ("Agent.Session", report, same::<pb::Directive>),
    ("Vantage.Observe", observe, same::<pb::Observed>),
    ("Vantage.Note", same::<pb::Notes>, same::<pb::Noted>),
    ("Query.GetActiveRegion", same::<pb::GetActiveRegionRequest>, same::<pb::ActiveRegion>),
    ("Query.WatchActiveRegion", same::<pb::GetActiveRegionRequest>, same::<pb::ActiveRegion>),
    ("Query.GetStatus", same::<pb::GetStatusRequest>, same::<pb::Status>),
    ("Query.ListPlans", same::<pb::ListPlansRequest>, same::<pb::ListPlansResponse>),
    ("Query.GetPlan", same::<pb::GetPlanRequest>, same::<pb::Plan>),
    ("Query.ListDrills", same::<pb::ListDrillsRequest>, same::<pb::ListDrillsResponse>),
    ("Query.Explain", same::<pb::ExplainRequest>, same::<pb::Explanation>),
    ("Query.ListAudit", same::<pb::ListAuditRequest>, same::<pb::AuditPage>),
    ("Query.ListApprovals", same::<pb::ListApprovalsRequest>, same::<pb::ListApprovalsResponse>),
    ("Raft.Identify", same::<pb::IdentifyRequest>, same::<pb::IdentifyResponse>),
    ("Raft.Append", same::<pb::AppendRequest>, same::<pb::AppendResponse>),
    ("Raft.PreVote", same::<pb::RaftVoteRequest>, same::<pb::RaftVoteResponse>),
    ("Raft.Vote", same::<pb::RaftVoteRequest>, same::<pb::RaftVoteResponse>),
    ("Raft.Snapshot", same::<pb::SnapshotPart>, same::<pb::SnapshotResponse>),
    ("Raft.TransferLeader", same::<pb::TransferLeaderRequest>, same::<pb::TransferLeaderResponse>),
];

/// The first byte chooses the method and who speaks; the rest is the message. It decodes or does
/// not; what decodes is encoded as the same, and its words are understood or not.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (_, asked, answered) = METHODS[input.below(METHODS.len())];
    let speaks = if input.flip() { asked } else { answered };
    speaks(input.rest());
}

/// The message, if `bytes` are one, encoded and decoded again.
fn decoded<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let again = message.encode_to_vec();
    let read = M::decode(again.as_slice()).expect("what was encoded is decoded");
    // Compared as bytes: a number that is none equals nothing, not even itself.
    assert!(read.encode_to_vec() == again, "encoded as another: {again:?}");
    Some(message)
}

fn same<M: Message + Default>(bytes: &[u8]) {
    let _ = decoded::<M>(bytes);
}

fn mode(bytes: &[u8]) {
    let Some(asked) = decoded::<pb::SetModeRequest>(bytes) else { return };
    if let Some(mode) = wire::mode_from_word(&asked.mode) {
        assert_eq!(wire::mode_word(mode), asked.mode);
    }
}

fn drill(bytes: &[u8]) {
    let Some(asked) = decoded::<pb::RunDrillRequest>(bytes) else { return };
    if let Some(kind) = wire::drill_kind_from_word(&asked.kind) {
        assert_eq!(kind.as_str(), asked.kind);
    }
}

fn attest(bytes: &[u8]) {
    let Some(asked) = decoded::<pb::AttestFencedRequest>(bytes) else { return };
    let _ = wire::token_from_text(&asked.instance);
}

fn report(bytes: &[u8]) {
    let Some(report) = decoded::<pb::Report>(bytes) else { return };
    if let Err(error) = wire::report_from_proto(report) {
        tells(&error.to_string());
    }
}

fn observe(bytes: &[u8]) {
    let Some(seen) = decoded::<pb::Observations>(bytes) else { return };
    for service in &seen.services {
        let now = arbiter_core::Instant::from_millis(1000);
        let seen = wire::service_from_proto(service, now);
        let _ = wire::service_to_proto(&"default".into(), &seen);
    }
}
