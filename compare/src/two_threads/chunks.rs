//! The library's ring pool beside a foreign channel: what a careful user of the public API would
//! build to get a lane's memory without its disruptor.
//!
//! ```text
//!   publisher: RingPool ──▶ grant ──▶ write ──▶ push ──▶ span (address, length, sequence) ──▶ channel ──▶ reader: reads the bytes
//!                 ▲                                                                                           │
//!                 └──────── release(sequence) ◀── looked at once per chunk ◀── count of spans read, on its own line ──┘
//! ```
//!
//! Chunk and window have the defaults of a lane with a reader on another thread, which a pool alone
//! wouldn't choose. The reader stores the count plainly and the publisher loads it once per chunk,
//! so neither pays for a locked instruction.
//!
//! Promises: no span is read after its memory can be written again. Doesn't: serve several readers,
//! because the count is one reader's.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use slipring::machine::{Topology, window_default_bytes};
use slipring::ring::{Full, Retained, RingOptions, RingPool, RingStats, Sequence};

use super::case::Case;
use crate::payload::Fill;
use crate::threads::{Patience, Tally};

/// The smallest window of a lane that is read on other threads, in chunks.
const WINDOW_CHUNKS_MIN: usize = 8;

/// Slices start on cache lines.
const LINE_BYTES: usize = 64;

/// The publisher's side: the pool, and a countdown to the next look at the read cursor.
pub struct Chunks {
    pool: RingPool,
    read: Arc<Cursor>,
    payload_bytes: usize,
    /// Payloads until the next look, and those of a chunk.
    left: usize,
    chunk_payloads: usize,
}

/// The reader's side: the region, which it keeps mapped, and the count of spans read.
pub struct Spans {
    _memory: Retained,
    read: Arc<Cursor>,
    count: u64,
}

/// A payload on its way to the reader. As large as a lane's slot.
pub struct Span {
    start: NonNull<u8>,
    bytes: u32,
    /// The low half of its sequence.
    sequence: u32,
}

/// A cache line of its own: the publisher loads it once per chunk, the reader stores it with every
/// span.
#[derive(Default)]
#[repr(align(128))]
struct Cursor(AtomicU64);

// SAFETY: I83. The bytes are written before the span is made, and nothing writes to them until the
// reader has counted it.
unsafe impl Send for Span {}

/// Makes both sides; maps and touches the pool on the calling thread.
pub fn chunks(case: &Case) -> Result<(Chunks, Spans), String> {
    let l3_bytes = Topology::read().l3_bytes_min();
    let mut pool = map(case, l3_bytes)?;
    // An empty slice: its handle keeps the region mapped and pins no chunk.
    let memory = pool
        .copy_in(&[])
        .map_err(|full| full.to_string())?
        .retain()
        .map_err(|error| error.to_string())?;
    let line_bytes = case.payload_bytes.next_multiple_of(LINE_BYTES);
    let chunk_payloads = (pool.stats().chunk_bytes / line_bytes).max(1);
    let read = Arc::<Cursor>::default();
    let spans = Spans { _memory: memory, read: Arc::clone(&read), count: 0 };
    let chunks = Chunks {
        pool,
        read,
        payload_bytes: case.payload_bytes,
        left: chunk_payloads,
        chunk_payloads,
    };
    Ok((chunks, spans))
}

/// A pool with the defaults of a lane that is read on another core, for a machine with this much
/// shared cache.
fn map(case: &Case, l3_bytes: Option<usize>) -> Result<RingPool, String> {
    let options = RingOptions {
        bytes: case.pool_bytes,
        max_slice_bytes: case.payload_bytes,
        window_bytes: Some(window_default_bytes(l3_bytes, 1)),
        ..RingOptions::default()
    };
    let pool = RingPool::new(&options).map_err(|error| error.to_string())?;
    let RingStats { chunk_bytes, window_bytes, pool_bytes, .. } = pool.stats();
    let window_min_bytes = (WINDOW_CHUNKS_MIN * chunk_bytes).min(pool_bytes);
    if window_bytes >= window_min_bytes {
        return Ok(pool);
    }
    // Only on a machine with a small cache: chunks of the same size, more of them in rotation.
    drop(pool);
    let raised = RingOptions {
        chunk_bytes: Some(chunk_bytes),
        window_bytes: Some(window_min_bytes),
        ..options
    };
    RingPool::new(&raised).map_err(|error| error.to_string())
}

impl Chunks {
    /// Writes a payload and makes it a span. Waits while the pool is full.
    #[inline]
    pub fn put(&mut self, op: u64, fill: &impl Fill, tally: &Tally) -> Result<Span, String> {
        if self.left == 0 {
            self.look();
        }
        self.left -= 1;
        let mut patience = Patience::default();
        loop {
            match self.try_put(op, fill) {
                Ok(span) => return Ok(span),
                Err(Full::Pool { .. }) => patience.round(tally)?,
                Err(full) => return Err(full.to_string()),
            }
            self.look();
        }
    }

    #[inline]
    fn try_put(&mut self, op: u64, fill: &impl Fill) -> Result<Span, Full> {
        let mut grant = self.pool.reserve(self.payload_bytes)?;
        fill.fill(op, &mut grant);
        let slice = grant.commit_all();
        let (start, bytes) = (NonNull::from(&*slice).cast(), slice.len() as u32);
        let Ok(pushed) = self.pool.push(slice) else { unreachable!("the slice is this pool's") };
        Ok(Span { start, bytes, sequence: pushed.sequence() as u32 })
    }

    /// Releases what the reader has counted.
    #[cold]
    fn look(&mut self) {
        let read = self.read.0.load(Ordering::Acquire);
        self.pool.release(read as Sequence - 1);
        self.left = self.chunk_payloads;
    }

    pub fn memory_bytes(&self) -> usize {
        self.pool.region_report().mapped_bytes
    }

    #[cfg(test)]
    pub fn pool_stats(&self) -> RingStats {
        self.pool.stats()
    }
}

impl Spans {
    /// Reads the next span, in the order in which they were made, and counts it.
    ///
    /// # Panics
    /// The span isn't the next one: the channel has lost or reordered a span.
    #[inline]
    pub fn read(&mut self, span: Span, each: impl FnOnce(&[u8])) {
        assert_eq!(span.sequence, self.count as u32, "spans are read in order");
        // SAFETY: I83. The range is committed and not released: its span isn't counted yet.
        each(unsafe { slice::from_raw_parts(span.start.as_ptr(), span.bytes as usize) });
        self.count += 1;
        self.read.0.store(self.count, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::thread;

    use super::*;
    use crate::payload::Pattern;
    use crate::threads::{Reader, Words};

    /// Eight chunks of two payloads.
    const TINY: Case = Case { payload_bytes: 2040, batch: 1, pool_bytes: 32 << 10, slots: 8 };

    fn holds(op: u64) -> impl FnOnce(&[u8]) {
        move |bytes| {
            assert!(bytes.len() == TINY.payload_bytes && Pattern::holds(op, bytes), "payload {op}")
        }
    }

    #[test]
    fn nothing_is_written_again_before_it_is_read() {
        let (mut chunks, mut spans) = chunks(&TINY).unwrap();
        let (mut made, mut held, mut read) = (0, VecDeque::new(), 0);
        // As many spans as the pool has room for; then some of them are read, each time another
        // share of the live ones.
        for some in [1, 7, 16, 3, 9, 2, 15] {
            chunks.look();
            while let Ok(span) = chunks.try_put(made, &Pattern) {
                held.push_back(span);
                made += 1;
            }
            assert!(held.len() >= 12, "{} payloads fill the pool", held.len());
            for _ in 0..some.min(held.len()) {
                spans.read(held.pop_front().unwrap(), holds(read));
                read += 1;
            }
        }
        assert!(made > 40, "the pool wrapped twice: {made}");
        held.into_iter().zip(read..).for_each(|(span, op)| spans.read(span, holds(op)));
    }

    #[test]
    fn a_window_has_its_chunks_on_every_machine() {
        for l3_bytes in
            [None, Some(64 << 10), Some(512 << 10), Some(1 << 20), Some(8 << 20), Some(256 << 20)]
        {
            for pool_bytes in [32 << 10, 2 << 20, 64 << 20] {
                let stats = map(&Case { pool_bytes, ..TINY }, l3_bytes).unwrap().stats();
                let least = (WINDOW_CHUNKS_MIN * stats.chunk_bytes).min(pool_bytes);
                assert!(
                    (least..=pool_bytes).contains(&stats.window_bytes),
                    "{l3_bytes:?}: {stats:?}"
                );
            }
        }
    }

    #[test]
    fn a_span_is_read_on_another_thread_after_its_pool_has_gone() {
        let (mut chunks, mut spans) = chunks(&TINY).unwrap();
        let (_reader, tally) = Reader::new(Words::Number);
        let first = chunks.put(0, &Pattern, &tally).unwrap();
        let second = chunks.put(1, &Pattern, &tally).unwrap();
        drop(chunks);
        let reads = move || {
            spans.read(first, holds(0));
            spans.read(second, holds(1));
        };
        thread::spawn(reads).join().unwrap();
    }

    #[test]
    #[should_panic(expected = "in order")]
    fn a_lost_span_is_noticed() {
        let (mut chunks, mut spans) = chunks(&TINY).unwrap();
        let (_reader, tally) = Reader::new(Words::Number);
        let _lost = chunks.put(0, &Pattern, &tally).unwrap();
        spans.read(chunks.put(1, &Pattern, &tally).unwrap(), |_| ());
    }
}
