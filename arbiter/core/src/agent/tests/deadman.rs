//! The deadman's order: who is due first dies first, and again until a deadline follows.

use crate::agent::deadman::KILL_AGAIN_EVERY;
use crate::agent::{Deadman, DeadmanAction, DeadmanEvent};
use crate::{GroupId, Instant, Profile, Timing};
use std::time::Duration;

const NOW: Instant = Instant(1_000_000_000_000);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn timing() -> Timing {
    Profile::Wan.timing()
}

fn group(name: &str) -> GroupId {
    GroupId::from(name)
}

/// Arm, with a deadline whose kill is due so long after [`NOW`].
fn armed(deadman: &mut Deadman, name: &str, due: Duration) {
    let deadline = NOW + due + timing().deadman_head_start();
    deadman.step(DeadmanEvent::Arm(group(name)), NOW);
    deadman.step(DeadmanEvent::Renew { group: group(name), deadline, timing: timing() }, NOW);
}

fn killed(actions: &[DeadmanAction]) -> Vec<&str> {
    let kills = actions.iter().filter_map(|action| match action {
        DeadmanAction::Kill(group) => Some(group.as_str()),
        _ => None,
    });
    kills.collect()
}

#[test]
fn the_earliest_deadline_is_first_and_what_was_killed_comes_last() {
    let mut deadman = Deadman::new();
    for (name, due) in [("a", 3), ("b", 1), ("c", 2), ("d", 9)] {
        armed(&mut deadman, name, secs(due));
    }
    assert_eq!(deadman.next_wake(), Some(NOW + secs(1)));
    // It could not run in time: all three are due at once.
    let late = NOW + secs(3);
    let actions = deadman.step(DeadmanEvent::Tick, late);
    assert_eq!(killed(&actions), ["b", "c", "a"]);
    for name in ["a", "b", "c"] {
        assert!(actions.contains(&DeadmanAction::Freeze(group(name))), "{name}");
    }
    assert_eq!(deadman.step(DeadmanEvent::Tick, late), []);
    // Whatever came of the kill, it is done again; one that falls due goes before.
    assert_eq!(deadman.next_wake(), Some(late + KILL_AGAIN_EVERY));
    let again = deadman.step(DeadmanEvent::Tick, NOW + secs(9));
    assert_eq!(killed(&again), ["d", "b", "c", "a"]);
    assert_eq!(again.iter().filter(|a| matches!(a, DeadmanAction::Freeze(_))).count(), 1);
}
