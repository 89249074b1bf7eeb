//! Threads that drop what they got themselves.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::harness::{Repeat, Turn};
use super::payload::Marked;
use super::{Buffer, Local, Pool};
use crate::contender::Exhausted;

/// The distance between the numbers of two threads' operations, so that no two write the same.
const OPS_OF_THREAD: u64 = 1 << 40;

/// Runs so many threads at once over one pool; the figure is the wall time over the operations of
/// all.
pub fn run<C: Pool, F: Marked>(
    pool: &C,
    turn: &Turn<'_, F>,
    threads: usize,
) -> Result<Repeat, String> {
    let gate = &Gate { missing: AtomicUsize::new(threads) };
    let outcomes: Vec<Result<(Instant, Instant), String>> = thread::scope(|scope| {
        let one = |thread| scope.spawn(move || one(pool, turn, thread, threads, gate));
        let spawned: Vec<_> = (0..threads).map(one).collect();
        let panicked = |_| Err("it panicked".to_owned());
        spawned.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let times = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
    let first = times.iter().map(|(start, _)| *start).min().expect("there is a thread");
    let last = times.iter().map(|(_, end)| *end).max().expect("there is a thread");
    let ops = turn.ops / threads as u64 * threads as u64;
    Ok(Repeat { ns_per_op: (last - first).as_secs_f64() * 1e9 / ops as f64, growth_bytes: None })
}

/// Where the threads meet before the clock; it opens also when one of them has died.
struct Gate {
    missing: AtomicUsize,
}

struct Arrival<'a>(&'a Gate);

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.0.missing.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Gate {
    fn wait(&self) {
        let mut rounds = 0u64;
        while self.missing.load(Ordering::Acquire) > 0 {
            spin_loop();
            rounds += 1;
            if rounds.is_multiple_of(1 << 12) {
                // For a machine where both share a core.
                thread::yield_now();
            }
        }
    }
}

/// One thread: its warm-up, its operations, and a look at what it holds.
fn one<C: Pool, F: Marked>(
    pool: &C,
    turn: &Turn<'_, F>,
    thread: usize,
    threads: usize,
    gate: &Gate,
) -> Result<(Instant, Instant), String> {
    let arrival = Arrival(gate);
    turn.cpus.pin(thread)?;
    let held: Vec<_> = (0..turn.case.held).map(|_| None).collect();
    let first = thread as u64 * OPS_OF_THREAD;
    let mut run =
        Run { local: pool.local(), held, turn, first, done: 0, keeps_payload: C::KEEPS_PAYLOAD };
    run.looked_at(turn.warm_ops)?;
    if turn.case.held == 1 {
        run.end()?;
    }
    drop(arrival);
    gate.wait();
    let start = Instant::now();
    let ops = turn.ops / threads as u64;
    if turn.case.held == 1 { run.timed_one(ops) } else { run.timed_held(ops) }?;
    let end = Instant::now();
    run.looked_at(1)?;
    run.end()?;
    Ok((start, end))
}

/// What a thread runs with.
struct Run<'a, L: Local, F> {
    local: L,
    /// The newest buffers: that of operation i stands at i mod their number.
    held: Vec<Option<L::Buffer>>,
    turn: &'a Turn<'a, F>,
    /// The number of the first operation, and how many were done.
    first: u64,
    done: u64,
    keeps_payload: bool,
}

impl<L: Local, F: Marked> Run<'_, L, F> {
    /// Operations under the clock, each buffer dropped before the next.
    #[inline(never)]
    fn timed_one(&mut self, ops: u64) -> Result<(), String> {
        let (lengths, fill) = (self.turn.drawn, self.turn.fill);
        let mut at = (self.done % lengths.len() as u64) as usize;
        for op in self.first + self.done..self.first + self.done + ops {
            let bytes = lengths[at] as usize;
            // Wraps by comparison, here and below: a division would cost as much as a contender.
            at = if at + 1 == lengths.len() { 0 } else { at + 1 };
            let buffer =
                self.local.get(op, bytes, fill).map_err(|_: Exhausted| no_room(op, bytes))?;
            buffer.be_seen();
            self.local.put(buffer);
        }
        self.done += ops;
        Ok(())
    }

    /// The same with the newest held.
    #[inline(never)]
    fn timed_held(&mut self, ops: u64) -> Result<(), String> {
        let (lengths, fill) = (self.turn.drawn, self.turn.fill);
        let mut at = (self.done % lengths.len() as u64) as usize;
        let mut entry = (self.done % self.held.len() as u64) as usize;
        for op in self.first + self.done..self.first + self.done + ops {
            let bytes = lengths[at] as usize;
            at = if at + 1 == lengths.len() { 0 } else { at + 1 };
            let buffer =
                self.local.get(op, bytes, fill).map_err(|_: Exhausted| no_room(op, bytes))?;
            buffer.be_seen();
            if let Some(old) = self.held[entry].replace(buffer) {
                self.local.put(old);
            }
            entry = if entry + 1 == self.held.len() { 0 } else { entry + 1 };
        }
        self.done += ops;
        Ok(())
    }

    /// Operations without a clock: each payload is looked at when it is written and before it is
    /// dropped.
    fn looked_at(&mut self, ops: u64) -> Result<(), String> {
        for done in self.done..self.done + ops {
            let (op, bytes) = (self.first + done, self.length_of(done));
            let buffer = self
                .local
                .get(op, bytes, self.turn.fill)
                .map_err(|_: Exhausted| no_room(op, bytes))?;
            self.look(&buffer, done)?;
            let entry = (done % self.held.len() as u64) as usize;
            if let Some(old) = self.held[entry].replace(buffer) {
                self.drop_old(old, done - self.held.len() as u64)?;
            }
        }
        self.done += ops;
        Ok(())
    }

    /// Drops all, the newest last.
    fn end(&mut self) -> Result<(), String> {
        let count = self.held.len() as u64;
        for done in self.done.saturating_sub(count)..self.done {
            if let Some(old) = self.held[(done % count) as usize].take() {
                self.drop_old(old, done)?;
            }
        }
        Ok(())
    }

    fn drop_old(&mut self, old: L::Buffer, done: u64) -> Result<(), String> {
        self.look(&old, done)?;
        self.local.put(old);
        Ok(())
    }

    fn look(&self, buffer: &L::Buffer, done: u64) -> Result<(), String> {
        let (op, bytes) = (self.first + done, self.length_of(done));
        let has_length =
            |payload: &[u8]| payload.len() == bytes || !self.keeps_payload || !F::IS_WHOLE;
        if buffer.read(|payload| has_length(payload) && self.turn.fill.holds(op, payload)) {
            return Ok(());
        }
        Err(format!("a buffer doesn't hold what operation {op} wrote"))
    }

    fn length_of(&self, done: u64) -> usize {
        self.turn.drawn[(done % self.turn.drawn.len() as u64) as usize] as usize
    }
}

#[cold]
fn no_room(op: u64, bytes: usize) -> String {
    format!("operation {op} got no buffer of {bytes} B")
}
