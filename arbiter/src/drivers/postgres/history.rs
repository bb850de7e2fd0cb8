//! Timelines: where each ended and the next began, and whether one line leads into another.
//!
//! Knows numbers and the text of `.history` files. Never reads one.

use super::control::{parse_lsn, show_lsn};
use arbiter_core::Position;

/// A line of changes: each timeline and where it ends, oldest first. The last is the present one,
/// and its end is how far it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(pub Vec<Position>);

impl Lineage {
    /// The line whose present timeline is `now`, from the text of that timeline's history file
    /// (empty for timeline 1).
    pub fn new(history: &str, now: Position) -> Self {
        let mut ends = parse(history);
        ends.push(now);
        Self(ends)
    }

    /// The end of the parent timeline, where the present one began.
    pub fn fork(&self) -> Option<Position> {
        self.0.iter().rev().nth(1).copied()
    }

    /// Where this line left `other`'s, if something of it is not on `other`'s.
    pub fn leaves(&self, other: &Lineage) -> Option<Position> {
        let last = self.0.len().saturating_sub(1);
        let mut shared = Position::default();
        for (index, mine) in self.0.iter().enumerate() {
            let Some(theirs) = other.0.get(index) else { return Some(shared) };
            if theirs.timeline != mine.timeline {
                return Some(shared);
            }
            let same = theirs.offset == mine.offset;
            if index < last && !same || index == last && mine.offset > theirs.offset {
                let offset = mine.offset.min(theirs.offset);
                return Some(Position { timeline: mine.timeline, offset });
            }
            shared = *mine;
        }
        None
    }
}

/// The entries of a history file: each parent timeline and where it ended.
pub fn parse(text: &str) -> Vec<Position> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let timeline = words.next()?.parse().ok()?;
            Some(Position { timeline, offset: parse_lsn(words.next()?)? })
        })
        .collect()
}

/// `LSN on timeline N`, for people.
pub fn show(at: Position) -> String {
    format!("{} on timeline {}", show_lsn(at.offset), at.timeline)
}
