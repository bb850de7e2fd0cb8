//! The lease of design §5, sentence by sentence: a deadline counts from the Report that was
//! answered, an answer follows a quorum round, and State is checked in the instant of handing over.

use crate::sim::clock::Nanos;
use crate::sim::world::World;
use arbiter_core::{AgentId, Directive};

/// Reports remembered of each host: an answer to an older one is on its way no more.
const SENT_MAX: u64 = 1_000;
/// Half a percent, by which a host's clock may deviate from true time, and rounding.
const CLOCK_SHARE: Nanos = 198;

/// No deadman holds a deadline later than the answers that arrived allow.
pub(super) fn deadlines_are_allowed(world: &World) -> Option<String> {
    for (index, host) in world.hosts.iter().enumerate() {
        for (id, hold) in host.holds.holds().iter().filter(|(_, hold)| hold.armed) {
            let Some(deadline) = hold.deadline else { continue };
            let Some(allowed) = world.watch.allowed.get(&(index, id.clone())) else { continue };
            let deadline = host.clock.when(deadline);
            if deadline > *allowed {
                let late = (deadline - allowed) / 1_000_000;
                return Some(format!(
                    "lease: the deadline of {id} on host {index} is {late} ms later than its \
                     answered Report allows"
                ));
            }
        }
    }
    None
}

impl World {
    /// A Report leaves now.
    pub fn watch_sent(&mut self, host: usize, sequence: u64) {
        let sent = &mut self.watch.sent;
        sent.insert((host, sequence), self.now);
        if let Some(old) = sequence.checked_sub(SENT_MAX) {
            sent.remove(&(host, old));
        }
    }

    /// A Directive arrives at an agent.
    pub fn watch_answer(&mut self, host: usize, directive: &Directive) {
        let Some(sequence) = directive.answers else { return };
        let Some(sent) = self.watch.sent.get(&(host, sequence)).copied() else { return };
        for (group, part) in &directive.groups {
            let Some(length) = part.lease else { continue };
            let length = length.as_nanos() as u64;
            let allowed = sent + length + length / CLOCK_SHARE;
            let known = self.watch.allowed.entry((host, group.clone())).or_default();
            *known = allowed.max(*known);
        }
    }

    /// A leader hands an answer over now.
    pub fn watch_hand_over(&mut self, leader: usize, agent: &AgentId, directive: &Directive) {
        let grants = directive.groups.iter().filter(|(_, part)| part.lease.is_some());
        let host = self.topology.agents.iter().position(|name| name == agent);
        let (Some(host), Some(sequence)) = (host, directive.answers) else { return };
        let state = self.raft.state(leader);
        let sent = self.watch.sent.get(&(host, sequence)).copied();
        let newer = self.watch.elected.range(directive.term + 1..).next().map(|(_, at)| *at);
        let mut broken = None;
        for (id, _) in grants {
            if state.groups.get(id).is_some_and(|group| group.lease_stopped) {
                broken = Some(format!("lease: {id} is renewed though State has stopped it"));
            }
            if newer.zip(sent).is_some_and(|(elected, sent)| elected < sent) {
                broken = Some(format!("lease: a leader deposed before the Report renews {id}"));
            }
        }
        if let Some(broken) = broken {
            self.watch.seen.push(broken);
        }
    }
}
