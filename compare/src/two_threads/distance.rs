//! How far the two CPUs are apart: a word that goes back and forth between them.
//!
//! Virtual CPUs move. On the machines of our records a round trip takes one of two times, and the
//! figures of two threads follow it; so it is measured before and after each case, and a record
//! says in which state it was taken.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Cpus;
use super::cpus::join;

const ROUNDS: u64 = 20_000;
/// Longer than any round trip between two CPUs that both run.
const LOST: Duration = Duration::from_secs(10);

/// One word on a line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// Until the word is `value`; false if that takes too long, as where both share one CPU and nobody
/// yields.
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

/// Nanoseconds of a round trip, the mean of some thousand.
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
