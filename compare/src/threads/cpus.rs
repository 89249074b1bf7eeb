//! The two CPUs of a run: pinning to them, if the system allows it, as a lane and its stages are
//! pinned; and their distance.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use slipring::machine::{CpuMask, PinPolicy, pin_current};

/// One CPU for the publisher and one for the reader.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cpus {
    pub publisher: usize,
    pub reader: usize,
}

impl Cpus {
    /// Both on the first CPU that this process may use: for a case of one thread on a machine
    /// without a second CPU.
    pub fn one() -> Self {
        let cpu = CpuMask::read().cpus().first().copied().unwrap_or(0);
        Self { publisher: cpu, reader: cpu }
    }

    /// The first two that this process may use. With only one there is nothing to measure.
    pub fn pick() -> Result<Self, String> {
        match CpuMask::read().cpus() {
            [publisher, reader, ..] => Ok(Self { publisher: *publisher, reader: *reader }),
            cpus => Err(format!("two CPUs are needed, this process may use {}", cpus.len())),
        }
    }

    /// Pins the calling thread, before it maps anything.
    pub fn pin_publisher(self) -> Result<(), String> {
        self.pin(0)
    }

    /// Pins the calling thread: thread 0 to the first CPU, any other to the second. A refused pin
    /// slows every contender alike.
    pub fn pin(self, thread: usize) -> Result<(), String> {
        let cpu = if thread == 0 { self.publisher } else { self.reader };
        pin_current(cpu, PinPolicy::Prefer).map(|_granted| ()).map_err(|error| error.to_string())
    }

    /// A thread on the reader's CPU.
    pub fn spawn_reader(self, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        thread::spawn(move || {
            // A refused pin slows every contender alike.
            let _granted = pin_current(self.reader, PinPolicy::Prefer);
            run();
        })
    }
}

/// Waits for the reader's thread, after its publisher has closed.
pub fn join(reader: JoinHandle<()>) -> Result<(), String> {
    reader.join().map_err(|_| "the reader panicked".to_owned())
}

/// A case on two CPUs: the setting of a family whose contenders run on two threads.
pub struct Placed<C> {
    pub case: C,
    pub cpus: Cpus,
}

const ROUNDS: u64 = 20_000;
/// Longer than any round trip between two CPUs that both run.
const LOST: Duration = Duration::from_secs(10);

/// One word on a line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// Waits until the word is `value`. False if that takes too long, as on one shared CPU where no
/// thread yields.
fn await_value(line: &Line, value: u64) -> bool {
    let mut since = None;
    for round in 1u64.. {
        if line.0.load(Ordering::Acquire) == value {
            return true;
        }
        spin_loop();
        if round.is_multiple_of(1 << 12) {
            thread::yield_now();
            if since.get_or_insert_with(Instant::now).elapsed() > LOST {
                return false;
            }
        }
    }
    false
}

/// Nanoseconds of a round trip of a word between the two CPUs, as a mean of thousands.
///
/// Virtual CPUs move. On the machines of our records a round trip takes one of two times, and the
/// figures of two threads follow it. So it is measured before and after each case, and a record
/// shows in which state it was taken.
pub fn round_trip_ns(cpus: Cpus) -> Result<f64, String> {
    let (there, back) = (Arc::<Line>::default(), Arc::<Line>::default());
    let (to, fro) = (Arc::clone(&there), Arc::clone(&back));
    let echo = cpus.spawn_reader(move || {
        for round in 1..=ROUNDS {
            if !await_value(&to, round) {
                return;
            }
            fro.0.store(round, Ordering::Release);
        }
    });
    let sender = thread::spawn(move || {
        cpus.pin_publisher()?;
        let start = Instant::now();
        for round in 1..=ROUNDS {
            there.0.store(round, Ordering::Release);
            if !await_value(&back, round) {
                return Err("the second CPU doesn't answer".to_owned());
            }
        }
        Ok(start.elapsed().as_secs_f64() * 1e9 / ROUNDS as f64)
    });
    let measured = sender.join().map_err(|_| "the sender panicked".to_owned())?;
    join(echo)?;
    measured
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_takes_a_while() {
        let cpus = Cpus::pick().unwrap_or_else(|_| Cpus::one());
        assert!(round_trip_ns(cpus).unwrap() > 1.0);
    }
}
