//! What happens in a run, as data: the cluster, each fault and each wish of an operator with its
//! time, and the moves of later lives. A seed draws one; what its people did is written down as it
//! happens, so that the run can be given again, whole or in part. Knows nothing of how it ends.

use super::clock::{Nanos, SECOND};
use super::fault::Fault;
use super::rng::Rng;
use super::shape::Shape;
use super::wish::Wish;
use arbiter_core::GroupId;

/// How long faults and operators act.
const FAULTS_LEASES: u64 = 16;
/// First of all a cluster is set up in peace.
const CALM_SECONDS: u64 = 8;
/// Least and greatest length of that.
const FAULTS_SECONDS: (u64, u64) = (60, 300);
/// What keeps the draws of what people do, and of luck, apart from each other.
const PEOPLE: u64 = 0x7065_6f70_6c65;
const LUCK: u64 = 0x6c75_636b;

/// Something that begins at a time of the world.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// When.
    pub at: Nanos,
    /// What.
    pub what: T,
}

/// A move of a group, once all is well.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// The group.
    pub group: GroupId,
    /// Its active region is cut off; else it is asked to.
    pub cut: bool,
}

/// All that happens in a run but chance.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The cluster.
    pub shape: Shape,
    /// What delays, losses and failures of drivers are drawn from.
    pub luck: u64,
    /// What goes wrong.
    pub faults: Vec<At<Fault>>,
    /// What people do besides, by group; see `people`.
    pub wishes: Vec<At<(GroupId, Wish)>>,
    /// Moves in later lives; see `people`.
    pub moves: Vec<Move>,
    /// People do what they draw from this, and what they do is added to `wishes` and `moves`; none:
    /// they do what is written there.
    pub people: Option<u64>,
    /// When all is mended.
    pub heal: Nanos,
    /// When the run ends, whatever is unwell; none: when all is well again.
    pub until: Option<Nanos>,
}

impl Scenario {
    /// That of a seed. `beyond`: see [`Shape::draw`].
    pub fn of_seed(seed: u64, beyond: Option<i64>) -> Self {
        let mut rng = Rng::new(seed);
        let shape = Shape::draw(&mut rng, beyond);
        let lease = shape.lease();
        let heal =
            (FAULTS_LEASES * lease).clamp(FAULTS_SECONDS.0 * SECOND, FAULTS_SECONDS.1 * SECOND);
        let mut at = CALM_SECONDS * SECOND;
        let mut faults = Vec::new();
        while at < heal {
            let what = Fault::draw(&shape, &mut rng);
            // Only what lasts longer than a lease shows by how much its end is misjudged.
            let what = match beyond {
                Some(_) => Fault::CutAndFreeze { region: rng.index(2), lasts: 3 * lease },
                None => what,
            };
            faults.push(At { at: SECOND + at, what });
            at += rng.range(lease / 8, 3 * lease);
        }
        Self {
            shape,
            luck: seed ^ LUCK,
            faults,
            wishes: Vec::new(),
            moves: Vec::new(),
            people: Some(seed ^ PEOPLE),
            heal: SECOND + heal,
            until: None,
        }
    }
}
