//! Pins: how retained handles, on any thread, keep a chunk from being reused.
//!
//! A pin is taken while the chunk is protected by something else (a slice, or a slot that isn't released), so the owner,
//! who looks at `released` before it looks at the pins, sees it. At most `pinned_max` chunks carry pins at once: every
//! step of a count from 0 to 1 first takes one unit of that cap, every step from 1 to 0 gives it back.
#![forbid(unsafe_code)]

use crate::sync::{AtomicU32, Ordering};

/// Counts beyond this abort the process, as `Arc` does: it takes two billion leaked handles on one chunk.
const PINS_MAX: u32 = u32::MAX / 2;

/// One counter a chunk and the number of chunks that carry pins.
#[derive(Debug)]
pub(crate) struct Pins {
    counts: Box<[AtomicU32]>,
    pinned: AtomicU32,
    pinned_max: u32,
}

impl Pins {
    pub(crate) fn new(chunks: u32, pinned_max: u32) -> Self {
        Self { counts: (0..chunks).map(|_| AtomicU32::new(0)).collect(), pinned: AtomicU32::new(0), pinned_max }
    }

    /// Adds a pin, or says that no further chunk may be pinned. The chunk must be protected for the length of this call.
    pub(crate) fn pin(&self, chunk: u32) -> bool {
        let count = &self.counts[chunk as usize];
        let mut now = count.load(Ordering::Relaxed);
        loop {
            if now > PINS_MAX {
                std::process::abort();
            }
            let first = now == 0;
            if first && !self.take_unit() {
                return false;
            }
            // Relaxed: the chunk's protection is what publishes the pin to the owner, not this store.
            match count.compare_exchange_weak(now, now + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(seen) => {
                    if first {
                        self.give_unit();
                    }
                    now = seen;
                }
            }
        }
    }

    /// Adds a pin to a chunk that the caller already pins.
    pub(crate) fn pin_again(&self, chunk: u32) {
        let before = self.counts[chunk as usize].fetch_add(1, Ordering::Relaxed);
        debug_assert!(before > 0, "chunk {chunk} wasn't pinned");
        if before > PINS_MAX {
            std::process::abort();
        }
    }

    /// Takes a pin away.
    pub(crate) fn unpin(&self, chunk: u32) {
        // SYNC S1: all reads through the handle come before this store.
        let before = self.counts[chunk as usize].fetch_sub(1, Ordering::Release);
        debug_assert!(before > 0, "chunk {chunk} wasn't pinned");
        if before == 1 {
            self.give_unit();
        }
    }

    /// Whether a chunk carries pins. The owner loads `released` before it asks.
    #[inline]
    pub(crate) fn is_pinned(&self, chunk: u32) -> bool {
        // SYNC S1: whoever sees zero here sees all reads through the handles as done.
        self.counts[chunk as usize].load(Ordering::Acquire) != 0
    }

    /// Chunks that carry pins now; a gauge.
    pub(crate) fn pinned(&self) -> u32 {
        self.pinned.load(Ordering::Relaxed)
    }

    pub(crate) fn pinned_max(&self) -> u32 {
        self.pinned_max
    }

    fn take_unit(&self) -> bool {
        debug_assert!(self.pinned() <= self.pinned_max);
        let take = |pinned| (pinned < self.pinned_max).then_some(pinned + 1);
        self.pinned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_unit(&self) {
        let before = self.pinned.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0);
    }
}

#[cfg(all(test, loom))]
mod loom_tests;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_cap_counts_chunks_not_handles() {
        let pins = Pins::new(4, 2);
        assert!(pins.pin(0) && pins.pin(0) && pins.pin(1));
        assert!(!pins.pin(2), "two chunks are pinned already");
        pins.pin_again(1);
        pins.unpin(1);
        assert!(!pins.pin(2) && pins.is_pinned(1));
        pins.unpin(1);
        assert!(pins.pin(2) && !pins.is_pinned(1));
        assert_eq!(pins.pinned(), 2);
    }
}
