//! The window: which chunk is written next. The oldest free one, so that few chunks stay in the
//! caches; a spare one while the window isn't full, or in a burst; at last one that was stuck.
//!
//! ```text
//!            close                  released             reuse, oldest first
//!  current ────────▶ closed (FIFO) ──────────▶ free (FIFO) ───────────▶ current
//!                      │ held by the owner       │ more than the window needs
//!                      │ or pinned               ▼
//!                      └──────────▶ stuck      spare (for bursts)
//! ```
//! This is bookkeeping over chunk numbers only; the caller says whether a chunk can be reused. Each
//! chunk is in exactly one place. Every step is amortised O(1) except the last resort, a scan
//! before it reports that nothing is free.
//!
//! Reusing the warmest chunk (last in, first out) was slower with a second core, whose cache still
//! holds those lines. Marching through all of a big pool was slower too.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// Why a closed chunk can't be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// Tokens, receives, reads in flight, or slices that aren't in a slot.
    Held,
    /// A slot that isn't released.
    Sequence,
    /// Retained handles.
    Pinned,
}

/// Free chunks that stay in rotation beside the closed ones, so that a chunk that a reader has just
/// left isn't written immediately.
pub(super) const FREE_CHUNKS_MIN: usize = 2;
/// The number of stuck chunks that are checked each time a chunk is closed.
const STUCK_CHECKS: usize = 2;

/// Always: `closed + free + stuck + spare + 1 (current) == chunks`.
#[derive(Debug)]
pub(crate) struct Rotation {
    current: u32,
    /// In the order of closing. The first isn't released, as far as is known.
    closed: VecDeque<u32>,
    /// In the order in which they became free.
    free: VecDeque<u32>,
    /// Held by the owner or pinned when they were last checked.
    stuck: VecDeque<u32>,
    spare: Vec<u32>,
    window: usize,
    chunks: usize,
    busy_high: usize,
}

impl Rotation {
    /// The first chunk is current and all others are spare. `window` is at least 2.
    pub(crate) fn new(chunks: u32, window: usize) -> Self {
        assert!(chunks >= 2 && window >= 2, "{chunks} chunks, a window of {window}");
        let queue = || VecDeque::with_capacity(chunks as usize);
        Self {
            current: 0,
            closed: queue(),
            free: queue(),
            stuck: queue(),
            spare: (1..chunks).rev().collect(),
            window,
            chunks: chunks as usize,
            busy_high: 1,
        }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn current(&self) -> u32 {
        self.current
    }

    /// Closes the current chunk and opens another one. If none is free, it returns `None` and the
    /// current chunk stays open.
    pub(crate) fn advance(&mut self, blocked: impl Fn(u32) -> Option<Blocked>) -> Option<u32> {
        self.sweep(&blocked);
        let next = self.pick(&blocked)?;
        if next != self.current {
            self.closed.push_back(self.current);
            self.current = next;
        }
        self.busy_high = self.busy_high.max(self.busy());
        self.check();
        Some(next)
    }

    /// Closed chunks that aren't known to be free, and the current one.
    pub(crate) fn busy(&self) -> usize {
        self.closed.len() + self.stuck.len() + 1
    }

    /// The highest number of chunks that were busy at the same time.
    pub(crate) fn busy_high(&self) -> usize {
        self.busy_high
    }

    /// Chunks that may be in use, the current one first.
    pub(crate) fn busy_chunks(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::once(self.current)
            .chain(self.closed.iter().copied())
            .chain(self.stuck.iter().copied())
    }

    /// Moves released chunks from `closed` to `free`, held and pinned ones to `stuck`, and surplus
    /// ones to `spare`.
    pub(crate) fn sweep(&mut self, blocked: &impl Fn(u32) -> Option<Blocked>) {
        while let Some(&front) = self.closed.front() {
            match blocked(front) {
                None => self.free.push_back(front),
                Some(Blocked::Sequence) => break,
                Some(Blocked::Held | Blocked::Pinned) => self.stuck.push_back(front),
            }
            self.closed.pop_front();
        }
        for _ in 0..STUCK_CHECKS.min(self.stuck.len()) {
            let Some(chunk) = self.stuck.pop_front() else { break };
            let place = if blocked(chunk).is_none() { &mut self.free } else { &mut self.stuck };
            place.push_back(chunk);
        }
        while self.free.len() > FREE_CHUNKS_MIN
            && self.closed.len() + self.free.len() + 1 > self.window
        {
            let Some(chunk) = self.free.pop_front() else { break };
            self.spare.push(chunk);
        }
        self.check();
    }

    fn pick(&mut self, blocked: &impl Fn(u32) -> Option<Blocked>) -> Option<u32> {
        if self.closed.len() + self.free.len() + 1 < self.window
            && let Some(spare) = self.spare.pop()
        {
            return Some(spare);
        }
        if let Some(oldest) = self.free.pop_front().or_else(|| self.spare.pop()) {
            return Some(oldest);
        }
        if blocked(self.current).is_none() {
            return Some(self.current);
        }
        Self::take_free(&mut self.stuck, blocked)
            .or_else(|| Self::take_free(&mut self.closed, blocked))
    }

    /// The last resort: the first chunk of a list that nothing blocks, wherever it is in it.
    fn take_free(
        queue: &mut VecDeque<u32>,
        blocked: &impl Fn(u32) -> Option<Blocked>,
    ) -> Option<u32> {
        let at = queue.iter().position(|&chunk| blocked(chunk).is_none())?;
        queue.remove(at)
    }

    /// Each chunk is in exactly one place.
    fn check(&self) {
        debug_assert!(self.busy_high <= self.chunks);
        debug_assert_eq!(
            self.closed.len() + self.free.len() + self.stuck.len() + self.spare.len() + 1,
            self.chunks
        );
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Enough advances to show which chunks a rotation ends up with.
    const LONG: usize = if cfg!(miri) { 150 } else { 1000 };

    /// What blocks each chunk. The rotation may only hand out chunks that nothing blocks.
    #[derive(Default)]
    struct Model {
        blocked: Vec<Option<Blocked>>,
    }

    impl Model {
        fn new(chunks: u32) -> Self {
            Self { blocked: vec![None; chunks as usize] }
        }
        fn ask(&self) -> impl Fn(u32) -> Option<Blocked> + '_ {
            |chunk| self.blocked[chunk as usize]
        }
    }

    fn why(pick: u32) -> Blocked {
        [Blocked::Held, Blocked::Pinned, Blocked::Sequence][pick as usize % 3]
    }

    #[test]
    fn rotates_oldest_first_inside_the_window() {
        let mut rotation = Rotation::new(100, 4);
        let used: Vec<u32> = (0..40).map(|_| rotation.advance(|_| None).unwrap()).collect();
        assert_eq!(
            used.iter().copied().collect::<HashSet<_>>().len(),
            4,
            "the working set is the window: {used:?}"
        );
        for pair in used[4..].windows(4) {
            assert_eq!(
                pair.iter().copied().collect::<HashSet<_>>().len(),
                4,
                "oldest first: {used:?}"
            );
        }
    }

    #[test]
    fn a_burst_takes_spare_chunks_and_returns_them() {
        let mut rotation = Rotation::new(64, 4);
        for _ in 0..63 {
            rotation.advance(|_| Some(Blocked::Sequence)).expect("63 chunks were spare");
        }
        assert_eq!(rotation.advance(|_| Some(Blocked::Sequence)), None, "full");
        assert_eq!(rotation.busy_high(), 64);
        let after: HashSet<u32> = (0..LONG).map(|_| rotation.advance(|_| None).unwrap()).collect();
        let tail: HashSet<u32> = (0..LONG).map(|_| rotation.advance(|_| None).unwrap()).collect();
        assert!(tail.len() <= 4, "back to the window: {} then {}", after.len(), tail.len());
    }

    #[test]
    fn a_pinned_chunk_does_not_make_the_rotation_march() {
        let mut rotation = Rotation::new(100, 4);
        for _ in 0..8 {
            rotation.advance(|_| None);
        }
        let pinned = rotation.current();
        let ask = |chunk| (chunk == pinned).then_some(Blocked::Pinned);
        let used: HashSet<u32> = (0..LONG).map(|_| rotation.advance(ask).unwrap()).collect();
        assert!(!used.contains(&pinned));
        assert!(used.len() <= 6, "{} chunks were used", used.len());
        let again: HashSet<u32> = (0..LONG).map(|_| rotation.advance(|_| None).unwrap()).collect();
        assert!(again.len() <= 7);
    }

    #[test]
    fn two_chunks_alternate_and_one_restarts() {
        let mut rotation = Rotation::new(2, 2);
        assert_eq!(rotation.advance(|_| None), Some(1));
        assert_eq!(rotation.advance(|_| None), Some(0));
        // The other chunk is stuck. The current one is free, so it starts again.
        assert_eq!(rotation.advance(|chunk| (chunk == 1).then_some(Blocked::Held)), Some(0));
        assert_eq!(rotation.advance(|_| Some(Blocked::Held)), None);
    }

    proptest! {
        #![proptest_config(slipring_test_support::random_runs())]

        #[test]
        fn hands_out_only_free_chunks(
            chunks in 2u32..12,
            window in 2usize..12,
            steps in proptest::collection::vec(
                (0u8..4, any::<u32>()),
                1..if cfg!(miri) { 50 } else { 200 },
            ),
        ) {
            let mut rotation = Rotation::new(chunks, window.min(chunks as usize));
            let mut model = Model::new(chunks);
            for (what, pick) in steps {
                let before = rotation.current();
                match what {
                    // A chunk that is closed is blocked by its slots at first.
                    0 | 1 => match rotation.advance(model.ask()) {
                        Some(next) => {
                            prop_assert_eq!(model.blocked[next as usize], None);
                            model.blocked[before as usize] = (next != before).then_some(why(pick));
                        }
                        None => {
                            let is_full = model.blocked.iter().all(Option::is_some);
                            prop_assert!(is_full, "a free chunk was overlooked");
                        }
                    },
                    2 => model.blocked[(pick % chunks) as usize] = None,
                    _ if pick % 7 == 0 => model.blocked.fill(None),
                    _ => model.blocked[before as usize] = Some(Blocked::Sequence),
                }
            }
            model.blocked.fill(None);
            prop_assert!(rotation.advance(model.ask()).is_some(), "recovers");
        }
    }
}
