//! What a simulated host asks its kernel for: the time, and chance. Knows the seed and the
//! simulated time; never who asks.
//!
//! The program's own definitions stand in the place of the C library's, so that nothing in the
//! arbiter has to know of a simulation. They are linked into this program only.

use libc::{c_int, c_long, c_uint, c_void, clockid_t, ssize_t, timespec};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// A simulation begins this long after its hosts were booted.
const BOOTED: Duration = Duration::from_secs(1_000);
/// And on this day.
const EPOCH: Duration = Duration::from_secs(1_790_000_000);
/// Parts in a million.
const WHOLE: i128 = 1_000_000;

static SIMULATED: AtomicBool = AtomicBool::new(false);
static CHANCE: AtomicU64 = AtomicU64::new(0);
static ELAPSED_NANOS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// How much faster each host's clock runs, in parts in a million, by its runtime.
    static RATES: RefCell<BTreeMap<String, i64>> = const { RefCell::new(BTreeMap::new()) };
}

/// From now on time is simulated, and chance comes from `seed`. Call it first of all.
pub fn simulate(seed: u64) {
    CHANCE.store(seed, Ordering::Relaxed);
    SIMULATED.store(true, Ordering::Relaxed);
}

/// The simulated time, for what is asked between two steps.
pub fn elapsed(time: Duration) {
    ELAPSED_NANOS.store(time.as_nanos() as u64, Ordering::Relaxed);
}

/// The clock of the host whose runtime this is runs faster by this many parts in a million.
pub fn rate(parts: i64) {
    let host = Handle::current().id().to_string();
    RATES.with_borrow_mut(|rates| rates.insert(host, parts));
}

/// SplitMix64, one step for each call, whoever calls.
fn chance() -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = CHANCE.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Since the simulation began, up to the last step.
fn step_time() -> Duration {
    Duration::from_nanos(ELAPSED_NANOS.load(Ordering::Relaxed))
}

/// Since the simulation began, by the clock of the host that asks.
fn host_time() -> Duration {
    let now = turmoil::sim_elapsed().unwrap_or_else(step_time);
    let Ok(host) = Handle::try_current() else { return now };
    let host = host.id().to_string();
    let parts = RATES.try_with(|rates| rates.borrow().get(&host).copied().unwrap_or(0));
    let nanos = now.as_nanos() as i128;
    let nanos = nanos + nanos * i128::from(parts.unwrap_or(0)) / WHOLE;
    Duration::from_nanos(nanos as u64)
}

/// The C library's `getrandom`.
///
/// # Safety
/// `buffer` has room for `length` bytes.
#[unsafe(export_name = "getrandom")]
unsafe extern "C" fn simulated_chance(
    buffer: *mut c_void,
    length: usize,
    flags: c_uint,
) -> ssize_t {
    if !SIMULATED.load(Ordering::Relaxed) {
        // SAFETY: the kernel's own call, with the caller's buffer.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as ssize_t };
    }
    if length > 0 {
        // SAFETY: the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&chance().to_le_bytes()[..part.len()]);
        }
    }
    length as ssize_t
}

/// The C library's clocks: those that anything here reads are simulated, others are the kernel's.
///
/// # Safety
/// `time` can be written to.
#[unsafe(export_name = "clock_gettime")]
unsafe extern "C" fn simulated_clock(clock: clockid_t, time: *mut timespec) -> c_int {
    let simulated = SIMULATED.load(Ordering::Relaxed);
    let now = match clock {
        libc::CLOCK_BOOTTIME if simulated => BOOTED + host_time(),
        libc::CLOCK_REALTIME if simulated => EPOCH + host_time(),
        // The standard library's, which h2 forgets reset streams by; tokio's own is paused.
        libc::CLOCK_MONOTONIC if simulated => BOOTED + step_time(),
        // SAFETY: the kernel's own call, with the caller's pointer.
        _ => return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int },
    };
    let found =
        timespec { tv_sec: now.as_secs() as i64, tv_nsec: c_long::from(now.subsec_nanos() as i32) };
    // SAFETY: the caller's promise.
    unsafe { time.write(found) };
    0
}
