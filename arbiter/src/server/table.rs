//! Who may call what: every call of every service that an arbiter serves, with the roles that may
//! make it. A test compares it with the services; nothing else decides it.

use crate::tls::Role::{self, Admin, Agent, Arbiter, Operator, Viewer};

/// Whoever the cluster knows.
const ALL: &[Role] = &Role::ALL;
/// Questions: people, and arbiters for one another.
const ASK: &[Role] = &[Viewer, Operator, Admin, Arbiter];
/// People.
const PEOPLE: &[Role] = &[Viewer, Operator, Admin];
/// What changes a group, or who leads.
const CHANGE: &[Role] = &[Operator, Admin];
/// What changes who votes, or breaks glass.
const MEMBERS: &[Role] = &[Admin];
/// Agents alone: an arbiter only relays one that it names.
const AGENTS: &[Role] = &[Agent];
/// Arbiters among themselves.
const ARBITERS: &[Role] = &[Arbiter];

/// Each call by its path, with the roles that may make it. What is not here nobody may call.
pub const TABLE: &[(&str, &[Role])] = &[
    ("/arbiter.v1.Query/GetActiveRegion", ASK),
    ("/arbiter.v1.Query/WatchActiveRegion", ASK),
    ("/arbiter.v1.Query/GetStatus", ASK),
    ("/arbiter.v1.Query/ListPlans", ASK),
    ("/arbiter.v1.Query/GetPlan", ASK),
    ("/arbiter.v1.Query/ListDrills", ASK),
    ("/arbiter.v1.Query/Explain", ASK),
    ("/arbiter.v1.Query/ListAudit", ASK),
    ("/arbiter.v1.Query/ListApprovals", ASK),
    ("/arbiter.v1.Admin/Switchover", CHANGE),
    ("/arbiter.v1.Admin/Failover", CHANGE),
    ("/arbiter.v1.Admin/AbortPlan", CHANGE),
    ("/arbiter.v1.Admin/ResumePlan", CHANGE),
    ("/arbiter.v1.Admin/RunDrill", CHANGE),
    ("/arbiter.v1.Admin/AbortDrill", CHANGE),
    ("/arbiter.v1.Admin/SetMode", CHANGE),
    ("/arbiter.v1.Admin/Arm", CHANGE),
    ("/arbiter.v1.Admin/Disarm", CHANGE),
    ("/arbiter.v1.Admin/AttestFenced", CHANGE),
    ("/arbiter.v1.Admin/AdoptTraffic", CHANGE),
    ("/arbiter.v1.Admin/TransferLeadership", CHANGE),
    ("/arbiter.v1.Admin/Initialize", MEMBERS),
    ("/arbiter.v1.Admin/ApplyPolicy", CHANGE),
    ("/arbiter.v1.Admin/TestNotify", CHANGE),
    ("/arbiter.v1.Admin/Maintain", CHANGE),
    ("/arbiter.v1.Admin/EndMaintenance", CHANGE),
    ("/arbiter.v1.Admin/Approve", MEMBERS),
    ("/arbiter.v1.Admin/AddNode", MEMBERS),
    ("/arbiter.v1.Admin/RemoveNode", MEMBERS),
    ("/arbiter.v1.Admin/Restore", MEMBERS),
    ("/arbiter.v1.Admin/AttestAgent", MEMBERS),
    ("/arbiter.v1.Admin/Backup", MEMBERS),
    ("/arbiter.v1.Agent/Session", AGENTS),
    ("/arbiter.v1.Vantage/Observe", ARBITERS),
    ("/arbiter.v1.Vantage/Note", ARBITERS),
    ("/arbiter.v1.Raft/Identify", ARBITERS),
    ("/arbiter.v1.Raft/Append", ARBITERS),
    ("/arbiter.v1.Raft/PreVote", ARBITERS),
    ("/arbiter.v1.Raft/Vote", ARBITERS),
    ("/arbiter.v1.Raft/Snapshot", ARBITERS),
    ("/arbiter.v1.Raft/TransferLeader", ARBITERS),
    ("/grpc.health.v1.Health/Check", ALL),
    ("/grpc.health.v1.Health/Watch", ALL),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", PEOPLE),
];

/// Who may make the call at `path`; none where there is no such call.
pub fn roles(path: &str) -> Option<&'static [Role]> {
    TABLE.iter().find(|(call, _)| *call == path).map(|(_, roles)| *roles)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use prost_types::FileDescriptorSet;
    use std::collections::BTreeSet;

    /// Every call of every service that is served, as the descriptors have them.
    fn served() -> BTreeSet<String> {
        let sets = [
            arbiter_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ];
        let mut calls = BTreeSet::new();
        for set in sets {
            for file in FileDescriptorSet::decode(set).unwrap().file {
                for service in &file.service {
                    let calls_of = service.method.iter().map(|method| {
                        format!("/{}.{}/{}", file.package(), service.name(), method.name())
                    });
                    calls.extend(calls_of);
                }
            }
        }
        calls
    }

    #[test]
    fn every_call_has_one_row_and_every_row_a_call() {
        let rows: BTreeSet<String> = TABLE.iter().map(|(call, _)| (*call).to_owned()).collect();
        assert_eq!(rows.len(), TABLE.len(), "a call has two rows");
        assert_eq!(rows, served());
    }

    /// In words: nobody but operators changes anything, and admin can do all that people can.
    #[test]
    fn roles_are_what_their_names_say() {
        for (call, roles) in TABLE {
            let people = call.contains(".Query/") || call.contains(".Admin/");
            assert_eq!(roles.contains(&Admin), people || !call.contains("/arbiter.v1."), "{call}");
            if call.contains(".Admin/") {
                assert!(roles.iter().all(|role| matches!(role, Operator | Admin)), "{call}");
            }
            if call.contains(".Raft/") || call.contains(".Vantage/") {
                assert_eq!(*roles, ARBITERS, "{call}");
            }
            assert_eq!(roles.contains(&Agent), call.contains(".Agent/") || *roles == ALL, "{call}");
        }
    }
}
