//! The deadman's part of a host: its process, its requests, and what kill, freeze and thaw do to
//! the
//! servers in a cgroup.

use super::clock::{MS, Nanos, SECOND};
use super::event::Due;
use super::world::World;
use arbiter_core::GroupId;
use arbiter_core::agent::{AgentEvent, Deadman, DeadmanAction, DeadmanEvent};

/// How long the agent waits for its deadman before it takes it for gone.
pub(super) const DEADMAN_LIMIT: Nanos = SECOND;

impl World {
    /// In order, as a socket carries it.
    pub(super) fn tell_deadman(&mut self, index: usize, event: DeadmanEvent) {
        let delay = self.rng.range(MS / 20, 2 * MS);
        let host = &mut self.hosts[index];
        if !host.deadman.up {
            return;
        }
        let at = (self.now + delay).max(host.deadman_last + 1);
        host.deadman_last = at;
        let life = host.deadman.life;
        self.at(at, Due::ToDeadman { host: index, life, event });
    }

    pub(super) fn deadman_start(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if !host.up || host.deadman.up || !host.agent.up || host.agent.frozen {
            return;
        }
        host.deadman.up = true;
        host.deadman.frozen = false;
        host.deadman.life += 1;
        host.holds = Deadman::new();
        // A new deadman makes its own cgroups.
        host.frozen.clear();
        host.servers.values_mut().for_each(|server| server.frozen = false);
        self.say(|| format!("host {index}: a new deadman"));
        self.show_deadman(index, 2 * MS);
    }

    pub(super) fn deadman_check(&mut self, index: usize, process: u64) {
        if self.hosts[index].agent.life != process || !self.hosts[index].agent.up {
            return;
        }
        self.after(DEADMAN_LIMIT, Due::DeadmanCheck { host: index, process });
        if self.hosts[index].agent.frozen {
            return;
        }
        let (up, frozen) = (self.hosts[index].deadman.up, self.hosts[index].deadman.frozen);
        if !up {
            self.after(10 * MS, Due::DeadmanStart { host: index });
        }
        if !up || frozen {
            self.agent_step(index, process, AgentEvent::DeadmanGone);
        }
    }

    /// What the deadman holds reaches its agent.
    pub(super) fn show_deadman(&mut self, index: usize, delay: Nanos) {
        let host = &self.hosts[index];
        let holds = host.holds.holds().clone();
        let groups = host.instances.keys().map(|(group, _)| group.clone());
        let counts_as = groups.map(|group| (group, self.topology.expiry_counts_as)).collect();
        let process = host.agent.life;
        let event = AgentEvent::DeadmanShows { holds, counts_as };
        self.after(delay, Due::ToAgent { host: index, process, event });
    }

    pub(super) fn deadman_step(&mut self, index: usize, life: u64, event: DeadmanEvent) {
        let now = self.now;
        let host = &mut self.hosts[index];
        if !host.deadman.up || host.deadman.life != life {
            return;
        }
        if host.deadman.frozen {
            host.deadman.parked.push(Due::ToDeadman { host: index, life, event });
            return;
        }
        let local = host.clock.at(now);
        let asked = event != DeadmanEvent::Tick;
        let (cleared, disarmed) = match &event {
            DeadmanEvent::Clear(group) => (Some(group.clone()), None),
            DeadmanEvent::Disarm(group) => (None, Some(group.clone())),
            _ => (None, None),
        };
        let actions = host.holds.step(event, local);
        let changed = !actions.is_empty();
        for action in actions {
            self.deadman_action(index, action);
        }
        self.watch_holds(index, cleared, disarmed);
        if asked || changed {
            self.show_deadman(index, MS);
        }
        let host = &mut self.hosts[index];
        if let Some(wake) = host.holds.next_wake() {
            host.deadman.wakes += 1;
            let number = host.deadman.wakes;
            let at = host.clock.when(wake) + self.rng.range(0, 2 * MS);
            self.at(at, Due::DeadmanWake { host: index, life, number });
        }
    }

    fn deadman_action(&mut self, index: usize, action: DeadmanAction) {
        match action {
            DeadmanAction::Kill(group) => {
                self.say(|| format!("host {index}: deadman kills {group}"));
                for ((of, _), server) in &mut self.hosts[index].servers {
                    if *of == group {
                        server.start_file = false;
                    }
                }
                let delay = self.rng.range(MS, 50 * MS);
                self.after(delay, Due::Killed { host: index, group });
            }
            DeadmanAction::Freeze(group) | DeadmanAction::Pause(group) => {
                self.set_frozen(index, &group, true);
            }
            DeadmanAction::Continue(group) => self.set_frozen(index, &group, false),
            DeadmanAction::Thaw(group) => {
                // The kill before it is over when the thaw returns.
                self.killed(index, &group);
                self.set_frozen(index, &group, false);
                let now = self.now;
                self.hosts[index].thawed.insert(group, now);
            }
        }
    }

    fn set_frozen(&mut self, index: usize, group: &GroupId, frozen: bool) {
        let host = &mut self.hosts[index];
        if frozen {
            host.frozen.insert(group.clone());
        } else {
            host.frozen.remove(group);
        }
        for ((of, _), server) in &mut host.servers {
            if of == group {
                server.frozen = frozen;
            }
        }
    }

    pub(super) fn killed(&mut self, index: usize, group: &GroupId) {
        let mut forks = false;
        for ((of, _), server) in &mut self.hosts[index].servers {
            if of == group && server.running {
                server.kill(false);
                forks = true;
            }
        }
        if forks && self.rng.chance(500) {
            let delay = self.rng.range(MS, 500 * MS);
            self.after(delay, Due::LateFork { host: index, group: group.clone() });
        }
    }

    /// Something that was about to be put into the cgroup appears there after the kill. A freeze
    /// holds it.
    pub(super) fn late_fork(&mut self, index: usize, group: &GroupId) {
        let host = &mut self.hosts[index];
        // What its holder has killed for good, or what stopped on purpose, does not fork.
        let armed = host.holds.holds().get(group).is_some_and(|hold| hold.armed);
        let thawed = host.thawed.get(group).is_some_and(|at| self.now < at + SECOND);
        if !host.up || !host.deadman.up || !armed || thawed {
            return;
        }
        let frozen = host.frozen.contains(group);
        for ((of, _), server) in &mut host.servers {
            if of == group && !server.running && !server.asked {
                server.running = true;
                server.frozen = frozen;
            }
        }
    }

    /// The deadman is killed: what it holds dies with it (a PID namespace, `BindsTo=`).
    pub(super) fn kill_deadman(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if !host.deadman.up {
            return;
        }
        host.deadman.end();
        let armed = std::mem::take(&mut host.holds);
        for ((of, _), server) in &mut host.servers {
            if armed.holds().get(of).is_some_and(|hold| hold.armed) {
                server.kill(false);
            }
        }
        self.say(|| format!("host {index}: the deadman is gone"));
        let process = self.hosts[index].agent.life;
        let event = AgentEvent::DeadmanGone;
        self.after(20 * MS, Due::ToAgent { host: index, process, event });
        self.after(200 * MS, Due::DeadmanStart { host: index });
    }
}
