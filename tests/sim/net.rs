//! The network: which messages arrive, when and how often. Knows nodes and links between them; not
//! what a message says.

use super::clock::{MS, Nanos};
use super::rng::Rng;
use std::collections::BTreeMap;

/// A host on the network: arbiters first, then agents' hosts, then the DNS server.
pub type Node = usize;

/// One direction of a link.
pub type Link = (Node, Node);

/// The network.
#[derive(Clone, Debug)]
pub struct Net {
    /// How many faults cut each direction of a link.
    cut: BTreeMap<Link, u32>,
    /// Messages lost, in a thousand.
    pub loss: u64,
    /// Messages doubled, in a thousand.
    pub double: u64,
    /// Messages delayed by up to `late_max`, in a thousand.
    pub late: u64,
    /// Longest delay of a late message.
    pub late_max: Nanos,
    /// Longest delay of an ordinary message.
    pub delay_max: Nanos,
    /// Messages lost, doubled and late so far.
    pub lost: u64,
    /// See there.
    pub doubled: u64,
    /// See there.
    pub delayed: u64,
    nodes: usize,
}

impl Net {
    /// A network of `nodes` that loses nothing.
    pub fn new(nodes: usize, delay_max: Nanos) -> Self {
        let cut = BTreeMap::new();
        Self {
            cut,
            loss: 0,
            double: 0,
            late: 0,
            late_max: 3_000 * MS,
            delay_max,
            lost: 0,
            doubled: 0,
            delayed: 0,
            nodes,
        }
    }

    /// Cut links, until they are mended as often.
    pub fn cut(&mut self, links: &[Link]) {
        for link in links {
            *self.cut.entry(*link).or_default() += 1;
        }
    }

    /// One fault that cut these is over; another may still cut some of them.
    pub fn mend(&mut self, links: &[Link]) {
        for link in links {
            if let Some(cuts) = self.cut.get_mut(link) {
                *cuts = cuts.saturating_sub(1);
            }
        }
        self.cut.retain(|_, cuts| *cuts > 0);
    }

    /// All links between `inside` and everybody else. `out`: what they send; `back`: what they
    /// would receive.
    pub fn around(&self, inside: &[Node], out: bool, back: bool) -> Vec<Link> {
        let others = (0..self.nodes).filter(|other| !inside.contains(other));
        let pairs = others.flat_map(|other| inside.iter().map(move |one| (*one, other)));
        let both = pairs.flat_map(|(one, other)| [(out, (one, other)), (back, (other, one))]);
        both.filter(|(cut, _)| *cut).map(|(_, link)| link).collect()
    }

    /// Mend everything and lose nothing more.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.loss = 0;
        self.double = 0;
        self.late = 0;
    }

    /// Whether a link carries anything.
    pub fn up(&self, from: Node, to: Node) -> bool {
        from == to || !self.cut.contains_key(&(from, to))
    }

    /// Whether a link carries in both directions.
    pub fn both(&self, a: Node, b: Node) -> bool {
        self.up(a, b) && self.up(b, a)
    }

    /// Whether a message and its answer arrive, however late.
    pub fn there_and_back(&mut self, from: Node, to: Node, rng: &mut Rng) -> bool {
        let lost = rng.chance(self.loss) || rng.chance(self.loss);
        self.lost += u64::from(lost);
        self.both(from, to) && !lost
    }

    /// The delays after which copies of a message arrive; empty: lost.
    pub fn send(&mut self, from: Node, to: Node, rng: &mut Rng) -> Vec<Nanos> {
        if !self.up(from, to) {
            return Vec::new();
        }
        if from != to && rng.chance(self.loss) {
            self.lost += 1;
            return Vec::new();
        }
        let copies = if rng.chance(self.double) { 2 } else { 1 };
        self.doubled += copies - 1;
        (0..copies).map(|_| self.delay(rng)).collect()
    }

    /// How long one message takes.
    pub fn delay(&mut self, rng: &mut Rng) -> Nanos {
        let late = rng.chance(self.late);
        self.delayed += u64::from(late);
        let longest = if late { self.late_max } else { self.delay_max };
        rng.range(longest / 8, longest)
    }
}
