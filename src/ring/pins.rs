//! Pins: how retained handles, on any thread, keep a chunk from being reused.
//!
//! A pin is added while something else protects the chunk (a slice, or a slot that isn't released).
//! The owner reads `released` before it reads the pins, so it sees the pin. At most `pinned_max`
//! chunks are pinned at the same time: the first pin of a chunk needs a unit of that cap, and the
//! last one returns it.
//!
//! ```text
//!   0 ──▶ undecided: k threads ask ──▶ k pins        one thread's unit serves all k, and any
//!           for a unit                   │           further unit is returned
//!              │ none of them            │ the last pin is removed and
//!              ▼ got a unit              ▼ its unit is returned
//!              0                         0
//! ```
//! A thread that gets no unit while others still ask for the same chunk waits for them, because
//! their unit would serve it too. It checks a bounded number of times, because the others may not
//! be running.
#![forbid(unsafe_code)]

use crate::sync::{AtomicU32, Ordering, yield_now};

/// Counts beyond this abort the process, as with `Arc`. It takes a billion leaked handles on one
/// chunk.
const PINS_MAX: u32 = 1 << 30;
/// Set together with a count: no thread has a unit for the chunk yet.
const UNDECIDED: u32 = 1 << 31;
/// How often a thread checks a chunk whose unit other threads are asking for. They are two steps
/// away from the answer. Under loom two checks are enough.
const CHECKS_MAX: u32 = if cfg!(loom) { 2 } else { 100 };

/// One counter per chunk, and the number of pinned chunks.
#[derive(Debug)]
pub(crate) struct Pins {
    counts: Box<[AtomicU32]>,
    pinned: AtomicU32,
    pinned_max: u32,
}

impl Pins {
    pub(crate) fn new(chunks: u32, pinned_max: u32) -> Self {
        Self {
            counts: (0..chunks).map(|_| AtomicU32::new(0)).collect(),
            pinned: AtomicU32::new(0),
            pinned_max,
        }
    }

    /// Adds a pin, or reports that no further chunk may be pinned. The chunk must stay protected
    /// during the call.
    pub(crate) fn pin(&self, chunk: u32) -> bool {
        let count = &self.counts[chunk as usize];
        let (mut now, mut checks) = (count.load(Ordering::Relaxed), 0);
        loop {
            abort_beyond_max(now & !UNDECIDED);
            let is_pinned = now != 0 && now & UNDECIDED == 0;
            if !is_pinned && checks > 0 {
                // There was no unit left; another thread may have got one for this chunk.
                if now == 0 || checks > CHECKS_MAX {
                    return false;
                }
                checks += 1;
                yield_now();
                now = count.load(Ordering::Relaxed);
                continue;
            }
            let joined = if is_pinned { now + 1 } else { (now | UNDECIDED) + 1 };
            // Relaxed: the chunk's protection is what publishes the pin to the owner, not this
            // store.
            match count.compare_exchange_weak(now, joined, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) if is_pinned || self.decide(count) => return true,
                Ok(_) => (now, checks) = (count.load(Ordering::Relaxed), 1),
                Err(seen) => now = seen,
            }
        }
    }

    /// Asks for the chunk's unit on behalf of all threads that wait for it, including the caller.
    /// Returns false if there was none; the caller's count is then removed.
    fn decide(&self, count: &AtomicU32) -> bool {
        let has_unit = self.take_unit();
        let decided = |now| match now {
            _ if now & UNDECIDED == 0 => None,
            _ if has_unit => Some(now & !UNDECIDED),
            now if now == UNDECIDED + 1 => Some(0),
            _ => Some(now - 1),
        };
        match count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, decided) {
            Ok(_) => has_unit,
            // Another thread's unit serves all, and has made the caller's count a pin.
            Err(_) => {
                if has_unit {
                    self.return_unit();
                }
                true
            }
        }
    }

    /// Adds a pin to a chunk that the caller already pins.
    pub(crate) fn pin_again(&self, chunk: u32) {
        let before = self.counts[chunk as usize].fetch_add(1, Ordering::Relaxed);
        debug_assert!(before > 0, "chunk {chunk} wasn't pinned");
        abort_beyond_max(before);
    }

    /// Removes a pin.
    pub(crate) fn unpin(&self, chunk: u32) {
        // SYNC S1: all reads through the handle come before this store.
        let before = self.counts[chunk as usize].fetch_sub(1, Ordering::Release);
        debug_assert!(before > 0, "chunk {chunk} wasn't pinned");
        if before == 1 {
            self.return_unit();
        }
    }

    /// Whether a chunk is pinned. The owner loads `released` before it asks.
    #[inline]
    pub(crate) fn is_pinned(&self, chunk: u32) -> bool {
        // SYNC S1: a thread that sees zero here sees all reads through the handles as done.
        self.counts[chunk as usize].load(Ordering::Acquire) != 0
    }

    /// The number of chunks that are pinned now; a gauge.
    pub(crate) fn pinned(&self) -> u32 {
        self.pinned.load(Ordering::Relaxed)
    }

    pub(crate) fn pinned_max(&self) -> u32 {
        self.pinned_max
    }

    fn take_unit(&self) -> bool {
        debug_assert!(self.pinned() <= self.pinned_max);
        let one_more = |pinned| (pinned < self.pinned_max).then_some(pinned + 1);
        self.pinned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn return_unit(&self) {
        let before = self.pinned.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0);
    }
}

/// A count that wrapped would free a chunk while handles still use it.
fn abort_beyond_max(pins: u32) {
    if pins > PINS_MAX {
        std::process::abort();
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
