//! How long an agent waited for renewals at worst, day by day: what a lease is advised from. A
//! leader forgets what it saw when another is elected; the agent knows it as long as it runs.

use crate::{Instant, RENEWAL_GAP_DAYS};
use std::collections::BTreeMap;
use std::time::Duration;

const DAY_SECS: u64 = 24 * 60 * 60;

/// The longest waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Gaps {
    /// When the newest Report left that was answered: leases count from there.
    renewed: Option<Instant>,
    /// By day of the host's running.
    days: BTreeMap<u64, Duration>,
}

impl Gaps {
    /// The Report that left at `sent` was answered.
    pub fn answered(&mut self, sent: Instant, now: Instant) {
        let before = self.renewed.replace(self.renewed.map_or(sent, |known| known.max(sent)));
        let Some(before) = before.filter(|before| *before < sent) else { return };
        let worst = self.days.entry(day(now)).or_default();
        *worst = now.since(before).max(*worst);
        while self.days.len() > RENEWAL_GAP_DAYS {
            self.days.pop_first();
        }
    }

    /// The longest of today, of yesterday, and so on; zero where none is known.
    pub fn shown(&self, now: Instant) -> Vec<Duration> {
        let of = |ago: u64| day(now).checked_sub(ago).and_then(|day| self.days.get(&day).copied());
        let mut days: Vec<Duration> =
            (0..RENEWAL_GAP_DAYS as u64).map(|ago| of(ago).unwrap_or_default()).collect();
        days.truncate(days.iter().rposition(|gap| !gap.is_zero()).map_or(0, |last| last + 1));
        days
    }
}

fn day(now: Instant) -> u64 {
    now.since(Instant::default()).as_secs() / DAY_SECS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_wait_of_each_day_is_kept_for_a_week() {
        let mut gaps = Gaps::default();
        let at = |day: u64, ms: u64| Instant::from_millis(day * 86_400_000 + ms);
        let ms = Duration::from_millis;
        gaps.answered(at(3, 1000), at(3, 1100));
        assert_eq!(gaps.shown(at(3, 1100)), [], "one answer makes no wait");
        gaps.answered(at(3, 2000), at(3, 2100));
        // A lease counts from when the Report left.
        assert_eq!(gaps.shown(at(3, 2100)), [ms(1100)]);
        gaps.answered(at(3, 6000), at(3, 6100));
        gaps.answered(at(3, 7000), at(3, 7100));
        gaps.answered(at(3, 6500), at(3, 7200));
        assert_eq!(gaps.shown(at(3, 7200)), [ms(4100)], "one that was overtaken tells nothing");
        gaps.answered(at(3, 7000), at(3, 19_000));
        assert_eq!(gaps.shown(at(3, 19_000)), [ms(4100)], "nor does the same answer again");
        gaps.renewed = Some(at(5, 0));
        gaps.answered(at(5, 1000), at(5, 1010));
        assert_eq!(gaps.shown(at(5, 2000)), [ms(1010), ms(0), ms(4100)]);
        assert_eq!(gaps.shown(at(9, 0)).len(), 7);
        assert_eq!(gaps.shown(at(10, 0)), [ms(0), ms(0), ms(0), ms(0), ms(0), ms(1010)]);
    }

    #[test]
    fn no_more_days_are_kept_than_are_shown() {
        let mut gaps = Gaps::default();
        for day in 1..20_u64 {
            gaps.renewed = Some(Instant::from_millis(day * 86_400_000));
            let sent = Instant::from_millis(day * 86_400_000 + day);
            gaps.answered(sent, sent);
            assert_eq!(gaps.days.len(), RENEWAL_GAP_DAYS.min(day as usize));
            assert_eq!(gaps.shown(sent).len(), gaps.days.len());
        }
        let last = gaps.shown(Instant::from_millis(19 * 86_400_000));
        assert_eq!(last, [19, 18, 17, 16, 15, 14, 13].map(Duration::from_millis));
    }
}
