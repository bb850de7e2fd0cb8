//! The one file that reads clocks.

use arbiter_core::{Instant, WallMillis};
use nix::time::{ClockId, clock_gettime};

/// Now, on `CLOCK_BOOTTIME`, which counts on while the host is suspended.
///
/// # Panics
/// If the kernel has no such clock (Linux before 2.6.39).
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME since Linux 2.6.39");
    Instant::from_nanos(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Wall clock, for people only.
pub fn wall() -> WallMillis {
    let time = clock_gettime(ClockId::CLOCK_REALTIME).expect("CLOCK_REALTIME exists");
    WallMillis(time.tv_sec() as u64 * 1_000 + time.tv_nsec() as u64 / 1_000_000)
}
