//! Wall clocks, milliseconds since 1970, as dates in UTC. Knows the calendar; never what time it
//! is.

/// As people read it: `2023-11-14 22:13:20 UTC`.
pub fn utc(millis: u64) -> String {
    let Parts { year, month, day, hour, minute, second, .. } = parts(millis);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// As machines read it (RFC 3339): `2023-11-14T22:13:20.000Z`.
pub fn rfc3339(millis: u64) -> String {
    let Parts { year, month, day, hour, minute, second, milli } = parts(millis);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

struct Parts {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    milli: u64,
}

fn parts(millis: u64) -> Parts {
    let (days, second) = (millis / 86_400_000, millis / 1000 % 86_400);
    // Days since 0000-03-01, where leap days end a year (Howard Hinnant, chrono-compatible dates).
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    Parts {
        year: era * 400 + year_of_era + u64::from(month <= 2),
        month,
        day: of_year - (153 * month_from_march + 2) / 5 + 1,
        hour: second / 3600,
        minute: second / 60 % 60,
        second: second % 60,
        milli: millis % 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clocks_are_read_as_dates() {
        for (millis, date) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_700_000_000_000, "2023-11-14 22:13:20 UTC"),
            (1_709_164_800_000, "2024-02-29 00:00:00 UTC"),
        ] {
            assert_eq!(utc(millis), date);
        }
        assert_eq!(rfc3339(1_700_000_000_007), "2023-11-14T22:13:20.007Z");
    }
}
