//! The one file that reads clocks.

use arbiter_core::{Instant, WallMillis};
use nix::time::{ClockId, clock_gettime};

/// Now, on `CLOCK_BOOTTIME`, which counts on while the host is suspended.
///
/// # Panics
/// If the kernel has no such clock (Linux before 2.6.39).
pub fn now() -> Instant {
    #[cfg(feature = "simulated")]
    if let Some(elapsed) = instead::ELAPSED.get() {
        return Instant::default() + instead::BOOTED + elapsed();
    }
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME since Linux 2.6.39");
    Instant::from_nanos(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Wall clock, for people only.
pub fn wall() -> WallMillis {
    #[cfg(feature = "simulated")]
    if let Some(elapsed) = instead::ELAPSED.get() {
        return WallMillis((instead::EPOCH + elapsed()).as_millis() as u64);
    }
    let time = clock_gettime(ClockId::CLOCK_REALTIME).expect("CLOCK_REALTIME exists");
    WallMillis(time.tv_sec() as u64 * 1_000 + time.tv_nsec() as u64 / 1_000_000)
}

/// The clocks of a simulation that has its own time.
#[cfg(feature = "simulated")]
pub mod instead {
    use std::cell::Cell;
    use std::time::Duration;

    /// A simulation begins this long after its host was booted.
    pub(super) const BOOTED: Duration = Duration::from_secs(1_000);
    /// And on this day.
    pub(super) const EPOCH: Duration = Duration::from_secs(1_790_000_000);

    /// How long a simulation has run.
    pub type Elapsed = fn() -> Duration;

    thread_local! {
        pub(super) static ELAPSED: Cell<Option<Elapsed>> = const { Cell::new(None) };
    }

    /// From now on the clocks of this thread stand where `elapsed` says; none: the kernel's again.
    pub fn of_this_thread(elapsed: Option<Elapsed>) {
        ELAPSED.set(elapsed);
    }
}
