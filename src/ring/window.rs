//! Chooses the chunk that is written next, from the hot window, the reserve and the chunks that are
//! stuck.
//!
//! ```text
//!            close                 released              reuse, oldest first
//!  current ────────▶ live (FIFO) ───────────▶ idle (FIFO) ───────────▶ current
//!                      │ held by the owner      │ more than the window needs
//!                      │ or pinned              ▼
//!                      └──────────▶ parked    reserve (a burst takes from it)
//! ```
//! This is bookkeeping over chunk numbers only; the caller says whether a chunk can be reused. Each
//! chunk is in exactly one place. Every step is amortised O(1) except the last resort, a scan
//! before it reports that nothing is free.
//!
//! Reusing the warmest chunk (last in, first out) was slower with a second core, whose cache still
//! holds those lines. Marching through all of a big pool was slower too.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// What keeps a closed chunk from being reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// Grants, tokens, or slices of the owner that aren't in a slot.
    Owner,
    /// A slot that isn't released.
    Sequence,
    /// Retained handles.
    Pinned,
}

/// Chunks that stay in rotation beyond the live ones, so that a chunk that a reader has just left
/// isn't written at once.
pub(super) const IDLE_CHUNKS_MIN: usize = 2;
/// Parked chunks looked at each time a chunk is closed.
const PARKED_LOOKS: usize = 2;

/// `live + idle + reserve + parked + 1 (current) == chunks`, always.
#[derive(Debug)]
pub(crate) struct Rotation {
    current: u32,
    live: VecDeque<u32>,
    idle: VecDeque<u32>,
    parked: VecDeque<u32>,
    reserve: Vec<u32>,
    window: usize,
    chunks: usize,
    busy_high: usize,
}

impl Rotation {
    /// All chunks in reserve but the first, which is current. `window` is at least 2.
    pub(crate) fn new(chunks: u32, window: usize) -> Self {
        assert!(chunks >= 2 && window >= 2, "{chunks} chunks, a window of {window}");
        let queue = || VecDeque::with_capacity(chunks as usize);
        Self {
            current: 0,
            live: queue(),
            idle: queue(),
            parked: queue(),
            reserve: (1..chunks).rev().collect(),
            window,
            chunks: chunks as usize,
            busy_high: 1,
        }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn current(&self) -> u32 {
        self.current
    }

    /// Closes the current chunk and opens another, or reports that none is free and changes nothing
    /// that matters.
    pub(crate) fn advance(&mut self, blocked: impl Fn(u32) -> Option<Blocked>) -> Option<u32> {
        self.sweep(&blocked);
        let next = self.pick(&blocked)?;
        if next != self.current {
            self.live.push_back(self.current);
            self.current = next;
        }
        self.busy_high = self.busy_high.max(self.busy());
        self.check();
        Some(next)
    }

    /// Closed chunks that aren't known to be free, and the current one.
    pub(crate) fn busy(&self) -> usize {
        self.live.len() + self.parked.len() + 1
    }

    /// The highest number of chunks busy at once.
    pub(crate) fn busy_high(&self) -> usize {
        self.busy_high
    }

    /// Chunks that may be in use, the current one first.
    pub(crate) fn busy_chunks(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::once(self.current)
            .chain(self.live.iter().copied())
            .chain(self.parked.iter().copied())
    }

    /// Moves released chunks from `live` to `idle`, stuck ones to `parked`, and surplus ones to the
    /// reserve.
    pub(crate) fn sweep(&mut self, blocked: &impl Fn(u32) -> Option<Blocked>) {
        while let Some(&front) = self.live.front() {
            match blocked(front) {
                None => self.idle.push_back(front),
                Some(Blocked::Sequence) => break,
                Some(Blocked::Owner | Blocked::Pinned) => self.parked.push_back(front),
            }
            self.live.pop_front();
        }
        for _ in 0..PARKED_LOOKS.min(self.parked.len()) {
            let Some(chunk) = self.parked.pop_front() else { break };
            let home = if blocked(chunk).is_none() { &mut self.idle } else { &mut self.parked };
            home.push_back(chunk);
        }
        while self.idle.len() > IDLE_CHUNKS_MIN
            && self.live.len() + self.idle.len() + 1 > self.window
        {
            let Some(chunk) = self.idle.pop_front() else { break };
            self.reserve.push(chunk);
        }
        self.check();
    }

    fn pick(&mut self, blocked: &impl Fn(u32) -> Option<Blocked>) -> Option<u32> {
        if self.live.len() + self.idle.len() + 1 < self.window
            && let Some(fresh) = self.reserve.pop()
        {
            return Some(fresh);
        }
        if let Some(oldest) = self.idle.pop_front().or_else(|| self.reserve.pop()) {
            return Some(oldest);
        }
        if blocked(self.current).is_none() {
            return Some(self.current);
        }
        Self::take_free(&mut self.parked, blocked)
            .or_else(|| Self::take_free(&mut self.live, blocked))
    }

    /// The last resort: any free chunk of a queue, wherever it is.
    fn take_free(
        queue: &mut VecDeque<u32>,
        blocked: &impl Fn(u32) -> Option<Blocked>,
    ) -> Option<u32> {
        let at = queue.iter().position(|&chunk| blocked(chunk).is_none())?;
        queue.remove(at)
    }

    /// Each chunk is in one place.
    fn check(&self) {
        debug_assert!(self.busy_high <= self.chunks);
        debug_assert_eq!(
            self.live.len() + self.idle.len() + self.parked.len() + self.reserve.len() + 1,
            self.chunks
        );
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
