//! The threads of a load test.
//!
//! Promises that
//! - each payload is verified before its buffer goes back, also what is left at the end;
//! - all threads have ended when [`LoadTest::run`] returns;
//! - no limit of the pool stops the test for good: a worker that waits for a buffer holds none, and
//!   has looked for one at every worker's place. If others hold all buffers, it gives up.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::iter;
use std::mem;
use std::panic;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::{HELD, LoadTest, LoadTestError, LoadTestReport};
use crate::class::buffer::PooledBuf;
use crate::class::get::GetError;
use crate::class::pool::ClassPool;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// One buffer in this many goes to the next worker.
const HANDED_OVER_PART: u64 = 8;
/// In what is written, the bits of an operation's number. The bits above them are its worker's.
const OPERATION_BITS: u32 = 40;
/// How long a get at a limit waits before its worker looks for buffers at the places again.
const GET_TIMEOUT: Duration = Duration::from_millis(1);
/// How long a worker waits for one buffer, or for the test's duration if that is longer. After that
/// time it assumes that others hold all buffers.
const GIVES_UP: Duration = Duration::from_secs(5);
/// The time between two looks at the clock: the test ends late by at most this.
const LOOK: Duration = Duration::from_millis(5);

/// A buffer, and what a worker wrote into it.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) buf: PooledBuf,
    number: u64,
    len: usize,
}

/// What the workers share. Except for `warm`, its flags carry no data: a worker's results are read
/// after it was joined.
pub(super) struct Workers<'a> {
    test: &'a LoadTest,
    pool: &'a ClassPool,
    /// Each worker's place for the buffer that its neighbour hands over.
    places: Box<[Mutex<Option<Written>>]>,
    /// The number of workers that wait for the counters.
    warm: AtomicU64,
    counts: AtomicBool,
    is_over: AtomicBool,
    operations: AtomicU64,
}

pub(super) struct LoadTestWorker<'w> {
    all: &'w Workers<'w>,
    number: usize,
    pub(super) held: [Option<Written>; HELD],
    drawn: u64,
    done: u64,
}

impl LoadTest {
    /// Runs the test and blocks until all of its threads have ended.
    ///
    /// # Errors
    /// [`LoadTestError`]: a field that doesn't fit, a get that failed, a payload that isn't what
    /// was written, or a hit rate below [`LoadTest::min_hit_rate`], with the report.
    pub fn run(&self, pool: &ClassPool) -> Result<LoadTestReport, LoadTestError> {
        self.run_between(pool, || (), || ())
    }

    /// As [`LoadTest::run`], with calls on this thread for a measurement of the caller: `begun`
    /// when all workers are warm and wait, `ended` when the time is over and they still run. A test
    /// that fails earlier doesn't make the calls.
    ///
    /// # Errors
    /// As `run`.
    pub fn run_between(
        &self,
        pool: &ClassPool,
        begun: impl FnOnce(),
        ended: impl FnOnce(),
    ) -> Result<LoadTestReport, LoadTestError> {
        self.check(pool.table())?;
        let report = run(self, pool, begun, ended)?;
        if report.operations == 0 {
            return Err(LoadTestError::NoOperation { duration: self.duration });
        }
        if report.hit_rate() < self.min_hit_rate {
            return Err(LoadTestError::HitRate { report: Box::new(report) });
        }
        Ok(report)
    }
}

/// Runs the test. It reads the pool's counters without resets, so that a reset by another thread
/// doesn't disturb it.
fn run(
    test: &LoadTest,
    pool: &ClassPool,
    begun: impl FnOnce(),
    ended: impl FnOnce(),
) -> Result<LoadTestReport, LoadTestError> {
    if pool.shared().is_foreign() {
        return Err(LoadTestError::Get { worker: 0, operation: 0, cause: GetError::Forked });
    }
    let all = Workers::new(test, pool);
    let (base, elapsed) = thread::scope(|scope| {
        let _ends_workers = EndsWorkers(&all.is_over);
        let mut threads = Vec::with_capacity(test.workers);
        for number in 0..test.workers {
            let worker = LoadTestWorker::new(&all, number);
            match Builder::new()
                .name("slipring-load".to_owned())
                .spawn_scoped(scope, move || worker.run())
            {
                Ok(thread) => threads.push(thread),
                Err(cause) => {
                    let started = threads.len();
                    all.end(threads)?;
                    return Err(LoadTestError::Thread { started, workers: test.workers, cause });
                }
            }
        }
        let is_going = || !all.is_over() && !threads.iter().any(ScopedJoinHandle::is_finished);
        // SYNC S17: what the workers got while they warmed up is in the base of the test's
        // counters.
        while is_going() && all.warm.load(Ordering::Acquire) < test.workers as u64 {
            thread::sleep(GET_TIMEOUT);
        }
        if !is_going() {
            all.end(threads)?;
            unreachable!("a worker ended before the test and without an error");
        }
        let base = pool.all_stats();
        begun();
        let start = Instant::now();
        all.counts.store(true, Ordering::Relaxed);
        threads.iter().for_each(|thread| thread.thread().unpark());
        while is_going() && start.elapsed() < test.duration {
            thread::sleep(LOOK.min(test.duration.saturating_sub(start.elapsed())));
        }
        ended();
        all.end(threads)?;
        Ok((base, start.elapsed()))
    })?;
    let (workers, min_hit_rate) = (test.workers, test.min_hit_rate);
    let operations = all.operations.load(Ordering::Relaxed);
    Ok(LoadTestReport {
        workers,
        operations,
        elapsed,
        min_hit_rate,
        stats: pool.all_stats().since(&base),
    })
}

/// Ends the workers also if a call of the caller panics.
struct EndsWorkers<'a>(&'a AtomicBool);

impl Drop for EndsWorkers<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<'a> Workers<'a> {
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

    /// Ends the workers, waits for all of them and verifies what they left. Returns the first
    /// failure.
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

    /// Puts a buffer at a worker's place. Returns the buffer that was there.
    fn replace_at(&self, number: usize, new: Written) -> Option<Written> {
        self.lock_place(number).replace(new)
    }

    fn take_at(&self, number: usize) -> Option<Written> {
        self.lock_place(number).take()
    }

    fn lock_place(&self, number: usize) -> std::sync::MutexGuard<'_, Option<Written>> {
        self.places[number % self.places.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'w> LoadTestWorker<'w> {
    pub(super) fn new(all: &'w Workers<'w>, number: usize) -> Self {
        let drawn = 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d);
        Self { all, number, held: Default::default(), drawn, done: 0 }
    }

    fn run(mut self) -> Result<(), LoadTestError> {
        let outcome = self.work();
        if outcome.is_err() {
            self.all.is_over.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn work(&mut self) -> Result<(), LoadTestError> {
        let Workers { test, warm, counts, operations, .. } = self.all;
        while self.done < u64::from(test.warm_up_operations) && !self.all.is_over() {
            self.turn()?;
        }
        // Others may need what it holds to become warm.
        self.give_back_all()?;
        // SYNC S17
        warm.fetch_add(1, Ordering::Release);
        while !counts.load(Ordering::Relaxed) && !self.all.is_over() {
            // If a call of the caller panics, no thread unparks this one.
            thread::park_timeout(LOOK);
        }
        let before = self.done;
        while !self.all.is_over() {
            self.turn()?;
        }
        operations.fetch_add(self.done - before, Ordering::Relaxed);
        self.give_back_all()
    }

    /// One operation: get, write, and verify and drop the oldest. Does nothing if the test ends
    /// while it is at a limit.
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
        old.map_or(Ok(()), |old| old.verify(self.all.test))
    }

    /// Gets a buffer. At a limit the worker gives back what it holds, then what is at any place,
    /// and then waits for a while: so no worker holds what all of them wait for. None if the test
    /// is over.
    fn get(&mut self, len: usize) -> Result<Option<PooledBuf>, LoadTestError> {
        let (pool, mut waits_since) = (self.all.pool, None);
        loop {
            let holds = self.held.iter().any(Option::is_some);
            let got = if holds { pool.try_get(len) } else { pool.get_timeout(len, GET_TIMEOUT) };
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
                    if !may_pass || waited > GIVES_UP.max(self.all.test.duration) {
                        return Err(LoadTestError::Get {
                            worker: self.number,
                            operation: self.done,
                            cause,
                        });
                    }
                }
            }
            match self.oldest() {
                Some(old) => old.verify(self.all.test)?,
                None if self.all.is_over() => return Ok(None),
                None => thread::yield_now(),
            }
        }
    }

    /// The oldest buffer that it holds, else one that is at a place, its own first.
    fn oldest(&mut self) -> Option<Written> {
        let held = (0..HELD as u64).map(|age| ((self.done + age) % HELD as u64) as usize);
        let oldest = held.into_iter().find(|&entry| self.held[entry].is_some());
        if let Some(entry) = oldest {
            return self.held[entry].take();
        }
        let workers = self.all.places.len();
        (self.number..self.number + workers).find_map(|number| self.all.take_at(number))
    }

    /// Puts a buffer at the neighbour's place, and returns the one at the worker's own.
    fn hand_over(&self, old: Written) -> Option<Written> {
        let left = self.all.replace_at(self.number + 1, old);
        // What was still at the neighbour's place is this worker's again.
        left.or_else(|| self.all.take_at(self.number))
    }

    fn give_back_all(&mut self) -> Result<(), LoadTestError> {
        let held = mem::take(&mut self.held).into_iter().flatten();
        held.chain(self.all.take_at(self.number)).try_for_each(|old| old.verify(self.all.test))
    }

    /// Draws each size with the same chance, and each length of its class up to it.
    pub(super) fn draw_length(&mut self) -> usize {
        let (sizes, table) = (&self.all.test.sizes, self.all.pool.table());
        let size = sizes[self.draw() as usize % sizes.len()];
        let below = table.class_of(size).and_then(|class| class.checked_sub(1));
        let above = below.map_or(0, |class| table.sizes()[class]);
        above + 1 + self.draw() as usize % (size - above)
    }

    /// xorshift64. Its state is the worker's own.
    fn draw(&mut self) -> u64 {
        self.drawn ^= self.drawn << 13;
        self.drawn ^= self.drawn >> 7;
        self.drawn ^= self.drawn << 17;
        self.drawn >> 20
    }
}

impl Written {
    /// Fills the buffer with the operation's number, so that one foreign byte shows.
    fn new(mut buf: PooledBuf, number: u64) -> Self {
        for word in buf.chunks_mut(8) {
            word.copy_from_slice(&number.to_le_bytes()[..word.len()]);
        }
        Self { len: buf.len(), buf, number }
    }

    /// Verifies every byte as often as the test asks for, and gives the buffer back.
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
