//! Whether writes and the register agree: a region is acknowledged only while it may be active.
//! Knows acknowledgements and what readers saw; never what went wrong.

use super::readers::Seen;
use arbiter::lab::writer::Ack;
use arbiter_core::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// From when to when an epoch may have been the newest, by what readers saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reign {
    /// Its region.
    pub region: String,
    /// It began after this.
    pub after: Instant,
    /// It had ended by this; none: nobody saw another.
    pub ended: Option<Instant>,
}

/// The reigns by epoch. An epoch that nobody saw lies between its neighbours.
pub fn reigns(seen: &[Seen], first: &str, other: &str) -> BTreeMap<u64, Reign> {
    let last = seen.iter().map(|one| one.epoch).max().unwrap_or(1);
    (1..=last)
        .map(|epoch| {
            let region = if epoch % 2 == 1 { first } else { other };
            let before = seen.iter().filter(|one| one.epoch < epoch).map(|one| one.asked).max();
            let beyond = seen.iter().filter(|one| one.epoch > epoch).map(|one| one.answered).min();
            let after = before.unwrap_or_default();
            (epoch, Reign { region: region.to_owned(), after, ended: beyond })
        })
        .collect()
}

/// Acknowledgements of a server whose region could not be active at any instant of the write.
pub fn outside<'a>(
    acks: &'a [Ack],
    reigns: &BTreeMap<u64, Reign>,
    server: impl Fn(&str) -> IpAddr,
) -> Vec<&'a Ack> {
    let within = |ack: &&Ack| {
        reigns.values().any(|reign| {
            server(&reign.region) == ack.server
                && reign.after <= ack.at
                && reign.ended.is_none_or(|ended| ack.sent <= ended)
        })
    };
    acks.iter().filter(|ack| !within(ack)).collect()
}

/// How often the acknowledging server changed.
pub fn turns(acks: &[Ack]) -> u64 {
    let changed = |pair: &&[Ack]| pair[0].server != pair[1].server;
    acks.windows(2).filter(changed).count() as u64
}

/// Acknowledgements beyond those that so many rises of the epoch explain: those of the shortest
/// turns there are too many of.
pub fn overlapping(acks: &[Ack], rises: u64) -> u64 {
    let mut counts: Vec<u64> = Vec::new();
    for (n, ack) in acks.iter().enumerate() {
        match counts.last_mut() {
            Some(count) if acks[n - 1].server == ack.server => *count += 1,
            _ => counts.push(1),
        }
    }
    counts.sort_unstable();
    let beyond = counts.len().saturating_sub(rises as usize + 1);
    counts.iter().take(beyond).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn ack(server: [u8; 4], sent: u64, answered: u64) -> Ack {
        Ack { id: 0, transaction: 0, sent: at(sent), at: at(answered), server: server.into() }
    }

    fn seen(asked: u64, answered: u64, epoch: u64) -> Seen {
        let region = if epoch % 2 == 1 { "eu-west" } else { "us-east" }.to_owned();
        Seen { asked: at(asked), answered: at(answered), epoch, region }
    }

    const EU: [u8; 4] = [10, 77, 1, 2];
    const US: [u8; 4] = [10, 77, 2, 2];

    fn server(region: &str) -> IpAddr {
        if region == "eu-west" { EU.into() } else { US.into() }
    }

    #[test]
    fn a_write_counts_as_outside_only_where_no_instant_of_it_fits() {
        let reigns =
            reigns(&[seen(10, 12, 1), seen(50, 60, 2), seen(90, 95, 3)], "eu-west", "us-east");
        let inside = [ack(EU, 5, 6), ack(EU, 60, 61), ack(US, 15, 20), ack(EU, 55, 57)];
        assert_eq!(outside(&inside, &reigns, server), Vec::<&Ack>::new());
        let late = [ack(US, 96, 97), ack(US, 1, 9)];
        assert_eq!(outside(&late, &reigns, server).len(), 2);
    }

    #[test]
    fn turns_beyond_the_rises_overlap() {
        let acks: Vec<Ack> =
            [EU, EU, US, EU, US, US].iter().zip(1..).map(|(s, n)| ack(*s, n, n)).collect();
        assert_eq!(turns(&acks), 3);
        assert_eq!(overlapping(&acks, 1), 2);
        assert_eq!(overlapping(&acks, 3), 0);
    }
}
