//! One thread gets and writes, another checks and drops. They hand over through the same ring for
//! every contender, one by one.

use std::thread;
use std::time::Instant;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::harness::{Repeat, Turn};
use super::payload::Marked;
use super::resident::resident_bytes;
use super::{Buffer, Local, Pool};
use crate::contender::Exhausted;
use crate::two_threads::{Behind, Idle, Patience, Reader, Tally};

/// Buffers on their way at most.
const RING: usize = 256;

type BufferOf<'a, C> = <<C as Pool>::Local<'a> as Local>::Buffer;

/// Runs both threads over one pool; the clock stops when the last payload has been dropped.
pub fn run<C: Pool, F: Marked>(pool: &C, turn: &Turn<'_, F>) -> Result<Repeat, String> {
    let (producer, consumer) = RingBuffer::new(RING);
    let (reader, tally) = Reader::new(Behind::Number);
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
) -> Result<Repeat, String> {
    turn.cpus.pin(0)?;
    let mut local = pool.local();
    let mut at = 0;
    let mut send = |first: u64, ops: u64| {
        for op in first..first + ops {
            let bytes = turn.drawn[at] as usize;
            at = if at + 1 == turn.drawn.len() { 0 } else { at + 1 };
            let got = local.get(op, bytes, turn.fill);
            let mut buffer =
                got.map_err(|_: Exhausted| format!("operation {op} got no buffer of {bytes} B"))?;
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
    Ok(Repeat { ns_per_op, growth_bytes: Some(resident_bytes().saturating_sub(warm_bytes)) })
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
        // Asked first: what the producer sent before it went is there when this says that it has
        // gone.
        let is_last = consumer.is_abandoned();
        let ready = consumer.slots();
        match consumer.read_chunk(ready) {
            Ok(chunk) if ready > 0 => {
                idle.reset();
                for buffer in chunk {
                    let holds = buffer.read(|payload| turn.fill.holds(reader.number(), payload));
                    // Dropped before it counts, so that the clock stops behind the last drop.
                    local.put(buffer);
                    reader.note(holds);
                }
            }
            _ if is_last => return Ok(()),
            _ => idle.round(),
        }
    }
}
