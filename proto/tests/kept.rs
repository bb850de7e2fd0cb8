//! The wire of the release before: what it sends is read, and nothing that it knows was renumbered
//! or taken away. `proto/tests/v1` keeps its description, and each of its messages as bytes, every
//! field set. `ARBITER_UPDATE=1 cargo test -p arbiter-proto` makes what is missing there.

use arbiter_proto::{FILE_DESCRIPTOR_SET, v1 as pb};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// How deep messages in messages are filled.
const DEPTH_MAX: u32 = 4;

fn kept(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/v1").join(name)
}

/// Keep `made` where nothing is kept yet.
fn keep(name: &str, made: &[u8]) {
    let path = kept(name);
    if std::env::var_os("ARBITER_UPDATE").is_some() && !path.exists() {
        fs::write(path, made).expect("the folder is there");
    }
}

fn here() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("our own")
}

fn then() -> FileDescriptorSet {
    FileDescriptorSet::decode(&*fs::read(kept("descriptor.bin")).expect("kept")).expect("whole")
}

/// Messages by full name, those inside others too.
fn messages(set: &FileDescriptorSet) -> BTreeMap<String, DescriptorProto> {
    fn add(found: &mut BTreeMap<String, DescriptorProto>, path: &str, one: &DescriptorProto) {
        let name = format!("{path}.{}", one.name());
        one.nested_type.iter().for_each(|nested| add(found, &name, nested));
        found.insert(name, one.clone());
    }
    let mut found = BTreeMap::new();
    for file in &set.file {
        let path = format!(".{}", file.package());
        file.message_type.iter().for_each(|one| add(&mut found, &path, one));
    }
    found
}

fn enums(set: &FileDescriptorSet) -> BTreeMap<String, EnumDescriptorProto> {
    let mut found = BTreeMap::new();
    for file in &set.file {
        for one in &file.enum_type {
            found.insert(format!(".{}.{}", file.package(), one.name()), one.clone());
        }
    }
    for (name, message) in messages(set) {
        for one in &message.enum_type {
            found.insert(format!("{name}.{}", one.name()), one.clone());
        }
    }
    found
}

/// What of a field is on the wire, and what of it our own code is generated from.
fn shape(field: &FieldDescriptorProto) -> String {
    format!(
        "{} = {}: {:?} {:?} {} optional {}",
        field.name(),
        field.number(),
        field.r#type(),
        field.label(),
        field.type_name(),
        field.proto3_optional()
    )
}

#[test]
fn nothing_that_was_released_is_renumbered_or_gone() {
    keep("descriptor.bin", FILE_DESCRIPTOR_SET);
    let (then, here) = (then(), here());
    let mut gone = String::new();
    let now = messages(&here);
    for (name, message) in messages(&then) {
        let fields = now.get(&name).map(|known| &known.field);
        for field in &message.field {
            let known = fields.into_iter().flatten().find(|f| f.number() == field.number());
            if known.map(shape) != Some(shape(field)) {
                let _ = writeln!(gone, "{name}: {} is {:?}", shape(field), known.map(shape));
            }
        }
        if fields.is_none() {
            let _ = writeln!(gone, "message {name}");
        }
    }
    let now = enums(&here);
    for (name, kept) in enums(&then) {
        let values = now.get(&name).map(|known| known.value.clone()).unwrap_or_default();
        for value in &kept.value {
            let same = |v: &&prost_types::EnumValueDescriptorProto| {
                (v.name(), v.number()) == (value.name(), value.number())
            };
            if values.iter().find(same).is_none() {
                let _ = writeln!(gone, "{name}: {} = {}", value.name(), value.number());
            }
        }
    }
    let calls = |set: &FileDescriptorSet| -> Vec<String> {
        let services = set.file.iter().flat_map(|file| &file.service);
        let call = |service: &prost_types::ServiceDescriptorProto| {
            let name = service.name().to_owned();
            service.method.iter().map(move |m| format!("{name}: {m:?}")).collect::<Vec<_>>()
        };
        services.flat_map(call).collect()
    };
    let now = calls(&here);
    calls(&then).iter().filter(|call| !now.contains(call)).for_each(|call| {
        let _ = writeln!(gone, "{call}");
    });
    assert!(
        gone.is_empty(),
        "an arbiter or agent of the release before is not understood:\n{gone}"
    );
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A message with every field set; of a oneof the first, since only one is kept.
fn filled(all: &BTreeMap<String, DescriptorProto>, name: &str, depth: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let mut chosen = Vec::new();
    let mut fields = all[name].field.clone();
    fields.sort_by_key(FieldDescriptorProto::number);
    for field in &fields {
        let of = field.oneof_index.filter(|_| !field.proto3_optional());
        if of.is_some_and(|of| chosen.contains(&of)) {
            continue;
        }
        chosen.extend(of);
        let tag = (field.number() as u64) << 3;
        let bytes = match field.r#type() {
            Type::Message if depth == 0 => continue,
            Type::Message => filled(all, field.type_name(), depth - 1),
            Type::String | Type::Bytes => format!("{}-{}", field.name(), field.number()).into(),
            Type::Double | Type::Float | Type::Group => panic!("{name}: of no kind in use"),
            _ => {
                let mut value = Vec::new();
                // Of an enum or bool the first that is not the default.
                let small = matches!(field.r#type(), Type::Enum | Type::Bool);
                varint(&mut value, if small { 1 } else { 100 + field.number() as u64 });
                if field.label() == Label::Repeated {
                    varint(&mut out, tag | 2);
                    varint(&mut out, value.len() as u64);
                } else {
                    varint(&mut out, tag);
                }
                out.extend(value);
                continue;
            }
        };
        varint(&mut out, tag | 2);
        varint(&mut out, bytes.len() as u64);
        out.extend(bytes);
    }
    out
}

/// Read, and written again.
type Again = fn(&[u8]) -> Result<Vec<u8>, prost::DecodeError>;

fn again<M: Message + Default>(bytes: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
    Ok(M::decode(bytes)?.encode_to_vec())
}

macro_rules! table {
    ($($name:ident)*) => {
        &[$((concat!(".arbiter.v1.", stringify!($name)), again::<pb::$name> as Again)),*]
    };
}

/// Every message of the release before.
const TABLE: &[(&str, Again)] = table! {
    ActiveRegion AddNodeRequest AdoptTrafficRequest AgentStatus AppendRequest AppendResponse
    ApplyPolicyRequest ApplyPolicyResponse Asked AttestAgentRequest AttestFencedRequest
    BackupRequest BackupResponse CommitWait Commits Delivery Directive DoneReport Drill
    DrillPart ErrorReport Event Evidence ExplainRequest Explanation Fact FencingToken
    GetActiveRegionRequest GetPlanRequest GetStatusRequest GroupDirective GroupReport
    GroupRequest GroupStatus IdentifyRequest IdentifyResponse InitializeRequest InstanceReport
    InstanceStatus LateObject LateObjects ListDrillsRequest ListDrillsResponse
    ListPlansRequest ListPlansResponse LogEntry LogPosition Loss LostTransaction Member
    MemberChange Membership Names Observations Observed OpenPlanRequest OpenPlanResponse Order
    Outcome Peers Plan PlanInstance PlanLoss PlanRequest PlanStep ProbeSeen RaftVote
    RaftVoteRequest RaftVoteResponse Reason Recovered RegionStatus RemoveNodeRequest Report
    RestoreRequest RunDrillRequest RunDrillResponse ServiceSeen SetModeRequest Signal
    SnapshotHead SnapshotMeta SnapshotPart SnapshotResponse SnapshotTail Status StoredIdentity
    StoredMembership StoredSnapshot StoredState StreamPosition Terms TestNotifyRequest
    TestNotifyResponse Timers Traffic TrafficFact TransferLeaderRequest TransferLeaderResponse
    TransferLeadershipRequest UpstreamFact VoterSet VoterStatus
};

#[test]
fn what_was_sent_or_stored_is_read_and_nothing_of_it_lost() {
    let made: Vec<u8> = {
        let all = messages(&here());
        let mut out = String::new();
        for name in all.keys().filter(|name| name.matches('.').count() == 3) {
            let bytes = filled(&all, name, DEPTH_MAX);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(out, "{name} {hex}");
        }
        out.into()
    };
    keep("messages.txt", &made);
    let text = fs::read_to_string(kept("messages.txt")).expect("kept");
    let mut seen = 0;
    for line in text.lines() {
        let (name, hex) = line.split_once(' ').expect("name and bytes");
        let bytes = hex.as_bytes().chunks(2).map(|two| {
            u8::from_str_radix(std::str::from_utf8(two).expect("hex"), 16).expect("hex")
        });
        let bytes: Vec<u8> = bytes.collect();
        let row = TABLE.iter().find(|(known, _)| *known == name);
        let (_, again) = row.unwrap_or_else(|| panic!("{name} has no row"));
        let read = again(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let fields = |bytes: &[u8]| bytes.len();
        assert_eq!(fields(&read), fields(&bytes), "{name}: something of it was not understood");
        assert_eq!(read, bytes, "{name}");
        seen += 1;
    }
    assert_eq!(seen, TABLE.len());
}
