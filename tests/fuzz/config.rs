//! The cluster file, and the scalars in it.

use super::{Input, survives_json, tells};
use arbiter::fuzzing::settings;
use arbiter::policy_file;
use arbiter_core::{By, Command, LogId, Proposal, State, WallMillis};

/// Checked without a panic; every fault says something; what has none makes a specification that
/// outlives JSON, differs in nothing from itself, and that a new cluster takes or refuses in words.
pub fn target(bytes: &[u8]) {
    let text = Input::new(bytes).text();
    let _ = cluster_config::duration(&text);
    let _ = cluster_config::host_port(&text);
    let _ = cluster_config::http_url(&text);
    let cluster = match policy_file::parse(&text, "cluster.toml") {
        Ok(cluster) => cluster,
        Err(faults) => return tells(&faults.to_string()),
    };
    let spec = policy_file::to_spec(&cluster);
    for (group, of) in &spec.groups {
        for (id, instance) in &of.instances {
            settings::faults(group, id, instance).iter().for_each(|fault| tells(fault));
        }
    }
    survives_json(&spec);
    assert_eq!(policy_file::diff(&spec, &spec), Vec::<String>::new());
    let begin = Proposal {
        request: None,
        by: By::Policy,
        reason: String::new(),
        wall: WallMillis(0),
        command: Command::Initialize { cluster_id: "fuzz".into(), spec },
    };
    let settled = arbiter_core::settle(&State::default(), &begin, LogId { term: 1, index: 1 });
    if let Err(refused) = settled.outcome {
        panic!("a file without a fault is refused: {refused}");
    }
}
