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

    /// How this line stands to `other`'s.
    pub fn against(&self, other: &Lineage) -> Relation {
        let mut shared = Position::default();
        for (index, mine) in self.0.iter().enumerate() {
            let Some(theirs) = other.0.get(index).filter(|it| it.timeline == mine.timeline) else {
                return Relation::Left(shared);
            };
            let (last, their_last) = (index + 1 == self.0.len(), index + 1 == other.0.len());
            let at = Position { timeline: mine.timeline, offset: mine.offset.min(theirs.offset) };
            match (last, their_last) {
                (true, _) if mine.offset <= theirs.offset => return Relation::On,
                (true, true) => return Relation::Ahead,
                (true, false) => return Relation::Left(at),
                (false, _) if mine.offset != theirs.offset => return Relation::Left(at),
                (false, _) => shared = *mine,
            }
        }
        Relation::On
    }
}

/// How one line of changes stands to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// All of it is on the other.
    On,
    /// It is further on the same, present timeline.
    Ahead,
    /// It left the other there, and went on.
    Left(Position),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ends: &[(u32, u64)]) -> Lineage {
        let at = |&(timeline, offset): &(u32, u64)| Position { timeline, offset };
        Lineage(ends.iter().map(at).collect())
    }

    #[test]
    fn lines_of_changes_are_compared_to_the_byte() {
        let left = |timeline, offset| Relation::Left(Position { timeline, offset });
        let promoted = line(&[(1, 100), (2, 150)]);
        for (mine, expected) in [
            (&[(1, 100)][..], Relation::On),
            (&[(1, 90)], Relation::On),
            (&[(1, 101)], left(1, 100)),
            (&[(1, 100), (2, 150)], Relation::On),
            (&[(1, 100), (2, 151)], Relation::Ahead),
            (&[(1, 90), (2, 95)], left(1, 90)),
            (&[(1, 100), (3, 101)], left(1, 100)),
            (&[(1, 100), (2, 150), (3, 160)], left(2, 150)),
        ] {
            assert_eq!(line(mine).against(&promoted), expected, "{mine:?}");
        }
    }

    #[test]
    fn a_history_file_is_read() {
        let text = "1\t0/30736B8\tno recovery target specified\n\n2\t1/A0\tany text\n";
        let now = Position { timeline: 3, offset: 0x1_0000_0100 };
        let lineage = Lineage::new(text, now);
        assert_eq!(lineage, line(&[(1, 0x30736B8), (2, 0x1_0000_00A0), (3, 0x1_0000_0100)]));
        assert_eq!(lineage.fork(), Some(Position { timeline: 2, offset: 0x1_0000_00A0 }));
    }
}
