//! What PostgreSQL's tools print, and files that it writes.

use super::{Input, tells};
use arbiter::fuzzing::postgres::{
    Control, Lineage, commit, control, end_of_record, history, lsn, pid_of, segment_number,
    show_lsn,
};
use arbiter_core::Position;

/// The control data in front, up to a line `--`, then what the other tools print: no number in them
/// makes a panic or a loop without end, and a record ends behind its start.
pub fn target(bytes: &[u8]) {
    let text = Input::new(bytes).text();
    let (front, rest) = text.split_once("--\n").unwrap_or((&text, &text));
    if let Some(at) = lsn(front) {
        assert_eq!(lsn(&show_lsn(at)), Some(at));
    }
    let _ = pid_of(rest);
    lines_of_changes(front, rest);
    for line in rest.lines() {
        let _ = commit(line);
    }
    match control(front) {
        Ok(control) => tools(&control, rest),
        Err(why) => tells(&why),
    }
}

fn tools(control: &Control, rest: &str) {
    for line in rest.lines() {
        if let Some(end) = end_of_record(line, control) {
            assert!(end.is_multiple_of(8), "{line:?} ends at {end}");
        }
        if let Some(offset) = lsn(line) {
            let _ = segment_number(control, offset);
        }
    }
}

fn lines_of_changes(front: &str, rest: &str) {
    let end = |ends: &[Position]| ends.last().copied().unwrap_or_default();
    let one = Lineage::new(front, end(&history(rest)));
    let other = Lineage::new(rest, end(&history(front)));
    let _ = (one.against(&other), one.fork());
    assert_eq!(format!("{:?}", one.against(&one)), "On", "a line is not on itself: {one:?}");
}
