//! What goes wrong: a draw of faults, each with its end. Knows how to break the world, never what
//! should hold in it.

use super::clock::{MS, Nanos, SECOND};
use super::event::Due;
use super::members::Seats;
use super::net::{Link, Node};
use super::raft::{ARBITERS, VOTERS};
use super::rng::Rng;
use super::shape::Shape;
use super::text::{span, words};
use super::world::World;
use arbiter_core::STATE_VERSION_MAX;
use arbiter_core::agent::Deadman;
use serde::{Deserialize, Serialize};

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[allow(missing_docs, reason = "fields are named by their types")]
pub enum Fault {
    /// A region is cut off, in one or both directions, for a while.
    CutRegion {
        region: usize,
        #[serde(default)]
        out: bool,
        #[serde(default)]
        back: bool,
        #[serde(with = "span")]
        lasts: Nanos,
    },
    /// One link is cut, in one or both directions.
    CutLink {
        a: Node,
        b: Node,
        #[serde(default)]
        both: bool,
        #[serde(with = "span")]
        lasts: Nanos,
    },
    /// Links mend.
    Mend { links: Vec<Link> },
    /// Messages are lost, doubled, late.
    Noise {
        loss: u64,
        double: u64,
        late: u64,
        #[serde(with = "span")]
        lasts: Nanos,
    },
    /// No more of that.
    Quiet,
    /// An agent is killed and comes back.
    KillAgent {
        host: usize,
        #[serde(with = "span")]
        lasts: Nanos,
    },
    /// An agent is stopped for a while.
    FreezeAgent {
        host: usize,
        #[serde(with = "span")]
        lasts: Nanos,
    },
    /// It goes on.
    ThawAgent { host: usize },
    /// A deadman is killed.
    KillDeadman { host: usize },
    /// Agent and deadman are killed at once, and the agent comes back.
    KillBoth {
        host: usize,
        #[serde(with = "span")]
        lasts: Nanos,
    },
    /// A deadman is stopped for a while.
    FreezeDeadman {
        host: usize,
        #[serde(with = "span")]
        lasts: Nanos,
    },
    /// It goes on.
    ThawDeadman { host: usize },
    /// A deadman is replaced by an exec in place.
    UpgradeDeadman { host: usize },
    /// A host loses power.
    Crash {
        host: usize,
        #[serde(with = "span")]
        lasts: Nanos,
    },
    /// It comes back.
    Boot { host: usize },
    /// An arbiter is killed, alone or with its host, and comes back.
    KillArbiter {
        arbiter: usize,
        #[serde(default)]
        reboot: bool,
        #[serde(with = "span")]
        lasts: Nanos,
    },
    /// It comes back.
    StartArbiter {
        arbiter: usize,
        #[serde(default)]
        reboot: bool,
    },
    /// An arbiter is stopped for a while.
    FreezeArbiter {
        arbiter: usize,
        #[serde(with = "span")]
        lasts: Nanos,
    },
    /// It goes on.
    ThawArbiter { arbiter: usize },
    /// Leadership goes to an arbiter, and maybe on to another and back.
    Elect {
        arbiter: usize,
        #[serde(default)]
        back: bool,
    },
    /// A server's processes die.
    CrashServer { host: usize },
    /// Somebody starts a server by hand.
    StartByHand { host: usize },
    /// A server's fence hangs for a while.
    Stick {
        host: usize,
        #[serde(with = "span")]
        lasts: Nanos,
    },
    /// A region is cut off while its agent is stopped.
    CutAndFreeze {
        region: usize,
        #[serde(with = "span")]
        lasts: Nanos,
    },
    /// Somebody sends a recorded DNS request again.
    ReplayDns,
    /// Somebody changes a group's records by hand.
    Drift { group: usize, how: u64 },
    /// The network delivers an old Directive again.
    ReplayDirective { host: usize },
    /// An arbiter restarts with the release to come, which knows one version of State more.
    Upgrade {
        arbiter: usize,
        #[serde(with = "span")]
        lasts: Nanos,
    },
    /// Who votes changes.
    Members { arbiter: usize, seats: Seats },
    /// Leadership goes away and comes back, and then a region is cut off.
    ElectAndCut {
        arbiter: usize,
        region: usize,
        #[serde(with = "span")]
        lasts: Nanos,
    },
}

impl Fault {
    /// One fault.
    pub fn draw(shape: &Shape, rng: &mut Rng) -> Fault {
        let (lease, hosts) = (shape.lease(), shape.cluster.hosts);
        let host = rng.index(hosts);
        let arbiter = rng.index(VOTERS);
        let region = rng.index(2);
        let lasts = rng.range(lease / 8, 3 * lease);
        let short = rng.range(50 * MS, lease);
        // Often enough that all that vote are upgraded in the end.
        if shape.cluster.upgrades && rng.chance(200) {
            return Fault::Upgrade { arbiter: rng.index(ARBITERS), lasts: short };
        }
        match rng.range(0, 36) {
            0..=2 => Fault::CutRegion { region, out: true, back: true, lasts },
            3 => Fault::CutRegion { region, out: true, back: false, lasts },
            4 => Fault::CutRegion { region, out: false, back: true, lasts },
            5 => Fault::CutRegion { region: 2, out: true, back: true, lasts },
            6 | 7 => {
                let nodes = ARBITERS + hosts + 1;
                let (a, b) = (rng.index(nodes), rng.index(nodes));
                Fault::CutLink { a, b, both: rng.chance(500), lasts }
            }
            8 | 9 => Fault::Noise {
                loss: rng.range(0, 300),
                double: rng.range(0, 300),
                late: rng.range(0, 200),
                lasts,
            },
            10 | 11 => Fault::KillAgent { host, lasts: short },
            12 | 13 => Fault::FreezeAgent { host, lasts },
            14 if rng.chance(500) => Fault::KillBoth { host, lasts: short },
            14 => Fault::KillDeadman { host },
            15 => Fault::FreezeDeadman { host, lasts: short },
            16 => Fault::UpgradeDeadman { host },
            17 | 18 => Fault::Crash { host, lasts },
            19 => Fault::KillArbiter { arbiter, reboot: rng.chance(500), lasts },
            20 => Fault::FreezeArbiter { arbiter, lasts: short },
            21 => Fault::Elect { arbiter, back: rng.chance(700) },
            22 => Fault::CrashServer { host },
            23 => Fault::StartByHand { host },
            24 => Fault::Stick { host, lasts },
            25 | 26 => Fault::CutAndFreeze { region, lasts },
            27 | 28 => Fault::ReplayDirective { host },
            29 | 30 => Fault::ElectAndCut { arbiter, region, lasts },
            31 => Fault::Drift { group: rng.index(2), how: rng.range(0, 2) },
            34 => {
                let seats = [Seats::Replace, Seats::Replace, Seats::Add, Seats::Remove];
                Fault::Members { arbiter: rng.index(ARBITERS), seats: seats[rng.index(4)] }
            }
            35 => Fault::KillArbiter { arbiter, reboot: false, lasts: short },
            _ => Fault::ReplayDns,
        }
    }
}

impl World {
    pub(super) fn fault(&mut self, fault: Fault) {
        // What was still to come when all was mended does not come.
        if self.healed && !fault.ends_one() {
            return;
        }
        self.say(|| match &fault {
            Fault::Mend { links } => format!("{} links mend", links.len()),
            fault => format!("fault {}", words(fault)),
        });
        let Some((lasts, end)) = self.lasting(fault) else { return };
        if !self.healed {
            self.after(lasts, end);
        }
    }

    /// How long what begins lasts, and what ends it; none: it is over at once.
    fn lasting(&mut self, fault: Fault) -> Option<(Nanos, Due)> {
        let until = |lasts, end| (lasts, Due::Fault(end));
        Some(match fault {
            Fault::CutRegion { region, out, back, lasts } => {
                self.count("one-way cuts", u64::from(out != back));
                let links = self.net.around(&self.topology.nodes_of(region), out, back);
                (lasts, self.cut(links))
            }
            Fault::CutLink { a, b, both, lasts } => {
                self.count("one-way cuts", u64::from(!both));
                let links = if both { vec![(a, b), (b, a)] } else { vec![(a, b)] };
                (lasts, self.cut(links))
            }
            Fault::Noise { loss, double, late, lasts } => {
                (self.net.loss, self.net.double, self.net.late) = (loss, double, late);
                until(lasts, Fault::Quiet)
            }
            Fault::KillAgent { host, lasts } => {
                self.kill_agent(host);
                (lasts, Due::AgentStart { host })
            }
            Fault::KillBoth { host, lasts } => {
                self.kill_both(host, lasts);
                (lasts, Due::AgentStart { host })
            }
            Fault::FreezeAgent { host, lasts } => {
                self.freeze_agent(host);
                until(lasts, Fault::ThawAgent { host })
            }
            Fault::FreezeDeadman { host, lasts } => {
                self.freeze_deadman(host);
                until(lasts, Fault::ThawDeadman { host })
            }
            Fault::Crash { host, lasts } => {
                self.power_fails(host);
                until(lasts.max(SECOND), Fault::Boot { host })
            }
            Fault::KillArbiter { arbiter, reboot, lasts } => {
                self.kill_arbiter(arbiter);
                until(lasts, Fault::StartArbiter { arbiter, reboot })
            }
            Fault::Upgrade { arbiter, lasts } => {
                self.raft.voters[arbiter].supports = STATE_VERSION_MAX + 1;
                self.kill_arbiter(arbiter);
                self.count("arbiters upgraded", 1);
                until(lasts, Fault::StartArbiter { arbiter, reboot: false })
            }
            Fault::FreezeArbiter { arbiter, lasts } => {
                self.raft.voters[arbiter].frozen = true;
                until(lasts, Fault::ThawArbiter { arbiter })
            }
            Fault::ElectAndCut { arbiter, region, lasts } => {
                self.fault_now(Fault::Elect { arbiter, back: true });
                let delay = self.rng.range(100 * MS, 2 * self.longest_lease());
                let cut = Fault::CutRegion { region, out: true, back: true, lasts: 2 * lasts };
                (delay, Due::Fault(cut))
            }
            Fault::CutAndFreeze { region, lasts } => {
                let links = self.net.around(&self.topology.nodes_of(region), true, true);
                self.freeze_agent(region);
                self.after(lasts / 2, Due::Fault(Fault::ThawAgent { host: region }));
                (lasts, self.cut(links))
            }
            now => {
                self.fault_now(now);
                return None;
            }
        })
    }

    /// Links are cut; says how that ends.
    fn cut(&mut self, links: Vec<Link>) -> Due {
        self.net.cut(&links);
        Due::Fault(Fault::Mend { links })
    }

    /// The unit starts again with its deadman, unless the agent was quicker.
    fn kill_both(&mut self, host: usize, lasts: Nanos) {
        self.kill_agent(host);
        self.fault_now(Fault::KillDeadman { host });
        let late = lasts + self.rng.range(100 * MS, SECOND);
        self.after(late, Due::Fault(Fault::StartByHand { host }));
    }

    /// Faults without an end, and ends.
    pub(super) fn fault_now(&mut self, fault: Fault) {
        match fault {
            Fault::Mend { links } => self.net.mend(&links),
            Fault::Quiet => (self.net.loss, self.net.double, self.net.late) = (0, 0, 0),
            Fault::ThawAgent { host } => self.thaw_agent(host),
            Fault::ThawDeadman { host } => self.thaw_deadman(host),
            Fault::KillDeadman { host } if self.hosts[host].up => self.kill_deadman(host),
            Fault::UpgradeDeadman { host } => {
                let holds = &mut self.hosts[host].holds;
                *holds = Deadman::restore(holds.snapshot());
            }
            Fault::Boot { host } => self.boot(host),
            Fault::StartArbiter { arbiter, reboot } => {
                let now = self.now;
                let belongs = self.raft.is_voter(arbiter) || self.raft.is_learner(arbiter);
                let voter = &mut self.raft.voters[arbiter];
                // Nobody starts what has no place in the cluster.
                if voter.up || !belongs {
                    return;
                }
                (voter.up, voter.leader, voter.heard) = (true, None, now);
                if reboot {
                    self.arbiters[arbiter].clock.reboot(now);
                    self.count("arbiters rebooted", 1);
                }
            }
            Fault::ThawArbiter { arbiter } => {
                self.raft.voters[arbiter].frozen = false;
                for due in std::mem::take(&mut self.arbiters[arbiter].parked) {
                    self.after(0, due);
                }
            }
            Fault::Elect { arbiter, back } => {
                let before = self.raft.voters.iter().position(|voter| voter.leads.is_some());
                self.elect(arbiter);
                if let Some(arbiter) = before.filter(|_| back) {
                    let delay = self.rng.range(100 * MS, self.longest_lease());
                    let back = false;
                    self.after(delay, Due::Fault(Fault::Elect { arbiter, back }));
                }
            }
            Fault::CrashServer { host } => {
                for server in self.hosts[host].servers.values_mut() {
                    server.kill(server.asked);
                }
            }
            // A unit is bound to its deadman, and does not start without it.
            Fault::StartByHand { host } if self.hosts[host].deadman.up => self.start_by_hand(host),
            // Who cannot fence and a deadman that is stopped are both stopped.
            Fault::Stick { host, .. } if self.hosts[host].deadman.frozen => {}
            Fault::Stick { host, lasts } => {
                let until = self.now + lasts;
                for server in self.hosts[host].servers.values_mut() {
                    server.stuck_until = until;
                }
            }
            Fault::Members { arbiter, seats } => self.change_members(arbiter, seats),
            Fault::ReplayDirective { host } => self.replay_directive(host),
            Fault::Drift { group, how } => self.drift(group, how),
            Fault::ReplayDns if !self.dns.seen.is_empty() => {
                let which = self.rng.index(self.dns.seen.len());
                let swap = self.dns.seen[which].clone();
                self.dns_in(&swap);
            }
            _ => {}
        }
    }

    /// While one of them is stopped the other can act. Both stopped, or one stopped where the other
    /// is dead, is beyond what software can see (design §5). A deadman that is dead took its
    /// resources with it, so nothing is left to act for. An agent whose fence hangs does not act.
    fn acts_without(&self, host: usize, agent: bool) -> bool {
        let host = &self.hosts[host];
        let other = if agent { &host.deadman } else { &host.agent };
        let stuck = host.servers.values().any(|server| server.stuck_until > self.now);
        host.up && !other.frozen && (agent || (other.up && !stuck))
    }

    /// What it held is gone with its process.
    pub(super) fn kill_arbiter(&mut self, arbiter: usize) {
        let voter = &mut self.raft.voters[arbiter];
        (voter.up, voter.frozen, voter.leads) = (false, false, None);
        self.arbiters[arbiter].parked.clear();
        self.arbiters[arbiter].seat = None;
        self.relay_ends(arbiter);
    }

    pub(super) fn kill_agent(&mut self, host: usize) {
        if self.acts_without(host, true) {
            self.hang_up(host);
            self.hosts[host].agent.end();
            self.hosts[host].machine = None;
        }
    }

    pub(super) fn freeze_agent(&mut self, host: usize) {
        if self.acts_without(host, true) && self.hosts[host].agent.up {
            self.hosts[host].agent.frozen = true;
        }
    }

    fn freeze_deadman(&mut self, host: usize) {
        if self.acts_without(host, false) && self.hosts[host].deadman.up {
            self.hosts[host].deadman.frozen = true;
        }
    }

    pub(super) fn thaw_agent(&mut self, host: usize) {
        self.hosts[host].agent.frozen = false;
        for due in std::mem::take(&mut self.hosts[host].agent.parked) {
            self.after(0, due);
        }
    }

    fn thaw_deadman(&mut self, host: usize) {
        self.hosts[host].deadman.frozen = false;
        for due in std::mem::take(&mut self.hosts[host].deadman.parked) {
            self.after(0, due);
        }
        // It answers its agent again.
        if self.hosts[host].deadman.up {
            self.show_deadman(host, 2 * MS);
        }
    }

    fn boot(&mut self, host: usize) {
        let now = self.now;
        if self.hosts[host].up {
            return;
        }
        if self.hosts[host].locked && !self.healed {
            return self.after(SECOND, Due::Fault(Fault::Boot { host }));
        }
        self.hosts[host].boot(now);
        self.count("hosts rebooted", 1);
        // Somebody is quicker than the agent.
        if self.rng.chance(700) {
            self.start_by_hand(host);
        }
        let delay = self.rng.range(50 * MS, SECOND);
        self.after(delay, Due::AgentStart { host });
    }

    /// Outside of any cgroup that a deadman holds, once that cgroup is not its own.
    fn start_by_hand(&mut self, host: usize) {
        if !self.hosts[host].up {
            return;
        }
        let line = format!("host {host}: servers started by hand");
        self.say(|| line);
        let host = &mut self.hosts[host];
        for ((group, _), server) in &mut host.servers {
            if !server.running && server.start() {
                server.frozen = false;
            } else if !server.running {
                server.frozen = host.frozen.contains(group);
            }
        }
    }

    /// Everything is mended and started.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.say(|| "all is mended".to_owned());
        self.net.heal();
        for arbiter in 0..ARBITERS {
            self.fault_now(Fault::StartArbiter { arbiter, reboot: false });
            self.fault_now(Fault::ThawArbiter { arbiter });
        }
        for host in 0..self.hosts.len() {
            self.boot(host);
            self.thaw_agent(host);
            self.thaw_deadman(host);
            self.hosts[host].servers.values_mut().for_each(|server| server.stuck_until = 0);
            self.after(20 * MS, Due::AgentStart { host });
        }
    }
}
