//! Fake drivers: what `arbiter/src/drivers` does to a server or a zone, with the time it takes.
//! They know one instance; order, retries and tokens are the executor's.

use super::clock::{MS, Nanos, SECOND};
use super::drill::is_part;
use super::event::{Due, Work};
use super::host::Key;
use super::topology::Topology;
use super::world::World;
use arbiter_core::agent::{AgentEvent, Failure, Reached, Waiting};
use arbiter_core::{
    CommitWait, EXTERNAL_FENCE, EvidenceKind, Fact, Goal, GroupId, InstanceId, Layer,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often streams flow.
const REPLICATE: Nanos = 100 * MS;

/// An agent gives up a look that does not end, as `arbiter/src/agent` does.
const OBSERVE_LIMIT: Nanos = 10 * SECOND;

impl World {
    pub(super) fn driver_due(&mut self, due: Due) {
        match due {
            Due::WorkActs(work) => self.work_acts(work),
            Due::WorkEnds(work) => self.work_ends(work),
            Due::WorkHung(work) => {
                if self.works(&work, Due::WorkHung) {
                    self.end_work(work, Err(Failure::Retry("no answer".to_owned())));
                }
            }
            Due::Look { host, process, group, instance } => {
                let key = (group.clone(), instance.clone());
                let fact = self.blinds(host, &key).unwrap_or_else(|| Some(self.look(host, &key)));
                let Some(fact) = fact else {
                    let event = AgentEvent::Observed { group, instance, fact: Fact::default() };
                    let delay = OBSERVE_LIMIT;
                    return self.after(delay, Due::ToAgent { host, process, event });
                };
                let event = AgentEvent::Observed { group, instance, fact };
                self.agent_step(host, process, event);
            }
            verify @ Due::Verify { hung: false, .. } if self.misses(verify.clone()) => {}
            Due::Verify { host, process, group, instance, token, hung } => {
                let key = (group.clone(), instance.clone());
                let result = if !hung && self.accepts(host, &key) {
                    Ok(self.look(host, &key))
                } else {
                    Err(Failure::Retry("it accepts no write".to_owned()))
                };
                let event = AgentEvent::VerifyEnded { group, instance, token, result };
                self.agent_step(host, process, event);
            }
            Due::CommitWait { host, process, asked } => self.commit_wait(host, process, asked),
            other => unreachable!("nobody takes {other:?}"),
        }
    }

    /// Whether a write there succeeds now.
    pub fn accepts(&self, host: usize, key: &Key) -> bool {
        let host = &self.hosts[host];
        host.servers.get(key).is_some_and(|server| server.accepts())
            || host.outside.get(key).is_some_and(|outside| outside.open)
    }

    fn look(&self, host: usize, key: &Key) -> Fact {
        if let Some(server) = self.hosts[host].servers.get(key) {
            return server.fact(self.now);
        }
        if let Some(outside) = self.hosts[host].outside.get(key) {
            return outside.fact();
        }
        if self.hosts[host].instances[key].layer == Layer::Traffic {
            return self.look_at_zone(host, key);
        }
        Fact::default()
    }

    pub(super) fn begin_work(&mut self, work: Work) {
        let layer = self.hosts[work.host].instances[&key(&work)].layer;
        if work.goal == Goal::Fenced
            && let Some(server) = self.hosts[work.host].servers.get_mut(&key(&work))
        {
            // First of all nobody starts it any more.
            server.start_file = false;
        }
        let delay = match (layer, work.goal) {
            _ if self.hosts[work.host].outside.contains_key(&key(&work)) => {
                let slow = self.rng.chance(200) && !self.healed;
                self.rng.range(5 * MS, if slow { 3 * SECOND } else { 50 * MS })
            }
            (Layer::Data, Goal::Fenced | Goal::Drained) => match work.terms.clean_stop {
                Some(limit) => {
                    let limit = limit.as_nanos() as u64;
                    self.rng.range(5 * MS, 20 * MS) + self.rng.range(0, limit)
                }
                None => self.rng.range(20 * MS, 2 * SECOND),
            },
            (Layer::Data, _) => self.rng.range(10 * MS, 400 * MS),
            _ => self.net.delay(&mut self.rng) * 2,
        };
        self.after(delay, Due::WorkActs(work));
    }

    /// Whether this attempt still runs. One that was dropped acts no more.
    fn works(&mut self, work: &Work, due: fn(Work) -> Due) -> bool {
        if self.park(work.host, work.process, || due(work.clone())) {
            return false;
        }
        self.agent_runs(work.host, work.process)
            && self.hosts[work.host].working.get(&key(work)) == Some(&work.attempt)
    }

    fn work_acts(&mut self, mut work: Work) {
        if !self.works(&work, Due::WorkActs) {
            return;
        }
        let layer = self.hosts[work.host].instances[&key(&work)].layer;
        if let Some(failed) = self.fails(&work) {
            if let Err(failure) = failed {
                self.end_work(work, Err(failure));
            }
            return;
        }
        let result = if layer == Layer::Traffic {
            self.traffic_acts(&mut work)
        } else if self.hosts[work.host].outside.contains_key(&key(&work)) {
            self.outside_acts(&work)
        } else if self.is_external(&work) {
            self.fence_acts(&work)
        } else if is_part(&self.hosts[work.host].instances[&key(&work)]) {
            self.part_acts(&work)
        } else {
            self.server_acts(&work)
        };
        match result {
            Ok(()) => {
                let delay = self.rng.range(MS, 20 * MS) + self.traffic_delay(&work);
                self.after(delay, Due::WorkEnds(work));
            }
            Err(failure) => self.end_work(work, Err(failure)),
        }
    }

    fn traffic_delay(&mut self, work: &Work) -> Nanos {
        if work.swap.is_some() { 4 * self.net.delay(&mut self.rng) } else { 0 }
    }

    fn end_work(&mut self, work: Work, result: Result<Reached, Failure>) {
        self.hosts[work.host].working.remove(&key(&work));
        if let Err(failure) = &result {
            let line = format!("host {}: {} {}: {failure:?}", work.host, work.instance, work.goal);
            self.say(|| line);
        }
        let Work { host, process, group, instance, attempt, .. } = work;
        let event = AgentEvent::EnsureEnded { group, instance, attempt, result };
        self.agent_step(host, process, event);
    }

    fn is_external(&self, work: &Work) -> bool {
        self.hosts[work.host].instances[&key(work)].kind == EXTERNAL_FENCE
    }

    /// The part of what an API changes. Now and then it answers 429 or 403.
    fn outside_acts(&mut self, work: &Work) -> Result<(), Failure> {
        match self.rng.range(0, 99) {
            0 if !self.healed => return Err(Failure::Refused("permission denied".to_owned())),
            1..=5 if !self.healed => return Err(Failure::Retry("too many requests".to_owned())),
            _ => {}
        }
        let host = &mut self.hosts[work.host];
        let outside = host.outside.get_mut(&key(work)).expect("looked up before");
        outside.act(work.goal, work.token, &work.terms)
    }

    /// The external fence's part.
    fn fence_acts(&mut self, work: &Work) -> Result<(), Failure> {
        if self.is_switch_broken() || self.rng.chance(300) {
            return Err(Failure::Retry("the command failed".to_owned()));
        }
        let region = self.hosts[work.host].instances[&key(work)].region.clone();
        self.cut_power(&region);
        Ok(())
    }

    /// The database's part.
    fn server_acts(&mut self, work: &Work) -> Result<(), Failure> {
        let retry = |why: &str| Err(Failure::Retry(why.to_owned()));
        let (now, local) = (self.now, self.hosts[work.host].clock.at(self.now));
        let upstream = work.terms.upstream.as_str();
        let followed = self.server_at(upstream).cloned();
        let rebuilds = self.rng.chance(300);
        self.forks += 1;
        let forks = self.forks;
        let host = &mut self.hosts[work.host];
        let hold = host.holds.holds().get(&work.group).cloned().unwrap_or_default();
        let server = host.servers.get_mut(&key(work)).expect("a data instance has a server");
        match work.goal {
            Goal::Fenced | Goal::Drained if server.stuck_until > now => retry("it hangs"),
            Goal::Drained if !server.primary => {
                server.detached = true;
                match work.terms.until {
                    Some(until) if server.position < until => retry("not all is received"),
                    _ => Ok(()),
                }
            }
            Goal::Fenced | Goal::Drained => {
                server.kill(true);
                server.start_file = false;
                Ok(())
            }
            Goal::Standby => {
                // What an earlier attempt at promotion left running is stopped first.
                if server.primary {
                    server.kill(true);
                }
                let follows = followed.as_ref().is_none_or(|other| server.can_follow(other));
                // A Redis copies everything, whatever it had.
                if !(follows || rebuilds || server.redis) {
                    return Err(Failure::Refused("its data left the stream".to_owned()));
                }
                if let Some(other) = followed.filter(|_| !follows) {
                    server.copy(&other, other.fork());
                }
                server.primary = false;
                if hold.armed && hold.frozen {
                    return retry("its cgroup is frozen");
                }
                server.upstream = Some(upstream.into()).filter(|_| !upstream.is_empty());
                server.follow();
                Ok(())
            }
            Goal::Active => {
                let live = !hold.armed || hold.is_running(local);
                if !server.running && !live {
                    return retry("no deadline runs");
                }
                server.start_file = true;
                if !server.running {
                    server.start();
                }
                let promoted = !server.primary;
                if promoted {
                    // Before it takes its first write.
                    server.waits = work.terms.promoted.clone();
                }
                server.promote(forks);
                if promoted {
                    self.watch_promotion(&key(work), work.token);
                }
                Ok(())
            }
        }
    }

    fn work_ends(&mut self, work: Work) {
        if !self.works(&work, Due::WorkEnds) {
            return;
        }
        if let Some(swap) = &work.swap {
            let stands = self.dns.read(&swap.group) == Some(swap.new.clone());
            let result = if stands {
                Ok(Reached { fact: self.look(work.host, &key(&work)), ..Reached::default() })
            } else {
                Err(Failure::Retry("the swap was refused or lost".to_owned()))
            };
            return self.end_work(work, result);
        }
        let fact = self.look(work.host, &key(&work));
        if let Some(outside) = self.hosts[work.host].outside.get(&key(&work)) {
            let evidence = outside.proves(work.goal);
            let result = if outside.is(work.goal) {
                Ok(Reached { fact, evidence, ..Reached::default() })
            } else {
                Err(Failure::Retry("it changed meanwhile".to_owned()))
            };
            return self.end_work(work, result);
        }
        let Some(server) = self.hosts[work.host].servers.get(&key(&work)) else {
            let evidence = self.is_external(&work).then_some(EvidenceKind::PowerOff);
            return self.end_work(work, Ok(Reached { fact, evidence, ..Reached::default() }));
        };
        let reached = match work.goal {
            Goal::Fenced => !server.running,
            Goal::Drained => !server.accepts(),
            Goal::Standby => server.running && !server.primary,
            Goal::Active => server.accepts(),
        };
        let stopped = !server.running;
        let evidence = matches!(work.goal, Goal::Fenced | Goal::Drained) && stopped;
        // What a Redis had that was killed nobody knows.
        let killed = work.goal == Goal::Fenced && work.terms.clean_stop == Some(Duration::ZERO);
        let clean = !(server.redis && killed);
        let result = if reached {
            Ok(Reached {
                evidence: evidence.then_some(EvidenceKind::Confirmed),
                end: Some(server.position).filter(|_| clean),
                clean,
                fact,
            })
        } else {
            Err(Failure::Retry("it changed meanwhile".to_owned()))
        };
        self.end_work(work, result);
    }

    /// The driver has a server wait for others.
    pub(super) fn commit_wait(&mut self, host: usize, process: u64, asked: (Key, u64, CommitWait)) {
        let (key, attempt, wait) = asked;
        let again = (key.clone(), attempt, wait.clone());
        if self.park(host, process, || Due::CommitWait { host, process, asked: again }) {
            return;
        }
        if !self.agent_runs(host, process) {
            return;
        }
        let standbys = self.received_from(&key.1);
        let server = self.hosts[host].servers.get_mut(&key);
        let result = match server.filter(|server| server.running && !server.frozen) {
            None => Err(Failure::Retry("it does not answer".to_owned())),
            Some(server) => {
                server.waits = wait;
                if server.is_waiting(|name| standbys.get(name).copied()) {
                    Ok(Waiting::InEffect)
                } else {
                    Err(Failure::Retry("a standby has not all yet".to_owned()))
                }
            }
        };
        let (group, instance) = key;
        let event = AgentEvent::CommitWaitSet { group, instance, attempt, result };
        self.agent_step(host, process, event);
    }

    /// Up to where those who stream from `primary` have received, by name.
    fn received_from(&self, primary: &InstanceId) -> BTreeMap<String, u64> {
        let servers = self.hosts.iter().flat_map(|host| &host.servers);
        let streaming = servers
            .filter(|(_, s)| s.streaming && !s.primary && s.upstream.as_ref() == Some(primary));
        streaming.map(|((_, id), server)| (id.0.clone(), server.position.offset)).collect()
    }

    /// Clients of primaries whose commits wait are told what is safe.
    fn acknowledge(&mut self) {
        for host in 0..self.hosts.len() {
            let keys: Vec<Key> = self.hosts[host].servers.keys().cloned().collect();
            for key in keys {
                if !self.hosts[host].servers[&key].accepts() {
                    continue;
                }
                let standbys = self.received_from(&key.1);
                if let Some(server) = self.hosts[host].servers.get_mut(&key) {
                    server.acknowledge(|name| standbys.get(name).copied());
                }
            }
        }
    }

    /// The server with this address.
    fn server_at(&self, address: &str) -> Option<&super::postgres::Postgres> {
        let servers = self.hosts.iter().flat_map(|host| &host.servers);
        servers.filter(|((_, id), _)| id.as_str() == address).map(|(_, server)| server).next()
    }

    /// Primaries write, replicas receive what their links carry.
    pub(super) fn replicate(&mut self) {
        self.after(REPLICATE, Due::Replicate);
        let now = self.now;
        let mut ends: Vec<(GroupId, InstanceId, usize, super::postgres::Postgres)> = Vec::new();
        for (index, host) in self.hosts.iter_mut().enumerate() {
            for ((group, id), server) in &mut host.servers {
                server.write(now);
                if server.running && !server.frozen {
                    ends.push((group.clone(), id.clone(), index, server.clone()));
                }
            }
        }
        for index in 0..self.hosts.len() {
            let node = Topology::node(index);
            let net = &self.net;
            let reached = |from: usize| net.both(Topology::node(from), node);
            for ((_, _), server) in &mut self.hosts[index].servers {
                server.streaming = false;
                if server.primary || !server.running || server.frozen || server.detached {
                    continue;
                }
                let upstream = server.upstream.clone();
                let source = ends.iter().find(|(_, id, from, other)| {
                    Some(id) == upstream.as_ref() && reached(*from) && server.can_follow(other)
                });
                if let Some((_, _, _, source)) = source {
                    server.copy(source, source.position);
                    server.heard = Some((source.position, now));
                    server.streaming = true;
                }
            }
        }
        self.acknowledge();
    }
}

fn key(work: &Work) -> Key {
    (work.group.clone(), work.instance.clone())
}
