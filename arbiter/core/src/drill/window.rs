//! A time of the week, in UTC.

use crate::WallMillis;
use serde::{Deserialize, Serialize};

const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;
const MINUTE_MILLIS: u64 = 60 * 1000;

/// A part of each of some days, in UTC. One that ends before it begins lasts past midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Days on which it begins: bit 0 is Monday, bit 6 Sunday.
    pub days: u8,
    /// Minute of the day at which it begins, 0..1440.
    pub from: u16,
    /// Minute of the day before which it ends, 0..=1440.
    pub to: u16,
}

impl Window {
    /// Whether `wall` lies in it.
    pub fn holds(&self, wall: WallMillis) -> bool {
        // 1 January 1970 was a Thursday.
        let day = (wall.0 / DAY_MILLIS + 3) % 7;
        let minute = (wall.0 % DAY_MILLIS / MINUTE_MILLIS) as u16;
        let on = |day: u64| self.days & (1 << day) != 0;
        if self.from < self.to {
            return on(day) && (self.from..self.to).contains(&minute);
        }
        (on(day) && minute >= self.from) || (on((day + 6) % 7) && minute < self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thursday, 1 January 1970.
    fn thursday(hour: u64, minute: u64) -> WallMillis {
        WallMillis((hour * 60 + minute) * MINUTE_MILLIS)
    }

    #[test]
    fn a_window_is_of_its_days_and_minutes() {
        let office = Window { days: 0b001_1111, from: 8 * 60, to: 18 * 60 };
        assert!(!office.holds(thursday(7, 59)));
        assert!(office.holds(thursday(8, 0)));
        assert!(office.holds(thursday(17, 59)));
        assert!(!office.holds(thursday(18, 0)));
        let saturday = WallMillis(2 * DAY_MILLIS + thursday(9, 0).0);
        assert!(!office.holds(saturday));
    }

    #[test]
    fn a_window_past_midnight_belongs_to_the_day_on_which_it_begins() {
        let night = Window { days: 1 << 2, from: 22 * 60, to: 2 * 60 };
        assert!(night.holds(thursday(1, 59)), "it began on Wednesday");
        assert!(!night.holds(thursday(2, 0)));
        assert!(!night.holds(thursday(23, 0)), "none begins on Thursday");
    }
}
