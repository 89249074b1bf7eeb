//! How a contender of `queue` is verified and timed, each time built anew, with its threads.
//! Repeats are interleaved by [`crate::measure`].

use std::thread;
use std::time::Instant;

use super::case::Case;
use super::contender::{Arrival, Ends, Inlet, Outlet, Queue, Whole};
use crate::measure::{self, Repeat};
use crate::memory::resident_bytes;
use crate::threads::{Placed, Reader, Tally, Words};

/// Warm-up before the clock, in laps of the queue's bound.
const WARM_LAPS: u64 = 32;

/// A contender that parks gets the operations divided by this.
const PARKED_OPS_PART: u64 = 16;

/// A case and its CPUs.
pub type Setting = Placed<Case>;

/// A contender of `queue`.
pub type Runner = measure::Runner<Setting>;

/// It takes part in every case.
pub fn runner<Q: Queue>() -> Runner {
    Runner {
        name: Q::NAME,
        emulated: Q::EMULATED,
        takes_part: |_| true,
        verify: |setting, ops| run::<Q>(setting, 0, ops, &Whole).map(|_ns| ()),
        time: time::<Q>,
    }
}

fn time<Q: Queue>(setting: &Setting, ops: u64) -> Result<Repeat, String> {
    let before_bytes = resident_bytes();
    let warm_ops = WARM_LAPS * setting.case.messages as u64;
    let ops = if Q::PARKS { ops.div_ceil(PARKED_OPS_PART) } else { ops };
    let ns_per_op = run::<Q>(setting, warm_ops, ops, &Ends)?;
    let memory_bytes = resident_bytes().saturating_sub(before_bytes);
    Ok(Repeat { ns_per_op, memory_bytes, growth_bytes: None })
}

/// Builds a queue, sends `warm_ops` messages, and `ops` under the clock: nanoseconds per message.
fn run<Q: Queue>(
    setting: &Setting,
    warm_ops: u64,
    ops: u64,
    arrival: &impl Arrival,
) -> Result<f64, String> {
    let Placed { case, cpus } = setting;
    let queue = Q::new(case).map_err(|error| format!("it can't be built: {error}"))?;
    let (inlet, outlet) = queue.ends()?;
    let (reader, tally) = Reader::new(Words::Number);
    thread::scope(|scope| {
        let receiving = scope.spawn(move || {
            cpus.pin(1)?;
            outlet.dequeue_all(arrival, reader)
        });
        let tally = &tally;
        let sending = scope.spawn(move || {
            cpus.pin(0)?;
            let mut inlet = inlet;
            send(&mut inlet, 0..warm_ops, arrival, tally)?;
            let start = Instant::now();
            send(&mut inlet, warm_ops..warm_ops + ops, arrival, tally)?;
            Ok(start.elapsed().as_secs_f64() * 1e9 / ops as f64)
        });
        let sent = sending.join().unwrap_or_else(|_| Err("it panicked".to_owned()));
        receiving.join().map_err(|_| "the dequeuing thread panicked".to_owned())??;
        sent
    })
}

/// Sends the messages and waits until the other thread has dropped the last one.
#[inline(never)]
fn send(
    inlet: &mut impl Inlet,
    numbers: std::ops::Range<u64>,
    arrival: &impl Arrival,
    tally: &Tally,
) -> Result<(), String> {
    let end = numbers.end;
    for number in numbers {
        inlet.enqueue(number, arrival, tally)?;
    }
    tally.wait(end)
}
