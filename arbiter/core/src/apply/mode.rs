//! Modes for a time: set, and back to what was before. Knows no clock: waits travel inside the
//! command.

use super::entry::{Entry, Outcome, refuse, stale};
use super::group::{change_mode, expect_epoch, mode_word};
use crate::{Command, Epoch, EventKind, GroupId, Mode, Rejected, TimedMode, Waited, WallMillis};
use std::time::Duration;

/// The longest time for which something is set that goes back by itself.
pub const HOLD_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The shortest.
pub const HOLD_MIN: Duration = Duration::from_secs(60);

/// A time that something may be set for.
pub(super) fn may_last(lasts: Duration, most: Duration) -> Outcome {
    if (HOLD_MIN..=most).contains(&lasts) {
        return Ok(());
    }
    refuse(
        "bad-time",
        format!("{lasts:?} is not between {HOLD_MIN:?} and {most:?}"),
        "give another --for, such as --for 2h",
    )
}

/// The instant `lasts` after the entry's, for people.
pub(super) fn until(entry: &Entry, lasts: Duration) -> WallMillis {
    let millis = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
    WallMillis(entry.proposal.wall.0.saturating_add(millis))
}

/// One line a command.
pub(super) fn run(entry: &mut Entry) -> Outcome {
    match &entry.proposal.command {
        Command::SetModeFor { group, mode, lasts, expected_epoch } => {
            set_for(entry, group, *mode, *lasts, *expected_epoch)
        }
        Command::RevertMode { group, since, waited } => revert(entry, group, *since, *waited),
        _ => Ok(()),
    }
}

fn set_for(
    entry: &mut Entry,
    group: &GroupId,
    mode: Mode,
    lasts: Duration,
    expected: Epoch,
) -> Outcome {
    expect_epoch(entry, group, expected)?;
    may_last(lasts, HOLD_MAX)?;
    let (_, found) = entry.group(group)?;
    let then = found.timed_mode.as_ref().map_or(found.mode, |hold| hold.then);
    if then == mode {
        let word = mode_word(mode);
        return refuse(
            "mode-is-so",
            format!("after it group {group} would be in mode {word} as well"),
            format!("arbiter mode {word} --group {group}, without --for"),
        );
    }
    if found.mode != mode {
        change_mode(entry, group, mode)?;
    }
    let (since, until) = (entry.at.index, until(entry, lasts));
    let hold = TimedMode { since, lasts, then, until, stays_because: None };
    entry.group_mut(group)?.timed_mode = Some(hold);
    let (word, then) = (mode_word(mode), mode_word(then));
    let message = format!("group {group} is in mode {word} for {lasts:?}, then {then}");
    entry.tell(EventKind::ModeChanged, Some(group), message, String::new());
    Ok(())
}

/// The time passed: back, if the mode from before may be set now; else it stays, and says why.
fn revert(entry: &mut Entry, group: &GroupId, since: u64, waited: Waited) -> Outcome {
    let (_, found) = entry.group(group)?;
    let Some(hold) = found.timed_mode.clone().filter(|hold| hold.since == since) else {
        return stale(format!("no mode of group {group} was set for a time by {since}"));
    };
    if hold.stays_because.is_some() {
        return stale("it could not go back, and waits for an operator");
    }
    if waited.term != entry.at.term || waited.elapsed < hold.lasts {
        return stale("its time has not passed in this term");
    }
    if found.plan.is_some() || found.drill.is_some() {
        return stale("a plan or a drill is open; the mode goes back when it ended");
    }
    let was = mode_word(found.mode);
    let word = mode_word(hold.then);
    match change_mode(entry, group, hold.then) {
        Ok(()) => {
            let message = format!("the time of mode {was} passed: group {group} is back in {word}");
            entry.group_mut(group)?.timed_mode = None;
            entry.tell(EventKind::ModeChanged, Some(group), message, String::new());
            Ok(())
        }
        Err(Rejected::Refused { reason, next, .. }) => {
            let message =
                format!("group {group} stays in mode {was}, and not back to {word}: {reason}");
            if let Some(hold) = &mut entry.group_mut(group)?.timed_mode {
                hold.stays_because = Some(reason);
            }
            entry.tell(EventKind::ModeStays, Some(group), message, next);
            Ok(())
        }
        Err(other) => Err(other),
    }
}
