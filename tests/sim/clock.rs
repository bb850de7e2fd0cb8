//! True time and the clocks of hosts, which run a little fast or slow. Only the simulator knows
//! true
//! time; everything under test sees its host's clock.

use arbiter_core::Instant;

/// Nanoseconds of true time.
pub type Nanos = u64;

/// A millisecond of true time.
pub const MS: Nanos = 1_000_000;
/// A second of true time.
pub const SECOND: Nanos = 1_000 * MS;
/// Greatest deviation of one clock: half of ρ, so that two differ by ρ at most.
pub const RATE_PPM_MAX: i64 = 5_000;

/// `CLOCK_BOOTTIME` of one host.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    booted: Nanos,
    rate_ppm: i64,
}

impl Clock {
    /// A clock that starts from zero at `booted` and deviates by `rate_ppm`; see [`RATE_PPM_MAX`].
    pub fn new(booted: Nanos, rate_ppm: i64) -> Self {
        Self { booted, rate_ppm }
    }

    /// The host was booted at `now`.
    pub fn reboot(&mut self, now: Nanos) {
        self.booted = now;
    }

    /// What it shows at `now`.
    pub fn at(&self, now: Nanos) -> Instant {
        let passed = i128::from(now.saturating_sub(self.booted));
        Instant((passed * i128::from(1_000_000 + self.rate_ppm) / 1_000_000) as u64)
    }

    /// The first true time at which it shows `instant` or later.
    pub fn when(&self, instant: Instant) -> Nanos {
        let rate = i128::from(1_000_000 + self.rate_ppm);
        let passed = (i128::from(instant.0) * 1_000_000 + rate - 1) / rate;
        self.booted + passed as u64
    }
}

/// How long this machine is up, for how long a run takes: whoever simulates needs no better.
/// Nothing that is simulated knows it.
pub fn uptime() -> std::time::Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|word| word.parse().ok());
    std::time::Duration::from_secs_f64(seconds.unwrap_or(0.0))
}
