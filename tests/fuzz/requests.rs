//! Scripts to begin with: what people, agents and peers would ask of an arbiter of some State.

use super::grpc::METHODS;
use super::handlers::{GET, WAIT};
use super::rig::{CLUSTER, TERM, peers, vote};
use super::worlds::{behind, file_of, worlds};
use arbiter::wire;
use arbiter_core::{AgentId, GroupId, Report, State};
use arbiter_proto::v1 as pb;
use prost::Message;

/// Every so many States one is asked everything.
const EVERY: usize = 9;
/// What of a script says how the arbiter stands: see `handlers`.
const LEADS: u8 = 0;
const LEADS_OLD: u8 = 4;
const FOLLOWS: u8 = 2;
const NEW: u8 = 3;

/// A script, as it is written.
struct Script(Vec<u8>);

impl Script {
    fn of(world: usize, stands: u8) -> Self {
        Self(vec![world as u8, stands])
    }

    fn does(mut self, what: usize) -> Self {
        self.0.push(what as u8);
        self
    }

    fn part(mut self, part: &[u8]) -> Self {
        self.0.extend((part.len() as u16).to_be_bytes());
        self.0.extend_from_slice(part);
        self
    }

    fn call(self, method: &str, message: &impl Message) -> Self {
        self.does(at(method)).part(&message.encode_to_vec())
    }

    /// A Report, on a new stream or on the one that is open.
    fn report(mut self, anew: bool, report: &Report) -> Self {
        self.0.extend([at("Agent.Session") as u8, u8::from(anew)]);
        self.part(&wire::report_to_proto(report).encode_to_vec())
    }

    fn get(self, path: &str) -> Self {
        self.does(GET).part(path.as_bytes())
    }

    /// As `Input::number` reads it.
    fn wait(self, millis: u16) -> Self {
        let [high, low] = millis.to_be_bytes();
        let mut script = self.does(WAIT);
        script.0.extend([200, high, low]);
        script
    }
}

fn at(method: &str) -> usize {
    METHODS.iter().position(|(name, ..)| *name == method).expect("a method")
}

/// All scripts; `report` is what an agent of a State reports.
pub fn scripts(report: fn(&State, &AgentId) -> Report) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for (at, state) in worlds().iter().enumerate().skip(1).step_by(EVERY) {
        let mut add = |what: &str, script: Script| {
            found.push((format!("{what} of world {at}"), script.0));
        };
        let Some(group) = state.spec.groups.keys().next() else { continue };
        for stands in [LEADS, FOLLOWS] {
            add("questions", questions(Script::of(at, stands), group));
            add("more questions", operations(Script::of(at, stands), state, group));
        }
        for (method, message) in changes(state, group) {
            let script = Script::of(at, LEADS).does(self::at(method)).part(&message);
            add(method, script.get("/metrics").wait(5_000));
            let old = Script::of(at, LEADS_OLD).does(self::at(method)).part(&message);
            add(method, old);
        }
        add("what agents report", reports(Script::of(at, LEADS), state, report));
        add("what peers say", peer(Script::of(at, FOLLOWS)));
        add("a deposed leader", peer(Script::of(at, LEADS)));
        add("a beginning", beginning(Script::of(at, NEW), state));
    }
    found
}

fn asked(number: u8) -> Option<pb::Asked> {
    let request_id = format!("request-{number}");
    Some(pb::Asked { request_id, reason: "because".into(), by: "ann".into() })
}

fn questions(script: Script, group: &GroupId) -> Script {
    let group = group.0.clone();
    let active = pb::GetActiveRegionRequest { group: group.clone(), stale: false };
    script
        .call("Query.GetActiveRegion", &active)
        .call("Query.WatchActiveRegion", &active)
        .call("Query.GetStatus", &pb::GetStatusRequest { group: group.clone() })
        .call("Query.ListPlans", &pb::ListPlansRequest { group: group.clone(), limit: 3 })
        .call("Query.GetPlan", &pb::GetPlanRequest { id: 1 })
        .call("Query.ListDrills", &pb::ListDrillsRequest { group: group.clone(), id: 0, limit: 3 })
        .call("Query.Explain", &pb::ExplainRequest { group })
        .call("Query.ListAudit", &pb::ListAuditRequest { since: 1, follow: true })
        .call("Query.ListApprovals", &pb::ListApprovalsRequest {})
        .call("Admin.TestNotify", &pb::TestNotifyRequest { by: "ann".into() })
        .call("Admin.Backup", &pb::BackupRequest { by: "ann".into() })
}

fn operations(script: Script, state: &State, group: &GroupId) -> Script {
    let probes = state.spec.groups[group].probes.keys();
    let probes = probes.map(|probe| pb::ProbeSeen {
        group: group.0.clone(),
        probe: probe.clone(),
        up: Some(false),
        detail: "refused".to_owned(),
        age_ns: 1,
    });
    let arbiter = state.spec.voters.keys().next().expect("an arbiter").0.clone();
    let service = pb::ServiceSeen { group: group.0.clone(), reached: true, ..Default::default() };
    let seen = pb::Observations {
        cluster_id: CLUSTER.to_owned(),
        arbiter: arbiter.clone(),
        probes: probes.collect(),
        services: vec![service],
        posted_through: 3,
    };
    let note = pb::CallNote {
        request_id: "note-1".into(),
        who: "ann".into(),
        call: "set-mode".into(),
        group: group.0.clone(),
        result: "unknown-group".into(),
        ..Default::default()
    };
    let notes = pb::Notes { cluster_id: CLUSTER.to_owned(), arbiter, notes: vec![note] };
    let region = state.spec.regions.keys().next().expect("a region");
    script
        .get("livez")
        .get("readyz")
        .call("Vantage.Observe", &seen)
        .call("Vantage.Note", &notes)
        .get("metrics")
        .get(&format!("v1/active/{group}"))
        .get(&format!("v1/groups/{group}/regions/{region}/active"))
        .get("v1/groups/%66/regions/x%20y/active?a=b")
        .wait(3_000)
}

/// Every change that an operator may ask for.
fn changes(state: &State, group: &GroupId) -> Vec<(&'static str, Vec<u8>)> {
    let spec = &state.spec.groups[group];
    let name = group.0.clone();
    let active = state.groups.get(group).and_then(|found| found.active());
    let mut data = spec.instances.values().map(|one| &one.region);
    let target = data.find(|region| Some(*region) != active).map_or("us-east", |to| to.as_str());
    let plan = state.groups.get(group).and_then(|found| found.plan.as_ref());
    let plan = plan.map_or(1, |plan| plan.id.0);
    let fence = spec.instances.iter().find(|(_, one)| one.needs_evidence());
    let instance = fence.map_or("db-eu", |(id, _)| id.as_str()).to_owned();
    let open = pb::OpenPlanRequest {
        asked: asked(1),
        group: name.clone(),
        target: target.to_owned(),
        accept_loss: true,
        overrides: vec!["rpo".to_owned()],
        ..Default::default()
    };
    let of_plan =
        pb::PlanRequest { asked: asked(2), group: name.clone(), plan, ..Default::default() };
    let of_group = pb::GroupRequest { asked: asked(3), group: name.clone(), ..Default::default() };
    let drill = pb::RunDrillRequest {
        asked: asked(4),
        group: name.clone(),
        kind: "rehearsal".to_owned(),
        ..Default::default()
    };
    let mode = pb::SetModeRequest {
        asked: asked(5),
        group: name.clone(),
        mode: "automatic".to_owned(),
        for_ms: 60_000,
        ..Default::default()
    };
    let maintain = pb::MaintainRequest {
        asked: asked(6),
        group: name.clone(),
        for_ms: 600_000,
        lease_ms: 60_000,
        ..Default::default()
    };
    let attest = pb::AttestFencedRequest {
        asked: asked(7),
        group: name.clone(),
        plan,
        instance,
        ..Default::default()
    };
    let mut found = vec![
        ("Admin.Switchover", open.encode_to_vec()),
        ("Admin.Failover", open.encode_to_vec()),
        ("Admin.AbortPlan", of_plan.encode_to_vec()),
        ("Admin.ResumePlan", of_plan.encode_to_vec()),
        ("Admin.RunDrill", drill.encode_to_vec()),
        ("Admin.AbortDrill", of_group.encode_to_vec()),
        ("Admin.SetMode", mode.encode_to_vec()),
        ("Admin.Arm", of_group.encode_to_vec()),
        ("Admin.Disarm", of_group.encode_to_vec()),
        ("Admin.Maintain", maintain.encode_to_vec()),
        ("Admin.EndMaintenance", of_group.encode_to_vec()),
        ("Admin.AttestFenced", attest.encode_to_vec()),
    ];
    let dry = pb::OpenPlanRequest { dry_run: true, ..open };
    found.push(("Admin.Failover", dry.encode_to_vec()));
    found.extend(of_the_cluster(state, &name));
    found
}

fn of_the_cluster(state: &State, group: &str) -> Vec<(&'static str, Vec<u8>)> {
    let zone = "example.com.".to_owned();
    let adopt = pb::AdoptTrafficRequest {
        asked: asked(8),
        group: group.to_owned(),
        zone,
        ..Default::default()
    };
    let voter = state.spec.voters.keys().next_back().expect("an arbiter").0.clone();
    let transfer = pb::TransferLeadershipRequest { asked: asked(9), to: voter.clone() };
    let add = pb::AddNodeRequest {
        asked: asked(10),
        name: "arbiter-new".to_owned(),
        node_id: 9,
        region: state.spec.regions.keys().next().expect("a region").0.clone(),
        address: "10.0.9.1:7400".to_owned(),
        replaces: voter.clone(),
    };
    let remove = pb::RemoveNodeRequest { asked: asked(11), name: voter, accept_fewer: true };
    let agent = state.spec.agents.keys().next().map_or(String::new(), |agent| agent.0.clone());
    let attest = pb::AttestAgentRequest { asked: asked(12), agent };
    let config_toml = file_of(state, CLUSTER);
    let policy = pb::ApplyPolicyRequest { asked: asked(13), config_toml, dry_run: false };
    vec![
        ("Admin.AdoptTraffic", adopt.encode_to_vec()),
        ("Admin.TransferLeadership", transfer.encode_to_vec()),
        ("Admin.AddNode", add.encode_to_vec()),
        ("Admin.RemoveNode", remove.encode_to_vec()),
        ("Admin.AttestAgent", attest.encode_to_vec()),
        ("Admin.Approve", pb::ApproveRequest { asked: asked(14), id: 1 }.encode_to_vec()),
        ("Admin.ApplyPolicy", policy.encode_to_vec()),
    ]
}

/// Every agent reports, again after a while, and is silent then.
fn reports(script: Script, state: &State, report: fn(&State, &AgentId) -> Report) -> Script {
    let mut script = script;
    for agent in state.spec.agents.keys() {
        let first = report(state, agent);
        let again = Report { sequence: first.sequence + 1, ..first.clone() };
        script = script.report(true, &first).wait(500).report(false, &again);
    }
    script.wait(20_000).get("metrics").wait(40_000)
}

fn peer(script: Script) -> Script {
    let last = Some(pb::LogPosition { term: TERM, index: behind(0).index });
    let next = |index| pb::LogEntry {
        at: Some(pb::LogPosition { term: TERM, index }),
        payload: Some(pb::log_entry::Payload::Blank(true)),
    };
    let append = pb::AppendRequest {
        peers: Some(peers()),
        vote: Some(vote()),
        prev: last,
        committed: last,
        entries: vec![next(behind(1).index), next(behind(2).index)],
    };
    let candidate = pb::RaftVote { term: TERM + 9, committed: false, ..vote() };
    let ask = pb::RaftVoteRequest {
        peers: Some(peers()),
        vote: Some(candidate),
        last,
        leadership_transfer: true,
    };
    let transfer = pb::TransferLeaderRequest {
        peers: Some(peers()),
        from_leader: Some(vote()),
        to_node: 1,
        last,
    };
    script
        .call("Raft.Identify", &pb::IdentifyRequest { cluster_id: CLUSTER.into(), to: 1 })
        .call("Raft.Append", &append)
        .call("Raft.TransferLeader", &transfer)
        .call("Raft.PreVote", &ask)
        .call("Raft.Vote", &ask)
        .wait(2_000)
}

fn beginning(script: Script, state: &State) -> Script {
    let cluster_id = CLUSTER.to_owned();
    let begin = pb::InitializeRequest {
        asked: asked(15),
        cluster_id,
        config_toml: file_of(state, CLUSTER),
    };
    let status = pb::GetStatusRequest { group: String::new() };
    script
        .call("Query.GetStatus", &status)
        .call("Admin.Initialize", &begin)
        .call("Admin.Initialize", &begin)
        .call("Query.GetStatus", &status)
}
