//! The full product: each part of a group × each row of the plan × once or for good, in each way
//! to fail, in a switchover, in a failover whose source is alive, and in one whose region is lost.
//!
//! # Layout
//! - `expected.rs`: how each must end, in one table. `stage.rs`: one case, played to its end.
//!
//! Nothing else goes wrong here: of all at once the seeds are.

mod expected;
mod stage;

pub use expected::{Line, TABLE, expected};

use super::broken::How;
use super::kinds::Kind;
use super::table::Cells;
use arbiter_core::{STEPS, StepId};
use std::fmt;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The driver of a resource of this kind.
    Of(Kind),
    /// The agent itself: killed, its host without power, or frozen.
    Agent,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Of(Kind::Postgres),
        Self::Of(Kind::Redis),
        Self::Of(Kind::Bucket),
        Self::Of(Kind::Workload),
        Self::Of(Kind::Pooler),
        Self::Of(Kind::Dns),
        Self::Agent,
    ];

    /// Its word in the table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Of(kind) => kind.resource(),
            Self::Agent => "agent",
        }
    }
}

/// What is asked for, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Course {
    /// A switchover.
    Switchover,
    /// A failover, whose source would answer.
    Failover,
    /// A failover, whose source region has no power.
    RegionLost,
}

impl Course {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Switchover, Self::Failover, Self::RegionLost];
}

/// One cell of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// What fails.
    pub part: Part,
    /// From which row on.
    pub row: StepId,
    /// In which plan.
    pub course: Course,
    /// Until it is mended, else one attempt.
    pub for_good: bool,
    /// In which way.
    pub how: How,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = if self.for_good { "for good" } else { "once" };
        let (part, how, course) = (self.part.word(), self.how, self.course);
        write!(f, "{part} {how:?} {times} from {} on, {course:?}", self.row)
    }
}

/// How a case ended, a letter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// No plan opened, and the gate named what fails.
    Refused,
    /// Completed, and nothing was left to be said.
    Completed,
    /// Completed, and `status` named what was not where it belongs until it was mended.
    CompletedSaying,
    /// Undone; the reason named what failed.
    Aborted,
    /// It waited for an operator in this row, or in a later one, named what failed, and completed
    /// once that was mended.
    Halted(StepId),
    /// It tried again in this row without end, and completed once mended.
    Waited(StepId),
}

impl Ending {
    /// Its letter in the table, for what was broken from `row` on.
    pub fn letter(self, row: StepId) -> char {
        match self {
            Self::Refused => 'R',
            Self::Completed => 'd',
            Self::CompletedSaying => 's',
            Self::Aborted => 'A',
            Self::Halted(at) if at == row => 'H',
            Self::Halted(_) => 'h',
            Self::Waited(at) if at == row => 'W',
            Self::Waited(_) => 'w',
        }
    }
}

/// Every case of the product.
pub fn cases() -> impl Iterator<Item = Case> {
    let rows = Part::ALL.into_iter().flat_map(|part| STEPS.iter().map(move |row| (part, row.id)));
    rows.flat_map(|(part, row)| cells(part, row))
}

/// The cells of one line, in the order of the table.
pub fn cells(part: Part, row: StepId) -> impl Iterator<Item = Case> {
    let times = Course::ALL.into_iter().flat_map(|course| [(course, false), (course, true)]);
    times.flat_map(move |(course, for_good)| {
        How::ALL.into_iter().map(move |how| Case { part, row, course, for_good, how })
    })
}

/// A case that was played.
pub struct Played {
    /// How it ended, or in words, what was broken: an invariant, what nobody said, or what did not
    /// complete once mended.
    pub ending: Result<Ending, String>,
    /// Its transcript, if it was kept.
    pub trace: Vec<String>,
    /// How often rows ended in which way.
    pub cells: Cells,
}

/// Play one case. `trace`: with its transcript, also where it fails.
pub fn play(case: Case, trace: bool) -> Played {
    stage::Stage::new(case, trace).play()
}

/// The product as a table, each cell as `ended` says.
pub fn table(ended: impl Fn(Case) -> char) -> String {
    let mut out = String::from(
        "                              switchover      failover        region lost\n\
         part    row                   once  for good  once  for good  once  for good\n",
    );
    for part in Part::ALL {
        for row in STEPS {
            let letters: Vec<char> = cells(part, row.id).map(&ended).collect();
            let words = letters.chunks(How::ALL.len()).map(|cell| cell.iter().collect::<String>());
            let words: Vec<String> = words.collect();
            let [a, b, c, d, e, f] = words.as_slice() else { continue };
            let line = format!(
                "{:<7} {:<21} {a:<5} {b:<9} {c:<5} {d:<9} {e:<5} {f}\n",
                part.word(),
                row.name
            );
            out.push_str(&line);
        }
    }
    out.push_str(
        "each cell: errs, refuses, hangs (an agent: killed, no power, frozen)\n\
         d completed  s completed, and said what is not moved  A undone  R did not open\n\
         H halted there  h in a later row  W tried without end there  w in a later row\n",
    );
    out
}
