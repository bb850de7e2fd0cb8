//! Everything that reads bytes from outside, in one list: what the fuzz targets call
//! (`tests/fuzz`). Knows where each parser is; parses nothing, and is no part of the product.
//!
//! What is public already is not named here: the cluster file (`policy_file`), messages of agents
//! (`wire`), the link of the deadman (`agent::link`), and Proposals and State (`arbiter_core`).

/// Log entries and snapshots, as they come from a disk or a peer.
pub mod raft {
    pub use crate::raft::codec::{
        Malformed, entry_from, entry_to, membership_from, membership_to, meta_from, meta_to,
        stored_membership_from, stored_membership_to, vote_from, vote_to,
    };
    pub use crate::raft::frame::{FrameError, open, seal};
    pub use crate::raft::machine::{SnapshotError, decode_state};
    pub use crate::raft::types::{Command, Entry, SnapshotMeta};
    pub use crc32c::crc32c;

    /// The entries of an `Append`, the first behind the position `prev`.
    ///
    /// # Errors
    /// What a peer is told.
    pub fn appended(
        prev: Option<&arbiter_proto::v1::LogPosition>,
        entries: Vec<arbiter_proto::v1::LogEntry>,
    ) -> Result<Vec<Entry>, tonic::Status> {
        crate::raft::service::entries(prev.map(crate::raft::codec::log_id_from), entries)
    }
}

/// What an agent reads of its own host: its state directory, processes, units, the deadman's state.
pub mod agent {
    pub use crate::agent::deadman::upgrade::Kept;
    use std::path::Path;

    /// `agent.json`: what it says, for comparison.
    ///
    /// # Errors
    /// What the operator is told.
    pub fn saved(bytes: &[u8]) -> Result<String, String> {
        let saved = crate::agent::store::parse(Path::new("agent.json"), bytes);
        saved.map(|saved| format!("{saved:?}")).map_err(|error| error.to_string())
    }

    /// What `systemctl show` prints.
    pub fn units(text: &str) -> String {
        format!("{:?}", crate::agent::units::parse(text))
    }

    /// `/proc/PID/stat`.
    pub fn stat(text: &str) -> String {
        format!("{:?}", crate::agent::tree::parse(text))
    }
}

/// Answers of DNS servers, key files, and records as text.
pub mod dns {
    use crate::dns_client::{Answer, DnsError, Wire, question};
    pub use crate::drivers::dns::settings::RecordKind;
    use crate::drivers::dns::{text, tsig};

    /// What `bytes` answer to a question for `name`, signed with the key in `key` if that is one.
    ///
    /// # Errors
    /// Why that is no answer.
    pub fn answer(
        name: &str,
        kind: RecordKind,
        key: Option<&str>,
        bytes: &[u8],
    ) -> Result<Answer, DnsError> {
        let garbled = |error: crate::drivers::DriverError| DnsError::Garbled(error.to_string());
        let name = text::name(name).map_err(garbled)?;
        let key = key.and_then(|key| tsig::parse(key).ok());
        let wire = Wire::new(question(name, text::kind(kind)), key.as_ref())?;
        wire.check(bytes, "ns.test:53")
    }

    /// Every record of an answer as text, and the text of what that text is read as.
    pub fn written(answer: &Answer) -> Vec<(String, Option<String>)> {
        let records = answer.message.answers.iter();
        let both = records.map(|record| {
            let written = text::write(&record.data);
            let again = text::data(record.record_type(), &written).ok();
            (written, again.map(|data| text::write(&data)))
        });
        both.collect()
    }

    /// Whether a key file holds a key.
    ///
    /// # Errors
    /// Why not.
    pub fn key(text: &str) -> Result<(), &'static str> {
        tsig::parse(text).map(drop)
    }
}

/// A Traffic Manager profile.
pub mod traffic_manager {
    pub use crate::drivers::dns::cas::{Change, RrSet, Seen, Verdict, judge};
    pub use crate::drivers::dns::settings::{Reader, Settings};
    pub use crate::drivers::dns::traffic_manager::profile::{after, seen};
}

/// Pages of monitors and providers.
pub mod pages {
    use arbiter_core::{ProbeSpec, WallMillis};

    /// An Alertmanager's answer, as it is told; none where it is none.
    pub fn alerts(body: &[u8], probe: &ProbeSpec) -> Option<String> {
        use crate::probes::alertmanager::{Wanted, firing, told};
        let wanted = Wanted::of(probe);
        firing(body, &wanted).map(|firing| told(&wanted, &firing, 0))
    }

    /// The open incidents that a provider's page names.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn incidents(page: &[u8], probe: &ProbeSpec) -> Result<Vec<String>, &'static str> {
        // A minute after everything in the samples.
        let now = WallMillis(1_795_867_200_000);
        crate::probes::provider_status::Reading::of(probe, now).incidents(page)
    }
}

/// What PostgreSQL's tools print, and its files.
pub mod postgres {
    pub use crate::drivers::postgres::control::{
        Control, parse as control, parse_lsn as lsn, show_lsn,
    };
    pub use crate::drivers::postgres::files::pid_of;
    pub use crate::drivers::postgres::history::{Lineage, parse as history};
    use arbiter_core::LostTransaction;

    /// Where the record of a line of `pg_waldump` ends.
    pub fn end_of_record(line: &str, control: &Control) -> Option<u64> {
        crate::drivers::postgres::waldump::end_of(line, control)
    }

    /// The commit that a line of `pg_waldump -r Transaction` shows.
    pub fn commit(line: &str) -> Option<(u64, Option<LostTransaction>)> {
        crate::drivers::postgres::keep::transaction(line)
    }

    /// The number in a segment's name that holds `offset`.
    pub fn segment_number(control: &Control, offset: u64) -> u64 {
        crate::drivers::postgres::keep::segment_number(control, offset)
    }
}

/// What Redis answers, and its files.
pub mod redis {
    pub use crate::drivers::redis::facts::{details, faults, obstacles};
    pub use crate::drivers::redis::info::{Info, Point};
    pub use crate::drivers::redis::lineage::Lineage;
    pub use crate::drivers::redis::standing::Standing;

    /// The head of an RDB file.
    pub fn rdb(head: &[u8]) -> Option<Point> {
        crate::drivers::redis::rdb::parse(head)
    }
}

/// PgBouncer's file of databases.
pub mod pgbouncer {
    pub use crate::drivers::pgbouncer::file::{entries, leading};
    pub use crate::drivers::pgbouncer::settings::Place;
}

/// Buckets: policies, ACLs, replication, canaries, and Terraform's states in them.
pub mod bucket {
    pub use crate::drivers::object_store::acl::Acl;
    pub use crate::drivers::object_store::canary::Canary;
    pub use crate::drivers::object_store::policy::Policy;
    pub use crate::drivers::object_store::replication::Replication;
    pub use crate::drivers::object_store::settings::Direction;
    pub use crate::drivers::terraform_state::state::{Lock, State};
}

/// What scripts print.
pub mod command {
    pub use crate::drivers::command::reply::Reply;
}

/// Objects of Kubernetes and of Velero.
pub mod kubernetes {
    use crate::drivers::kubernetes::api::{parse, said as message};
    pub use crate::drivers::kubernetes::quantity::{millis, show};
    use crate::drivers::kubernetes::{capacity, gitops, objects};
    use crate::drivers::velero::{backup, restore};

    /// Each kind of object that an API server may answer with.
    pub const SORTS: usize = 7;

    /// What is understood of an answer, if it is an object of that sort.
    ///
    /// # Errors
    /// Why it is none.
    pub fn object(sort: usize, answer: &[u8]) -> Result<String, String> {
        let told = |error: crate::drivers::kubernetes::api::Fault| error.to_string();
        let meta = |meta: &_| {
            let keeper = gitops::keeper(meta).map(|keeper| keeper.fault("it", "spec.replicas"));
            let (goal, token) = (objects::goal(meta), objects::token(meta));
            format!("{keeper:?} {goal:?} {token:?} {:?}", objects::remembered(meta))
        };
        let workload = |read: objects::Workload| {
            let requests = capacity::requests(&read.pod);
            format!("{requests:?} {} {}", meta(&read.meta), read.asked)
        };
        Ok(match sort % SORTS {
            0 => workload(objects::deployment(parse("it", answer).map_err(told)?)),
            1 => workload(objects::stateful_set(parse("it", answer).map_err(told)?)),
            2 => meta(&objects::cron(parse("it", answer).map_err(told)?).meta),
            3 => owner(objects::Owner::hpa(parse("it", answer).map_err(told)?)),
            4 => owner(objects::Owner::scaled(parse("it", answer).map_err(told)?)),
            5 => format!("{:?}", backup::backup(parse("it", answer).map_err(told)?)),
            _ => {
                let found: restore::Object = parse("it", answer).map_err(told)?;
                match restore::judge("it", &found) {
                    Ok(restore::Progress::Done) => "done".to_owned(),
                    Ok(restore::Progress::Waiting(why)) => why,
                    Err(refused) => refused.to_string(),
                }
            }
        })
    }

    fn owner(owner: Option<objects::Owner>) -> String {
        owner.map_or_else(String::new, |owner| {
            format!(
                "{} {:?} {}..{}",
                owner.called(),
                owner.paused_by_others(),
                owner.min,
                owner.max
            )
        })
    }

    /// What is short for a Deployment on nodes with pods; each an answer of its own.
    ///
    /// # Errors
    /// Why one is none.
    pub fn shortages(nodes: &[u8], pods: &[u8], deployment: &[u8]) -> Result<Vec<String>, String> {
        let told = |error: crate::drivers::kubernetes::api::Fault| error.to_string();
        let (nodes, pods): (Vec<_>, Vec<_>) =
            (parse("nodes", nodes).map_err(told)?, parse("pods", pods).map_err(told)?);
        let read = objects::deployment(parse("deployment", deployment).map_err(told)?);
        let coming = capacity::Coming { whose: "it".to_owned(), count: read.asked, pod: read.pod };
        Ok(capacity::shortages(capacity::left(&nodes, &pods), &[coming]))
    }

    /// What a refusal says.
    pub fn said(answer: &[u8]) -> Option<String> {
        message(answer)
    }
}

/// The operations port, without a socket.
pub mod server {
    pub use crate::server::http::router as operations;
}

/// Settings of instances, where reading them touches no disk.
pub mod settings {
    use crate::drivers::dns::settings::Reader;
    use crate::drivers::{kubernetes, object_store, pgbouncer, terraform_state};
    use arbiter_core::{GroupId, Instance, InstanceId};

    /// What each kind finds wrong with them, whichever kind they are for.
    pub fn faults(group: &GroupId, id: &InstanceId, instance: &Instance) -> Vec<String> {
        let found = [
            kubernetes::settings::Settings::read(id, instance).err(),
            object_store::settings::Settings::read(id, instance).err(),
            pgbouncer::settings::Settings::read(id, instance).err(),
            terraform_state::settings::Settings::read(id, instance).err(),
            Reader::new(id, instance).common(group, &instance.region).err(),
            Reader::new(id, instance).zoneless(group, instance).err(),
        ];
        found.into_iter().flatten().map(|error| error.to_string()).collect()
    }
}
