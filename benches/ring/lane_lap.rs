//! A lane on one thread, timed by `benches/ring.rs` and counted in instructions by
//! `benches/instructions/benches/count.rs`.
//!
//! ```text
//!   a lap: 4096 x { claim ─▶ write 8 bytes ─▶ push }, flushed and polled in batches
//!          ─▶ the inline stage reads the 8 bytes
//! ```

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use slipring::pipeline::{Lane, LaneSpec, Outcome, StageSpec, Started, View};
use slipring::ring::RingOptions;

/// Events of a lap, and slots of the ring.
pub const EVENTS: u64 = 4096;
/// Bytes of a payload.
pub const PAYLOAD_BYTES: usize = 512;

/// Publishes `batch` payloads. Each begins with its number, from `op` on.
#[inline(always)]
pub fn publish_batch(lane: &mut Lane<()>, batch: u64, op: &mut u64) {
    for _ in 0..batch {
        let mut claim = lane.claim(black_box(PAYLOAD_BYTES)).expect("all before is consumed");
        claim[..8].copy_from_slice(&op.to_le_bytes());
        if batch == 1 {
            claim.publish(());
        } else {
            claim.push(());
        }
        *op += 1;
    }
    lane.flush();
}

/// A lane with one inline stage that expects the numbers in order.
pub struct LaneLap {
    lane: Lane<()>,
    read: Rc<Cell<u64>>,
    op: u64,
}

impl LaneLap {
    pub fn new(pool: RingOptions) -> Self {
        let spec = LaneSpec::new(pool, EVENTS as usize).layer([StageSpec::inline("read")]);
        let Started { mut lane, mut stages, .. } =
            spec.start::<()>().expect("the pool fits this machine");
        let read = Rc::new(Cell::new(0u64));
        let counter = Rc::clone(&read);
        let handler = move |view: View<'_, ()>| {
            assert_eq!(view.bytes()[..8], counter.get().to_le_bytes());
            counter.set(counter.get() + 1);
            Outcome::Done
        };
        lane.attach(stages.remove("read").expect("it was specified"), handler)
            .expect("it is inline");
        Self { lane, read, op: 0 }
    }

    /// One lap in batches of `batch`.
    pub fn lap(&mut self, batch: u64) {
        for _ in 0..EVENTS / batch {
            publish_batch(&mut self.lane, batch, &mut self.op);
            self.lane.poll();
        }
        assert_eq!(self.read.get(), self.op, "what was published is consumed");
    }

    /// Ends the lane.
    pub fn close(self) {
        assert!(self.lane.close(Duration::from_secs(10)).is_drained());
    }
}

/// The same lap without a lane: the numbers are written into a plain array and read from it.
pub struct EmptyLaneLap {
    entries: Vec<[u8; 8]>,
    read: u64,
    op: u64,
}

impl EmptyLaneLap {
    pub fn new() -> Self {
        Self { entries: vec![[0; 8]; EVENTS as usize], read: 0, op: 0 }
    }

    /// One lap in batches of `batch`.
    pub fn lap(&mut self, batch: u64) {
        for entries in self.entries.chunks_exact_mut(batch as usize) {
            for entry in entries.iter_mut() {
                *entry = self.op.to_le_bytes();
                self.op += 1;
                // No instruction, but it prevents the compiler from vectorizing over entries, which
                // it can't do with a lane.
                black_box(());
            }
            for entry in entries {
                assert_eq!(*entry, self.read.to_le_bytes());
                self.read += 1;
                black_box(());
            }
        }
        assert_eq!(self.read, self.op, "what was written is read");
    }
}
