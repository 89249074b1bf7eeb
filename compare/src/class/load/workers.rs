//! The threads of a load test: each gets, writes whole payloads, holds a few, verifies each before it goes, and hands some over to its neighbour, who drops them.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Options;
use crate::class::{Buffer, Local, Pool};
use crate::contender::{Exhausted, Pattern};

/// Buffers that a worker holds.
pub const HELD: usize = 4;
/// One buffer in so many goes to the next worker.
const HANDED_OVER_PART: u64 = 8;
/// Operations of a worker before the counters begin.
const WARM_OPS: u64 = 2000;

/// What the workers came to.
pub struct Done {
    pub ops: u64,
    pub elapsed: Duration,
}

/// A buffer, and what was written into it.
struct Written<B> {
    buffer: B,
    op: u64,
    bytes: usize,
}

type WrittenOf<'a, C> = Written<<<C as Pool>::Local<'a> as Local>::Buffer>;

/// What the workers share.
struct Floor<'a, C: Pool> {
    pool: &'a C,
    options: &'a Options,
    /// Each worker's place for what its neighbour hands over.
    places: Vec<Mutex<Option<WrittenOf<'a, C>>>>,
    warm: Barrier,
    /// Workers that have ended, whatever became of them.
    ended: AtomicUsize,
    stop: AtomicBool,
    ops: AtomicU64,
}

/// Runs the workers. `counted` is called when all have warmed up, before the clock, and `end` when the time is over, before they stop.
///
/// # Errors
/// A payload that isn't what was written, or a get that was refused.
pub fn run<C: Pool>(pool: &C, options: &Options, counted: impl FnOnce(), end: impl FnOnce()) -> Result<Done, String> {
    let workers = options.workers as usize;
    let floor = &Floor {
        pool,
        options,
        places: (0..workers).map(|_| Mutex::new(None)).collect(),
        warm: Barrier::new(workers + 1),
        ended: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        ops: AtomicU64::new(0),
    };
    thread::scope(|scope| {
        let spawned: Vec<_> = (0..workers).map(|number| scope.spawn(move || floor.work(number))).collect();
        floor.warm.wait();
        counted();
        floor.warm.wait();
        let start = Instant::now();
        while start.elapsed() < options.duration && floor.ended.load(Ordering::Acquire) == 0 {
            thread::sleep(Duration::from_millis(1).max(options.duration / 1000));
        }
        end();
        floor.stop.store(true, Ordering::Release);
        let outcomes = spawned.into_iter().enumerate().map(|(number, worker)| {
            let outcome = worker.join().unwrap_or_else(|_| Err("it panicked".to_owned()));
            outcome.map_err(|error| format!("worker {number}: {error}"))
        });
        // All are joined, also after a failure.
        let outcomes: Vec<_> = outcomes.collect();
        let elapsed = start.elapsed();
        outcomes.into_iter().collect::<Result<(), _>>()?;
        Ok(Done { ops: floor.ops.load(Ordering::Acquire), elapsed })
    })
}

impl<'a, C: Pool> Floor<'a, C> {
    fn work(&self, number: usize) -> Result<(), String> {
        let mut worker = Worker {
            floor: self,
            local: self.pool.local(),
            number,
            held: Default::default(),
            drawn: 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d),
            done: 0,
        };
        let warm_ops = if self.options.cold { 0 } else { WARM_OPS };
        let warmed = (0..warm_ops).try_for_each(|_| worker.turn());
        self.warm.wait();
        self.warm.wait();
        let before = worker.done;
        let outcome = warmed.and_then(|()| {
            while !self.stop.load(Ordering::Acquire) {
                worker.turn()?;
            }
            Ok(())
        });
        self.ops.fetch_add(worker.done - before, Ordering::AcqRel);
        self.ended.fetch_add(1, Ordering::AcqRel);
        outcome?;
        worker.end()
    }
}

struct Worker<'f, 'a, C: Pool> {
    floor: &'f Floor<'a, C>,
    local: C::Local<'a>,
    number: usize,
    held: [Option<WrittenOf<'a, C>>; HELD],
    drawn: u64,
    done: u64,
}

impl<'a, C: Pool> Worker<'_, 'a, C> {
    /// One operation: get, write, and verify and drop the oldest.
    fn turn(&mut self) -> Result<(), String> {
        let (op, bytes) = ((self.number as u64) << 40 | self.done, self.draw_length());
        let got = self.local.get(op, bytes, &Pattern);
        let buffer = got.map_err(|_: Exhausted| format!("operation {} got no buffer of {bytes} B", self.done))?;
        let entry = (self.done % HELD as u64) as usize;
        self.done += 1;
        let Some(old) = self.held[entry].replace(Written { buffer, op, bytes }) else { return Ok(()) };
        let old = if self.done.is_multiple_of(HANDED_OVER_PART) { self.hand_over(old) } else { Some(old) };
        old.map_or(Ok(()), |old| self.verify_and_drop(old))
    }

    /// Puts it at the neighbour's place, and takes what lies at the worker's own.
    fn hand_over(&self, old: WrittenOf<'a, C>) -> Option<WrittenOf<'a, C>> {
        let places = &self.floor.places;
        let place = |number: usize| places[number % places.len()].lock().unwrap_or_else(PoisonError::into_inner);
        let left = place(self.number + 1).replace(old);
        // The neighbour hasn't come by: what lay there is this worker's again.
        left.or_else(|| place(self.number).take())
    }

    fn verify_and_drop(&mut self, old: WrittenOf<'a, C>) -> Result<(), String> {
        let Written { buffer, op, bytes } = old;
        for _ in 0..self.floor.options.operations_per_buffer {
            if !buffer.read(|payload| payload.len() == bytes && Pattern::holds(op, payload)) {
                return Err(format!(
                    "a buffer of {bytes} B doesn't hold what operation {} of worker {} wrote: it has two owners",
                    op & ((1 << 40) - 1),
                    op >> 40
                ));
            }
        }
        self.local.put(buffer);
        Ok(())
    }

    /// Verifies what is left.
    fn end(mut self) -> Result<(), String> {
        let own = self.floor.places[self.number].lock().unwrap_or_else(PoisonError::into_inner).take();
        let held = std::mem::take(&mut self.held);
        held.into_iter().chain([own]).flatten().try_for_each(|old| self.verify_and_drop(old))
    }

    /// Each chosen class with the same chance, and each length of the class.
    fn draw_length(&mut self) -> usize {
        // xorshift64: no state outside of the worker.
        self.drawn ^= self.drawn << 13;
        self.drawn ^= self.drawn >> 7;
        self.drawn ^= self.drawn << 17;
        let sizes = &self.floor.options.sizes.0;
        let class_bytes = sizes[(self.drawn >> 40) as usize % sizes.len()];
        let smallest_bytes = crate::class::table::BYTES[0];
        let above = if class_bytes == smallest_bytes { 0 } else { class_bytes / 2 };
        above + 1 + (self.drawn & 0xf_ffff) as usize % (class_bytes - above)
    }
}
