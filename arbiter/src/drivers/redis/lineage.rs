//! Which histories a dataset grew out of, as a key in it says.
//!
//! Redis itself knows one former history, and forgets it when a server that appends its changes is
//! started again. Whoever makes a server a primary writes the key, so that it goes where the data
//! goes, and a replica that was away is known to lack nothing. Knows text. Never asks.

use super::info::Point;

/// The key; in database 0. A dataset without it only loses what it would save.
pub const KEY: &str = "arbiter:line";
/// Former histories that are named.
const FORMER_MAX: usize = 8;

/// A history, and the former ones: each up to the offset to which all of it is in this dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The history that began when it was written.
    pub history: String,
    /// The former ones, the newest first.
    pub former: Vec<Point>,
}

impl Lineage {
    /// As the key has it: words with spaces between. What cannot be read is left out.
    pub fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let history = words.next().unwrap_or_default().to_owned();
        let mut former = Vec::new();
        while let (Some(history), Some(offset)) = (words.next(), words.next()) {
            let Ok(offset) = offset.parse() else { break };
            former.push(Point { history: history.to_owned(), offset });
        }
        former.truncate(FORMER_MAX);
        Self { history, former }
    }

    /// The other way.
    pub fn show(&self) -> String {
        let former = self.former.iter().map(|at| format!(" {} {}", at.history, at.offset));
        format!("{}{}", self.history, former.collect::<String>())
    }

    /// What is written when `history` begins with a dataset that stood `at`, and had this key.
    pub fn grown(&self, history: &str, at: Option<Point>) -> Self {
        let mut former: Vec<Point> = at.into_iter().collect();
        for point in &self.former {
            if former.iter().all(|known| known.history != point.history) {
                former.push(point.clone());
            }
        }
        former.retain(|point| point.history != history);
        former.truncate(FORMER_MAX);
        Self { history: history.to_owned(), former }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(history: &str, offset: u64) -> Point {
        Point { history: history.into(), offset }
    }

    #[test]
    fn it_reads_what_it_wrote_and_keeps_the_newest() {
        let first = Lineage::default().grown("b", Some(at("a", 5)));
        assert_eq!(first.show(), "b a 5");
        let second = first.grown("c", Some(at("b", 9)));
        assert_eq!(Lineage::parse(&second.show()), second);
        assert_eq!(second.former, [at("b", 9), at("a", 5)]);
        // Of one that was restarted again and again the newest place counts.
        assert_eq!(second.grown("d", Some(at("b", 12))).former, [at("b", 12), at("a", 5)]);
        let mut long = second;
        for round in 0..20 {
            let next = format!("h{round}");
            long = long.grown(&next, Some(at(&long.history.clone(), round)));
        }
        assert_eq!(long.former.len(), FORMER_MAX);
        assert_eq!(long.former[0], at("h18", 19));
    }

    #[test]
    fn nonsense_says_nothing() {
        assert_eq!(Lineage::parse(""), Lineage::default());
        assert_eq!(Lineage::parse("b a five").former, []);
        assert_eq!(Lineage::parse("b a").former, []);
    }
}
