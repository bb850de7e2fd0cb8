//! The network: which messages arrive, when and how often. Knows nodes and links between them; not
//! what a message says.

use super::clock::{MS, Nanos};
use super::rng::Rng;
use std::collections::BTreeSet;

/// A host on the network: arbiters first, then agents' hosts, then the DNS server.
pub type Node = usize;

/// The network.
#[derive(Clone, Debug)]
pub struct Net {
    cut: BTreeSet<(Node, Node)>,
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
    nodes: usize,
}

impl Net {
    /// A network of `nodes` that loses nothing.
    pub fn new(nodes: usize, delay_max: Nanos) -> Self {
        let cut = BTreeSet::new();
        Self { cut, loss: 0, double: 0, late: 0, late_max: 3_000 * MS, delay_max, nodes }
    }

    /// Cut or mend one direction of a link.
    pub fn set(&mut self, from: Node, to: Node, up: bool) {
        if up {
            self.cut.remove(&(from, to));
        } else {
            self.cut.insert((from, to));
        }
    }

    /// Cut all links between `inside` and everybody else. `out`: what they send; `back`: what they
    /// would receive.
    pub fn isolate(&mut self, inside: &[Node], out: bool, back: bool) {
        for &one in inside {
            for other in (0..self.nodes).filter(|other| !inside.contains(other)) {
                if out {
                    self.set(one, other, false);
                }
                if back {
                    self.set(other, one, false);
                }
            }
        }
    }

    /// Mend everything and lose nothing more.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.loss = 0;
        self.double = 0;
        self.late = 0;
    }

    /// Mend all links.
    pub fn mend(&mut self) {
        self.cut.clear();
    }

    /// Whether a link carries anything.
    pub fn up(&self, from: Node, to: Node) -> bool {
        from == to || !self.cut.contains(&(from, to))
    }

    /// Whether a link carries in both directions.
    pub fn both(&self, a: Node, b: Node) -> bool {
        self.up(a, b) && self.up(b, a)
    }

    /// The delays after which copies of a message arrive; empty: lost.
    pub fn send(&self, from: Node, to: Node, rng: &mut Rng) -> Vec<Nanos> {
        if !self.up(from, to) || (from != to && rng.chance(self.loss)) {
            return Vec::new();
        }
        let copies = if rng.chance(self.double) { 2 } else { 1 };
        (0..copies).map(|_| self.delay(rng)).collect()
    }

    /// How long one message takes.
    pub fn delay(&self, rng: &mut Rng) -> Nanos {
        let longest = if rng.chance(self.late) { self.late_max } else { self.delay_max };
        rng.range(longest / 8, longest)
    }
}
