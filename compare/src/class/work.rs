//! The two kinds of work over one pool: threads that drop what they got themselves, and one thread
//! that drops what another one got.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::case::Case;
use super::contender::{Buffer, Local, Marked, Pool};
use crate::memory::resident_bytes;
use crate::payload::Exhausted;
use crate::threads::{Cpus, Idle, Patience, Reader, Tally, Words};

/// One run of a pool's threads.
pub struct Turn<'a, F> {
    pub case: &'a Case,
    pub cpus: Cpus,
    /// The lengths, used in turn.
    pub drawn: &'a [u32],
    /// The way payloads are written.
    pub fill: &'a F,
    /// Operations of each thread before the clock, all of them checked.
    pub warm_ops: u64,
    /// Operations of all threads under the clock.
    pub ops: u64,
}

/// The figures of a run.
pub struct Figures {
    pub ns_per_op: f64,
    /// How much the process grew between the warm-up and the end, where that is measured.
    pub growth_bytes: Option<usize>,
}

#[cold]
fn no_room(op: u64, bytes: usize) -> String {
    format!("operation {op} got no buffer of {bytes} B")
}

/// The distance between the numbers of two threads' operations, so that no two write the same.
const OPS_OF_THREAD: u64 = 1 << 40;

/// Runs this many threads over one pool, each dropping what it got itself. The figure is the wall
/// time divided by the operations of all.
pub fn own<C: Pool, F: Marked>(
    pool: &C,
    turn: &Turn<'_, F>,
    threads: usize,
) -> Result<Figures, String> {
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
    Ok(Figures { ns_per_op: (last - first).as_secs_f64() * 1e9 / ops as f64, growth_bytes: None })
}

/// The gate where the threads meet before the clock; it opens even if one of them has died.
struct Gate {
    missing: AtomicUsize,
}

struct Arrived<'a>(&'a Gate);

impl Drop for Arrived<'_> {
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

/// One thread: its warm-up, its operations, and a check of the buffers that it holds.
fn one<C: Pool, F: Marked>(
    pool: &C,
    turn: &Turn<'_, F>,
    thread: usize,
    threads: usize,
    gate: &Gate,
) -> Result<(Instant, Instant), String> {
    let arrived = Arrived(gate);
    turn.cpus.pin(thread)?;
    let held: Vec<_> = (0..turn.case.held).map(|_| None).collect();
    let first = thread as u64 * OPS_OF_THREAD;
    let mut run =
        Run { local: pool.local(), held, turn, first, done: 0, keeps_payload: C::KEEPS_PAYLOAD };
    run.checked(turn.warm_ops)?;
    if turn.case.held == 1 {
        run.end()?;
    }
    drop(arrived);
    gate.wait();
    let start = Instant::now();
    let ops = turn.ops / threads as u64;
    if turn.case.held == 1 { run.timed_one(ops) } else { run.timed_held(ops) }?;
    let end = Instant::now();
    run.checked(1)?;
    run.end()?;
    Ok((start, end))
}

/// The state of one thread.
struct Run<'a, L: Local, F> {
    local: L,
    /// The newest buffers: that of operation i is at i mod their number.
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

    /// The same, with the newest buffers held.
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

    /// Operations without a clock: each payload is checked when it is written and before it is
    /// dropped.
    fn checked(&mut self, ops: u64) -> Result<(), String> {
        for done in self.done..self.done + ops {
            let (op, bytes) = (self.first + done, self.length_of(done));
            let buffer = self
                .local
                .get(op, bytes, self.turn.fill)
                .map_err(|_: Exhausted| no_room(op, bytes))?;
            self.check(&buffer, done)?;
            let entry = (done % self.held.len() as u64) as usize;
            if let Some(old) = self.held[entry].replace(buffer) {
                self.drop_old(old, done - self.held.len() as u64)?;
            }
        }
        self.done += ops;
        Ok(())
    }

    /// Drops all held buffers, the newest last.
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
        self.check(&old, done)?;
        self.local.put(old);
        Ok(())
    }

    fn check(&self, buffer: &L::Buffer, done: u64) -> Result<(), String> {
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

/// The most buffers in the ring between the two threads.
const RING: usize = 256;

type BufferOf<'a, C> = <<C as Pool>::Local<'a> as Local>::Buffer;

/// Runs two threads over one pool: one gets and writes, the other checks and drops. They hand over
/// one by one, through the same ring for every contender. The clock stops when the last payload has
/// been dropped.
pub fn cross<C: Pool, F: Marked>(pool: &C, turn: &Turn<'_, F>) -> Result<Figures, String> {
    let (producer, consumer) = RingBuffer::new(RING);
    let (reader, tally) = Reader::new(Words::Number);
    thread::scope(|scope| {
        let receiving = scope.spawn(|| drop_all(pool, turn, consumer, reader));
        let sending = scope.spawn(move || get_all(pool, turn, producer, &tally));
        let panicked = |_| Err("it panicked".to_owned());
        let sent = sending.join().unwrap_or_else(panicked);
        receiving.join().map_err(|_| "the dropping thread panicked".to_owned())??;
        sent
    })
}

fn get_all<'a, C: Pool, F: Marked>(
    pool: &'a C,
    turn: &Turn<'_, F>,
    mut producer: Producer<BufferOf<'a, C>>,
    tally: &Tally,
) -> Result<Figures, String> {
    turn.cpus.pin(0)?;
    let mut local = pool.local();
    let mut at = 0;
    let mut send = |first: u64, ops: u64| {
        for op in first..first + ops {
            let bytes = turn.drawn[at] as usize;
            at = if at + 1 == turn.drawn.len() { 0 } else { at + 1 };
            let got = local.get(op, bytes, turn.fill);
            let mut buffer = got.map_err(|_: Exhausted| no_room(op, bytes))?;
            let mut patience = Patience::default();
            while let Err(PushError::Full(back)) = producer.push(buffer) {
                buffer = back;
                patience.round(tally)?;
            }
        }
        tally.wait(first + ops)
    };
    send(0, turn.warm_ops)?;
    let (warm_bytes, start) = (resident_bytes(), Instant::now());
    send(turn.warm_ops, turn.ops)?;
    let ns_per_op = start.elapsed().as_secs_f64() * 1e9 / turn.ops.max(1) as f64;
    Ok(Figures { ns_per_op, growth_bytes: Some(resident_bytes().saturating_sub(warm_bytes)) })
}

fn drop_all<'a, C: Pool, F: Marked>(
    pool: &'a C,
    turn: &Turn<'_, F>,
    mut consumer: Consumer<BufferOf<'a, C>>,
    mut reader: Reader,
) -> Result<(), String> {
    turn.cpus.pin(1)?;
    let (mut local, mut idle) = (pool.local(), Idle::default());
    loop {
        // Asked first: if the producer has gone, everything that it sent is in the ring by now.
        let is_last = consumer.is_abandoned();
        let ready = consumer.slots();
        match consumer.read_chunk(ready) {
            Ok(chunk) if ready > 0 => {
                idle.reset();
                for buffer in chunk {
                    let holds = buffer.read(|payload| turn.fill.holds(reader.number(), payload));
                    // Dropped before it is counted, so that the clock includes the last drop.
                    local.put(buffer);
                    reader.note(holds);
                }
            }
            _ if is_last => return Ok(()),
            _ => idle.round(),
        }
    }
}
