//! The threads of a load test.
//!
//! Promises that each payload is verified before its buffer goes back, also what is left at the
//! end, that all threads have ended when [`run`] returns, and that no limit of the pool stops them
//! for good: who waits for a buffer holds none and has looked for one at every place. Where others
//! hold all of them, a worker gives up.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::iter;
use std::mem;
use std::panic;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::error::LoadTestError;
use super::options::{HELD, LoadTest};
use super::report::LoadTestReport;
use crate::class::stats::ClassPoolStats;
use crate::class::{ClassPool, GetError, PooledBuf};
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// One buffer in so many goes to the next worker.
const HANDED_OVER_PART: u64 = 8;
/// The bits of an operation's number below those of its worker.
const OPERATION_BITS: u32 = 40;
/// How long a get at a limit waits until its worker looks around again.
const PATIENCE: Duration = Duration::from_millis(1);
/// For how long a worker that warms up waits for one buffer, or as long as the test if that is
/// longer: then others hold them all.
const GIVES_UP: Duration = Duration::from_secs(5);
/// Between two looks at the clock: a test's end is late by at most this.
const LOOK: Duration = Duration::from_millis(5);

/// A buffer, and what was written into it.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) buf: PooledBuf,
    number: u64,
    len: usize,
}

/// What the workers share. But for `warm` its flags carry no data: what a worker came to is read
/// after it was joined.
pub(super) struct Floor<'a> {
    test: &'a LoadTest,
    pool: &'a ClassPool,
    /// Each worker's place for what its neighbour hands over.
    places: Box<[Mutex<Option<Written>>]>,
    /// Workers that wait for the counters.
    warm: AtomicU64,
    counts: AtomicBool,
    is_over: AtomicBool,
    operations: AtomicU64,
}

pub(super) struct Worker<'f> {
    floor: &'f Floor<'f>,
    number: usize,
    pub(super) held: [Option<Written>; HELD],
    drawn: u64,
    done: u64,
}

/// Runs the test. What was counted is the pool's from its making on, whoever resets its counters
/// meanwhile.
pub(super) fn run(
    test: &LoadTest,
    pool: &ClassPool,
    begun: impl FnOnce(),
    ended: impl FnOnce(),
) -> Result<LoadTestReport, LoadTestError> {
    if pool.shared().is_foreign() {
        return Err(LoadTestError::Get { worker: 0, operation: 0, cause: GetError::Forked });
    }
    let floor = Floor::new(test, pool);
    let (base, elapsed) = thread::scope(|scope| {
        let _over = Over(&floor.is_over);
        let mut threads = Vec::with_capacity(test.workers);
        for number in 0..test.workers {
            let worker = Worker::new(&floor, number);
            match Builder::new()
                .name("slipring-load".to_owned())
                .spawn_scoped(scope, move || worker.run())
            {
                Ok(thread) => threads.push(thread),
                Err(cause) => {
                    let started = threads.len();
                    floor.end(threads)?;
                    return Err(LoadTestError::Thread { started, workers: test.workers, cause });
                }
            }
        }
        let is_going = || !floor.is_over() && !threads.iter().any(ScopedJoinHandle::is_finished);
        // SYNC S17: what they got while they warmed up is in the counters from which the test
        // counts.
        while is_going() && floor.warm.load(Ordering::Acquire) < test.workers as u64 {
            thread::sleep(PATIENCE);
        }
        if !is_going() {
            floor.end(threads)?;
            unreachable!("a worker ended before the test and without an error");
        }
        let base = ClassPoolStats::now(pool.shared());
        begun();
        let start = Instant::now();
        floor.counts.store(true, Ordering::Relaxed);
        threads.iter().for_each(|thread| thread.thread().unpark());
        while is_going() && start.elapsed() < test.duration {
            thread::sleep(LOOK.min(test.duration.saturating_sub(start.elapsed())));
        }
        ended();
        floor.end(threads)?;
        Ok((base, start.elapsed()))
    })?;
    let (workers, min_hit_rate) = (test.workers, test.min_hit_rate);
    let operations = floor.operations.load(Ordering::Relaxed);
    Ok(LoadTestReport {
        workers,
        operations,
        elapsed,
        min_hit_rate,
        stats: ClassPoolStats::now(pool.shared()).since(&base),
    })
}

/// Ends the workers also when a call of the caller's panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<'a> Floor<'a> {
    pub(super) fn new(test: &'a LoadTest, pool: &'a ClassPool) -> Self {
        Self {
            test,
            pool,
            places: iter::repeat_with(Mutex::default).take(test.workers).collect(),
            warm: AtomicU64::new(0),
            counts: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            operations: AtomicU64::new(0),
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Ends the workers, waits for all of them and verifies what they left; the first failure.
    fn end(
        &self,
        threads: Vec<ScopedJoinHandle<'_, Result<(), LoadTestError>>>,
    ) -> Result<(), LoadTestError> {
        self.is_over.store(true, Ordering::Relaxed);
        threads.iter().for_each(|thread| thread.thread().unpark());
        let join = |thread: ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
        };
        let ended: Vec<_> = threads.into_iter().map(join).collect();
        ended.into_iter().collect::<Result<(), _>>()?;
        (0..self.places.len())
            .filter_map(|number| self.take_at(number))
            .try_for_each(|old| old.verify(self.test))
    }

    /// Puts it at a worker's place; what lay there.
    fn replace_at(&self, number: usize, new: Written) -> Option<Written> {
        self.place(number).replace(new)
    }

    fn take_at(&self, number: usize) -> Option<Written> {
        self.place(number).take()
    }

    fn place(&self, number: usize) -> std::sync::MutexGuard<'_, Option<Written>> {
        self.places[number % self.places.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'f> Worker<'f> {
    pub(super) fn new(floor: &'f Floor<'f>, number: usize) -> Self {
        let drawn = 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d);
        Self { floor, number, held: Default::default(), drawn, done: 0 }
    }

    fn run(mut self) -> Result<(), LoadTestError> {
        let outcome = self.work();
        if outcome.is_err() {
            self.floor.is_over.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn work(&mut self) -> Result<(), LoadTestError> {
        let Floor { test, warm, counts, operations, .. } = self.floor;
        while self.done < u64::from(test.warm_up_operations) && !self.floor.is_over() {
            self.turn()?;
        }
        // Others may need what it holds to become warm.
        self.give_back_all()?;
        // SYNC S17
        warm.fetch_add(1, Ordering::Release);
        while !counts.load(Ordering::Relaxed) && !self.floor.is_over() {
            // A caller's call that panics unparks nobody.
            thread::park_timeout(LOOK);
        }
        let before = self.done;
        while !self.floor.is_over() {
            self.turn()?;
        }
        operations.fetch_add(self.done - before, Ordering::Relaxed);
        self.give_back_all()
    }

    /// One operation: get, write, and verify and drop the oldest. None if the test ends at a limit.
    pub(super) fn turn(&mut self) -> Result<(), LoadTestError> {
        let len = self.draw_length();
        let Some(buf) = self.get(len)? else { return Ok(()) };
        let number = (self.number as u64) << OPERATION_BITS | self.done;
        let entry = (self.done % HELD as u64) as usize;
        self.done += 1;
        let Some(old) = self.held[entry].replace(Written::new(buf, number)) else { return Ok(()) };
        let old = if self.done.is_multiple_of(HANDED_OVER_PART) {
            self.hand_over(old)
        } else {
            Some(old)
        };
        old.map_or(Ok(()), |old| old.verify(self.floor.test))
    }

    /// A buffer. At a limit the worker gives back what it holds, then what lies at any place, and
    /// then waits for a while: so what all of them wait for isn't held by one of them.
    fn get(&mut self, len: usize) -> Result<Option<PooledBuf>, LoadTestError> {
        let (pool, mut waits_since) = (self.floor.pool, None);
        loop {
            let holds = self.held.iter().any(Option::is_some);
            let got = if holds { pool.try_get(len) } else { pool.get_timeout(len, PATIENCE) };
            match got {
                Ok(buf) => return Ok(Some(buf)),
                Err(mut cause) => {
                    let waited = waits_since.get_or_insert_with(Instant::now).elapsed();
                    let may_pass = match &mut cause {
                        GetError::Exhausted { .. } => true,
                        GetError::TimedOut { timeout, .. } => {
                            *timeout = waited;
                            true
                        }
                        _ => false,
                    };
                    if !may_pass || waited > GIVES_UP.max(self.floor.test.duration) {
                        return Err(LoadTestError::Get {
                            worker: self.number,
                            operation: self.done,
                            cause,
                        });
                    }
                }
            }
            match self.oldest() {
                Some(old) => old.verify(self.floor.test)?,
                None if self.floor.is_over() => return Ok(None),
                None => thread::yield_now(),
            }
        }
    }

    /// What it got first of what it holds, else what lies at a place, its own first.
    fn oldest(&mut self) -> Option<Written> {
        let held = (0..HELD as u64).map(|age| ((self.done + age) % HELD as u64) as usize);
        let oldest = held.into_iter().find(|&entry| self.held[entry].is_some());
        if let Some(entry) = oldest {
            return self.held[entry].take();
        }
        let workers = self.floor.places.len();
        (self.number..self.number + workers).find_map(|number| self.floor.take_at(number))
    }

    /// Puts it at the neighbour's place, and takes what lies at the worker's own.
    fn hand_over(&self, old: Written) -> Option<Written> {
        let left = self.floor.replace_at(self.number + 1, old);
        // The neighbour hasn't come by: what lay there is this worker's again.
        left.or_else(|| self.floor.take_at(self.number))
    }

    fn give_back_all(&mut self) -> Result<(), LoadTestError> {
        let held = mem::take(&mut self.held).into_iter().flatten();
        held.chain(self.floor.take_at(self.number)).try_for_each(|old| old.verify(self.floor.test))
    }

    /// Each size with the same chance, and each length of its class up to it.
    pub(super) fn draw_length(&mut self) -> usize {
        let (sizes, table) = (&self.floor.test.sizes, self.floor.pool.table());
        let size = sizes[self.draw() as usize % sizes.len()];
        let below = table.class_of(size).and_then(|class| class.checked_sub(1));
        let above = below.map_or(0, |class| table.sizes()[class]);
        above + 1 + self.draw() as usize % (size - above)
    }

    /// xorshift64: no state outside of the worker.
    fn draw(&mut self) -> u64 {
        self.drawn ^= self.drawn << 13;
        self.drawn ^= self.drawn >> 7;
        self.drawn ^= self.drawn << 17;
        self.drawn >> 20
    }
}

impl Written {
    /// Writes the operation's number over and over, so that one foreign byte shows.
    fn new(mut buf: PooledBuf, number: u64) -> Self {
        for word in buf.chunks_mut(8) {
            word.copy_from_slice(&number.to_le_bytes()[..word.len()]);
        }
        Self { len: buf.len(), buf, number }
    }

    /// Looks at every byte as often as the test says, and gives the buffer back.
    fn verify(self, test: &LoadTest) -> Result<(), LoadTestError> {
        let Self { buf, number, len } = self;
        let holds = || {
            buf.len() == len
                && black_box(&buf[..])
                    .chunks(8)
                    .all(|word| *word == number.to_le_bytes()[..word.len()])
        };
        if (0..test.operations_per_buffer).all(|_| holds()) {
            return Ok(());
        }
        let worker = (number >> OPERATION_BITS) as usize;
        Err(LoadTestError::Corrupt { worker, operation: number & ((1 << OPERATION_BITS) - 1), len })
    }
}
