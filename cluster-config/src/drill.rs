//! Drills of a group: how often, how long they may wait, what is run against the new active region,
//! and when none may begin.

use crate::scalar::{Scalar, Wrong};
use crate::section::section;
use std::time::Duration;
use toml::de::DeValue;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_A_DAY: u16 = 24 * 60;

section! {
    /// Drills of this group, which `arbiter drill run` begins.
    Drill {
        /// How often a drill that moves the group is due, in days; 0: never. Quarterly unless said.
        every_days: u64 [default 91u64],
        /// How long a drill waits for anything, such as for the old region to be a standby again,
        /// before it has failed.
        limit: Duration [default Duration::from_secs(30 * 60)],
        /// A drill's plan that has not passed its point of no return this long after it opened is
        /// undone, and the drill with it.
        abort_after: Option<Duration> [unset ("\"30s\"", "as long as any plan")],
        /// Your own checks: run beside the new active region's data, or beside a copy of it that a
        /// rehearsal promoted, and good if they exit 0. No shell: the words of the line are the
        /// program and its arguments. In their environment: ARBITER_PART (check or rehearsal),
        /// ARBITER_KIND (postgres, velero and so on), ARBITER_ADDRESS (host and port, or scratch
        /// namespaces with commas between), ARBITER_GROUP, ARBITER_REGION and ARBITER_EPOCH.
        check: Option<String> [unset ("\"/usr/local/bin/check-orders --quick\"", "nothing is run")],
        /// Time limit of one run of them.
        check_limit: Duration [default Duration::from_secs(120)],
        /// When no drill may begin, in UTC, with commas between.
        blocked: Windows [default Windows(Vec::new())],
    }
}

/// A part of each of some days, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Days on which it begins: bit 0 is Monday, bit 6 Sunday.
    pub days: u8,
    /// Minute of the day at which it begins.
    pub from: u16,
    /// Minute of the day before which it ends; not after `from`: on the next day.
    pub to: u16,
}

/// Several of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(pub Vec<Window>);

impl Window {
    /// `mon-fri 08:00-18:00` or `sun 00:00-24:00`; none for anything else.
    fn parse(text: &str) -> Option<Self> {
        let (days, times) = text.split_once(' ')?;
        let day = |name: &str| DAYS.iter().position(|day| *day == name);
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (first, last) = (day(first)?, day(last)?);
        // `fri-mon` is Friday to Monday.
        let count = (last + 7 - first) % 7 + 1;
        let days = (0..count).fold(0, |days, at| days | 1 << ((first + at) % 7));
        let (from, to) = times.trim().split_once('-')?;
        let (from, to) = (minute(from)?, minute(to)?);
        (from < MINUTES_A_DAY && from != to).then_some(Self { days, from, to })
    }
}

/// `08:00` to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let all = hour * 60 + minute;
    (minute < 60 && all <= MINUTES_A_DAY).then_some(all)
}

impl Scalar for Windows {
    fn notation() -> String {
        "windows such as \"mon-fri 08:00-18:00, sun 00:00-24:00\"".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let remedy = "write days and times, such as \"mon-fri 08:00-18:00\"";
        let wrong = |what: String| (what, remedy.to_owned());
        let text = value.as_str().ok_or_else(|| wrong(format!("is a {}", value.type_str())))?;
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let parsed = parts.map(|part| {
            Window::parse(part).ok_or_else(|| wrong(format!("{part:?} is no part of a week")))
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }
    fn show(&self) -> String {
        let show = |window: &Window| {
            let days = DAYS.iter().enumerate().filter(|(at, _)| window.days & (1 << at) != 0);
            let days: Vec<&str> = days.map(|(_, day)| *day).collect();
            let time = |at: u16| format!("{:02}:{:02}", at / 60, at % 60);
            let times = format!("{}-{}", time(window.from), time(window.to));
            days.iter().map(|day| format!("{day} {times}")).collect::<Vec<_>>().join(", ")
        };
        format!("{:?}", self.0.iter().map(show).collect::<Vec<_>>().join(", "))
    }
    fn placeholder() -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_days_and_times() {
        let office = Window { days: 0b001_1111, from: 480, to: 1080 };
        assert_eq!(Window::parse("mon-fri 08:00-18:00"), Some(office));
        let sunday = Window { days: 1 << 6, from: 0, to: 1440 };
        assert_eq!(Window::parse("sun 00:00-24:00"), Some(sunday));
        let night = Window { days: 0b111_0001, from: 1320, to: 120 };
        assert_eq!(Window::parse("fri-mon 22:00-02:00"), Some(night));
        for wrong in [
            "",
            "mon",
            "mon 8:00-18:00",
            "mo 08:00-09:00",
            "mon 24:00-25:00",
            "mon 08:60-09:00",
            "mon 09:00-09:00",
            "mon 08:00",
        ] {
            assert_eq!(Window::parse(wrong), None, "{wrong}");
        }
    }
}
