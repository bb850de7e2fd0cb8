//! The fake driver of a zone: reads, judges as `arbiter/src/drivers/dns` does, and swaps once on
//! what it read. It knows the records; never who else changed them.

use super::dns::{ByHand, Record, Swap};
use super::event::{Due, Work};
use super::host::Key;
use super::topology::{REGIONS, Topology};
use super::world::World;
use arbiter_core::agent::Failure;
use arbiter_core::{Condition, Fact, Goal, GroupId, RegionId, Terms, Token, TrafficFact};

/// What a driver does about what it read.
enum Verdict {
    Done,
    Swap(Record),
}

impl World {
    /// What the driver beside `key` sees of its zone.
    pub(super) fn look_at_zone(&self, host: usize, key: &Key) -> Fact {
        if !self.net.both(Topology::node(host), self.topology.dns()) {
            return Fact::default();
        }
        let ordered = self.hosts[host].ordered.get(key);
        let traffic = Some(fact(self.dns.read(&key.0).as_ref(), ordered));
        Fact { condition: Condition::Healthy, traffic, ..Fact::default() }
    }

    pub(super) fn traffic_acts(&mut self, work: &mut Work) -> Result<(), Failure> {
        if work.goal != Goal::Active {
            return Ok(());
        }
        let Some(names) = work.terms.names.clone() else {
            return Err(Failure::Refused("no region to name".to_owned()));
        };
        let key = (work.group.clone(), work.instance.clone());
        self.hosts[work.host].ordered.insert(key, (work.token, names.clone()));
        let (node, dns) = (Topology::node(work.host), self.topology.dns());
        if !self.net.both(node, dns) {
            return Err(Failure::Retry("the authority is not reached".to_owned()));
        }
        let old = self.dns.read(&work.group);
        let Verdict::Swap(new) = judge(old.as_ref(), names, work.token, &work.terms)? else {
            return Ok(());
        };
        let swap = Swap { group: work.group.clone(), old, new };
        for delay in self.net.send(node, dns, &mut self.rng) {
            self.after(delay, Due::DnsIn(swap.clone()));
        }
        work.swap = Some(swap);
        Ok(())
    }

    /// A request reaches the authority.
    pub(super) fn dns_in(&mut self, swap: &Swap) {
        if self.dns.takes(swap) {
            self.watch_swap(swap);
        }
        self.dns.swap(swap);
    }

    /// Somebody who asks nobody changes a group's records.
    pub(super) fn drift(&mut self, group: usize, how: u64) {
        let Some(group) = self.topology.spec.groups.keys().nth(group).cloned() else { return };
        let how = match how {
            0 => ByHand::TokenDeleted,
            1 => ByHand::Names("elsewhere".into()),
            _ => ByHand::Names(self.other_than_named(&group)),
        };
        if self.dns.by_hand(&group, &how, self.now) {
            self.count("records changed by hand", 1);
            self.say(|| format!("somebody changes the records of {group}: {how:?}"));
        }
    }

    fn other_than_named(&self, group: &GroupId) -> RegionId {
        let named = self.dns.read(group).map(|record| record.names);
        let other =
            REGIONS.into_iter().map(RegionId::from).find(|name| Some(name) != named.as_ref());
        other.unwrap_or_else(|| REGIONS[0].into())
    }
}

/// What is reported. `ordered`: the region that this process last had to name, and at which token.
fn fact(seen: Option<&Record>, ordered: Option<&(Token, RegionId)>) -> TrafficFact {
    let token = seen.and_then(|record| record.token);
    let ours = |record: &&Record| REGIONS.contains(&record.names.as_str());
    let names = seen.filter(ours).map(|record| record.names.clone());
    let by_us = ordered.filter(|(at, _)| token == Some(*at)).map(|(_, region)| region);
    let mut drift = String::new();
    if let Some(record) = seen
        && by_us.or(names.as_ref()) != Some(&record.names)
    {
        drift = format!("it names {}", record.names);
    }
    if let Some((at, _)) = ordered.filter(|(at, _)| token.is_none_or(|held| held < *at)) {
        drift = format!("the token is {token:?}, not {at}; {drift}");
    }
    TrafficFact { token, names, drift }
}

/// Judge what was read against the order to name `names` at `token`.
fn judge(
    seen: Option<&Record>,
    names: RegionId,
    token: Token,
    terms: &Terms,
) -> Result<Verdict, Failure> {
    let guard = seen.map_or(0, |record| record.guard);
    let held = seen.and_then(|record| record.token);
    let raises = match held {
        Some(held) if held > token => return Err(Failure::Stale(held)),
        Some(held) if held < token => true,
        Some(_) if seen.is_some_and(|record| record.names == names) => return Ok(Verdict::Done),
        Some(_) if terms.repair || terms.adopt => false,
        Some(_) => return Err(Failure::Refused("drift: somebody else changed it".to_owned())),
        None if terms.may_create || terms.adopt => false,
        None => return Err(Failure::Refused("the token is gone".to_owned())),
    };
    let guard = guard + u64::from(!raises);
    Ok(Verdict::Swap(Record { token: Some(token), names, guard }))
}
