//! What Redis answers, and its files.

use super::{Input, survives_json};
use arbiter::fuzzing::redis::{Info, Lineage, Standing, details, faults, obstacles, rdb};
use std::collections::BTreeMap;

/// No number that a server claims makes a panic or a loop without end; where it stands it is on its
/// own line; a lineage is read as it was shown.
pub fn target(bytes: &[u8]) {
    let _ = rdb(bytes);
    let text = Input::new(bytes).text();
    let info = Info::parse(&text);
    if let (Some(line), Some(point)) = (info.line(), info.point()) {
        assert!(line.holds(&point), "{point:?} is not on its own line");
    }
    let _ = (info.keys(), info.databases(), info.followers(), info.major());
    let configured: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let pace = info.number("master_repl_offset");
    let told = [obstacles(&info), faults(&info, &configured, pace)].concat();
    told.iter().for_each(|told| super::tells(told));
    let _ = details(&info);
    let lineage = Lineage::parse(&text);
    if !lineage.history.is_empty() {
        assert_eq!(Lineage::parse(&lineage.show()), lineage);
    }
    let grown = lineage.grown("next", info.point());
    assert_eq!(Lineage::parse(&grown.show()).history, "next");
    if let Ok(standing) = serde_json::from_slice::<Standing>(bytes) {
        survives_json(&standing);
    }
}
