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

fn hold<'a>(deadman: &'a Deadman, name: &str) -> &'a crate::agent::Hold {
    &deadman.holds()[&group(name)]
}

fn renewal(name: &str, due: Duration) -> DeadmanEvent {
    let deadline = NOW + due + timing().deadman_head_start();
    DeadmanEvent::Renew { group: group(name), deadline, timing: timing() }
}

#[test]
fn unarmed_it_counts_each_deadline_once_and_kills_nothing() {
    let mut deadman = Deadman::new();
    assert_eq!(deadman.next_wake(), None);
    assert_eq!(deadman.step(renewal("a", secs(1)), NOW), []);
    assert_eq!(deadman.next_wake(), Some(NOW + secs(1)));
    for _ in 0..2 {
        assert_eq!(deadman.step(DeadmanEvent::Tick, NOW + secs(1)), []);
        assert_eq!(hold(&deadman, "a").would_have_killed, 1);
        assert_eq!(deadman.next_wake(), None, "it was counted");
    }
    deadman.step(renewal("a", secs(5)), NOW + secs(2));
    assert_eq!(deadman.next_wake(), Some(NOW + secs(5)));
    deadman.step(DeadmanEvent::Tick, NOW + secs(5));
    assert_eq!(hold(&deadman, "a").would_have_killed, 2);
    assert!(!hold(&deadman, "a").frozen);
    // The count outlives arming and disarming; the deadline that only counted does not.
    deadman.step(DeadmanEvent::Arm(group("a")), NOW + secs(6));
    let armed = hold(&deadman, "a");
    assert_eq!((armed.armed, armed.deadline, armed.would_have_killed), (true, None, 2));
    deadman.step(DeadmanEvent::Disarm(group("a")), NOW + secs(7));
    let disarmed = hold(&deadman, "a");
    assert_eq!((disarmed.armed, disarmed.would_have_killed), (false, 2));
}

#[test]
fn armed_twice_it_keeps_its_deadline() {
    let mut deadman = Deadman::new();
    armed(&mut deadman, "a", secs(3));
    let before = hold(&deadman, "a").clone();
    deadman.step(DeadmanEvent::Arm(group("a")), NOW + secs(1));
    assert_eq!(*hold(&deadman, "a"), before);
    assert!(before.is_running(NOW + secs(2)) && !before.is_running(NOW + secs(3)));
    assert_eq!(before.kill_at(), Some(NOW + secs(3)));
}

#[test]
fn only_a_deadline_in_the_future_lifts_the_freeze() {
    let mut deadman = Deadman::new();
    armed(&mut deadman, "a", secs(1));
    let (kill, freeze) = (DeadmanAction::Kill(group("a")), DeadmanAction::Freeze(group("a")));
    assert_eq!(deadman.step(DeadmanEvent::Tick, NOW + secs(1)), [kill.clone(), freeze]);
    let late = deadman.step(renewal("a", secs(1)), NOW + secs(1));
    assert_eq!(late, [], "it is due now, and was killed now");
    assert!(hold(&deadman, "a").frozen && !hold(&deadman, "a").is_running(NOW));
    let lifted = deadman.step(renewal("a", secs(9)), NOW + secs(1));
    assert_eq!(lifted, [kill, DeadmanAction::Thaw(group("a"))], "a late fork dies first");
    assert!(!hold(&deadman, "a").frozen && hold(&deadman, "a").is_running(NOW + secs(1)));
}

#[test]
fn it_kills_again_every_second_and_not_sooner() {
    let mut deadman = Deadman::new();
    armed(&mut deadman, "a", secs(1));
    deadman.step(DeadmanEvent::Tick, NOW + secs(1));
    let again = NOW + secs(1) + KILL_AGAIN_EVERY;
    assert_eq!(deadman.step(DeadmanEvent::Tick, again - Duration::from_millis(1)), []);
    assert_eq!(deadman.step(DeadmanEvent::Tick, again), [DeadmanAction::Kill(group("a"))]);
}

#[test]
fn a_renewal_after_a_kill_counts_from_its_own_deadline_alone() {
    let mut deadman = Deadman::new();
    armed(&mut deadman, "a", secs(1));
    deadman.step(DeadmanEvent::Tick, NOW + secs(1));
    let soon = NOW + secs(1) + KILL_AGAIN_EVERY / 2;
    deadman.step(renewal("a", soon.since(NOW)), NOW + secs(1));
    assert_eq!(deadman.next_wake(), Some(soon));
    assert_eq!(killed(&deadman.step(DeadmanEvent::Tick, soon)), ["a"]);
}

#[test]
fn what_holds_nothing_writable_is_cleared_thawed_and_goes_on() {
    let mut deadman = Deadman::new();
    armed(&mut deadman, "a", secs(1));
    deadman.step(DeadmanEvent::Tick, NOW + secs(1));
    let (kill, thaw) = (DeadmanAction::Kill(group("a")), DeadmanAction::Thaw(group("a")));
    let clear = DeadmanEvent::Clear(group("a"));
    assert_eq!(deadman.step(clear.clone(), NOW + secs(1)), [kill, thaw]);
    assert_eq!(hold(&deadman, "a").deadline, None);
    assert_eq!(deadman.next_wake(), None);
    assert_eq!(deadman.step(DeadmanEvent::Tick, NOW + secs(60)), []);
    armed(&mut deadman, "b", secs(1));
    deadman.step(DeadmanEvent::Pause(group("b")), NOW);
    let on = DeadmanAction::Continue(group("b"));
    assert_eq!(deadman.step(DeadmanEvent::Clear(group("b")), NOW), [on]);
    assert_eq!(deadman.step(clear, NOW), [], "once");
}

#[test]
fn it_pauses_what_is_armed_once_and_a_kill_ends_the_pause() {
    let mut deadman = Deadman::new();
    let (pause, go_on) = (DeadmanEvent::Pause(group("a")), DeadmanEvent::Continue(group("a")));
    assert_eq!(deadman.step(pause.clone(), NOW), [], "it holds nothing");
    deadman.step(renewal("a", secs(9)), NOW);
    assert_eq!(deadman.step(pause.clone(), NOW), [], "unarmed it stops nothing");
    armed(&mut deadman, "a", secs(9));
    assert_eq!(deadman.step(pause.clone(), NOW), [DeadmanAction::Pause(group("a"))]);
    assert_eq!(deadman.step(pause.clone(), NOW), []);
    assert_eq!(deadman.step(go_on.clone(), NOW), [DeadmanAction::Continue(group("a"))]);
    assert_eq!(deadman.step(go_on, NOW), []);
    deadman.step(pause.clone(), NOW);
    deadman.step(DeadmanEvent::Tick, NOW + secs(9));
    assert!(hold(&deadman, "a").frozen && !hold(&deadman, "a").paused);
    assert_eq!(deadman.step(pause, NOW + secs(9)), [], "nothing is left to be paused");
}

#[test]
fn disarmed_everything_goes_on() {
    let mut deadman = Deadman::new();
    armed(&mut deadman, "a", secs(1));
    armed(&mut deadman, "b", secs(9));
    deadman.step(DeadmanEvent::Pause(group("b")), NOW);
    deadman.step(DeadmanEvent::Tick, NOW + secs(1));
    let freed = deadman.step(DeadmanEvent::Disarm(group("a")), NOW + secs(1));
    assert_eq!(freed, [DeadmanAction::Kill(group("a")), DeadmanAction::Thaw(group("a"))]);
    let freed = deadman.step(DeadmanEvent::Disarm(group("b")), NOW + secs(1));
    assert_eq!(freed, [DeadmanAction::Continue(group("b"))]);
    assert_eq!(deadman.step(DeadmanEvent::Tick, NOW + secs(60)), []);
}

#[test]
fn the_next_image_goes_on_where_this_one_was() {
    let mut deadman = Deadman::new();
    armed(&mut deadman, "a", secs(3));
    let mut next = Deadman::restore(deadman.snapshot());
    assert_eq!(next, deadman);
    assert_eq!(killed(&next.step(DeadmanEvent::Tick, NOW + secs(3))), ["a"]);
}
