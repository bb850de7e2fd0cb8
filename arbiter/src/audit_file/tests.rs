//! Copies of the audit log: whole ones, and where one is not.

use super::*;
use arbiter_core::{By, Command, LogId, Proposal, State, WallMillis, settle};

/// A log of `count` calls that were noted.
pub(crate) fn state(count: u64) -> State {
    let mut state = State { cluster_id: Some("demo".into()), version: 2, ..State::default() };
    for n in 1..=count {
        let command = Command::NoteCall {
            call: "test-notify".to_owned(),
            group: Some("default".into()),
            detail: format!("\"{n}\"\nü"),
            result: "done".to_owned(),
        };
        let proposal = Proposal {
            request: None,
            by: By::Operator("ada".to_owned()),
            reason: "a test".to_owned(),
            wall: WallMillis(1_700_000_000_000),
            command,
        };
        state = settle(&state, &proposal, LogId { term: 1, index: n }).state;
    }
    state
}

fn text(state: &State) -> String {
    let records = state.audit.records().iter();
    records.map(|r| Line::Record(Box::new(r.clone())).text().unwrap()).collect()
}

#[test]
fn a_whole_copy_is_good() {
    let state = state(5);
    let good = check(&text(&state)).unwrap();
    assert_eq!((good.records, good.first, good.last), (5, 1, 5));
    assert_eq!((good.hash.as_str(), good.gaps.len()), (state.audit.head.as_str(), 0));
    assert_eq!(check("").unwrap(), Good::default());
}

#[test]
fn the_first_broken_line_is_named() {
    let state = state(5);
    let text = text(&state);
    let lines: Vec<&str> = text.lines().collect();
    let without: Vec<&str> =
        lines.iter().enumerate().filter(|(n, _)| *n != 2).map(|l| *l.1).collect();
    let broken = check(&without.join("\n")).unwrap_err();
    assert_eq!(broken.line, 3);
    assert!(broken.why.contains("record 4 stands where 3 should"), "{}", broken.why);
    let changed = text.replacen("\"who\":\"ada\"", "\"who\":\"eve\"", 2);
    assert_eq!(check(&changed).unwrap_err().line, 1);
    let broken = check(&text.replace("{\"seq\":4", "{\"seq\"")).unwrap_err();
    assert_eq!(broken.line, 4);
    assert!(broken.why.contains("no line of an audit log"), "{}", broken.why);
}

#[test]
fn a_gap_is_told_and_a_repeated_line_counted_once() {
    let state = state(6);
    let all = text(&state);
    let lines: Vec<&str> = all.lines().collect();
    let gap = Line::Gap { gap: Gap { from: 3, to: 4 } }.text().unwrap();
    let copy = format!("{}\n{}\n{}\n{gap}{}\n", lines[0], lines[1], lines[1], lines[4]);
    let good = check(&copy).unwrap();
    assert_eq!((good.records, good.last), (3, 5));
    assert_eq!(good.gaps, [Gap { from: 3, to: 4 }]);
}
