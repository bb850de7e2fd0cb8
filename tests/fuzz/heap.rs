//! How much of the heap one input takes. Counted in the programs that install [`Counting`].

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Most bytes that one input of 64 KiB may have in use at once: a length that a peer claims must
/// not be believed before its bytes are there.
pub const HEAP_BYTES_MAX: usize = 48 << 20;

thread_local! {
    static USED: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counted by thread.
pub struct Counting;

fn took(bytes: usize) {
    let used = USED.get().saturating_add(bytes);
    USED.set(used);
    PEAK.set(PEAK.get().max(used));
}

fn gave(bytes: usize) {
    USED.set(USED.get().saturating_sub(bytes));
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing, and the
// counters are plain cells without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        gave(layout.size());
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The most bytes that this thread had in use while `work` ran, beyond those it had before; 0 where
/// nobody counts.
pub(super) fn peak_of(work: impl FnOnce()) -> usize {
    let before = USED.get();
    PEAK.set(before);
    work();
    PEAK.get() - before.min(PEAK.get())
}
