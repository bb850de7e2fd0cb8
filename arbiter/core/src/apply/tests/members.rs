//! Members: no id is given twice, and State follows Raft.

use crate::testing::*;
use crate::*;

fn voter(node_id: u64, region: &str) -> Voter {
    Voter { node_id, region: region.into(), address: format!("new-{node_id}:7400") }
}

fn reserve(name: &str, voter: Voter) -> Command {
    Command::ReserveNode { name: name.into(), voter }
}

fn code(outcome: Result<(), Rejected>) -> (String, String) {
    match outcome {
        Err(Rejected::Refused { code, next, .. }) => (code, next),
        other => panic!("not refused: {other:?}"),
    }
}

fn raised() -> World {
    World::observing()
}

#[test]
fn nothing_of_version_2_is_accepted_before_every_voter_supports_it() {
    let mut world = World::observing();
    world.state.version = 1;
    let (code, next) = code(world.operator(reserve("new", voter(4, "witness"))));
    assert_eq!(code, "state-version");
    assert!(next.contains("arbiter members list"), "{next}");
}

#[test]
fn an_id_that_was_ever_given_is_refused_with_the_next_free_one() {
    let mut world = raised();
    world.operator(reserve("new", voter(7, "witness"))).unwrap();
    assert!(matches!(world.operator(reserve("new", voter(7, "witness"))), Err(Rejected::Stale(_))));
    assert_eq!(code(world.operator(reserve("new", voter(8, "witness")))).0, "name-taken");
    let (taken, next) = code(world.operator(reserve("other", voter(7, "witness"))));
    assert_eq!((taken.as_str(), next.contains("node id 8")), ("node-id-used", true), "{next}");
    // It votes, and then it is removed: its id stays used, as the ids of all before it.
    let mut voters = world.state.spec.voters.clone();
    voters.remove(&"arbiter-wi".into());
    voters.insert("new".into(), voter(7, "witness"));
    let none = Default::default();
    world.operator(Command::SetVoters { voters: voters.clone(), joining: none }).unwrap();
    voters.remove(&"new".into());
    voters.insert("wi".into(), voter(9, "witness"));
    let none = Default::default();
    world.operator(Command::SetVoters { voters, joining: none }).unwrap();
    for used in [1, 2, 3, 7, 9] {
        let refused = code(world.operator(reserve("again", voter(used, "witness"))));
        assert_eq!(refused.0, "node-id-used", "{used}");
    }
    assert_eq!(world.state.next_node_id(), 10);
    assert_eq!(code(world.operator(reserve("x", voter(10, "nowhere")))).0, "unknown-region");
    let taken = Voter { address: "new-9:7400".into(), ..voter(10, "witness") };
    assert_eq!(code(world.operator(reserve("x", taken))).0, "address-taken");
}

#[test]
fn a_file_changes_no_members() {
    let mut world = raised();
    let mut spec = world.state.spec.clone();
    spec.voters.insert("new".into(), voter(4, "witness"));
    assert_eq!(code(world.operator(Command::ApplyPolicy { spec })).0, "voters-changed");
}
