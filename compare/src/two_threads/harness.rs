//! How a contender on two threads is verified and timed, each time built anew on a thread of its
//! own, so that its pinning ends with that thread. Repeats are interleaved by [`crate::measure`].

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::case::Case;
use super::contender::TwoThreads;
use crate::measure::{self, Repeat, Rounds, Timing};
use crate::payload::{Copied, Fill, Pattern, Touch8};
use crate::threads::{Cpus, Placed, Reader, Tally, Words};

/// Warm-up before the clock, in laps of the ring.
const WARM_LAPS: usize = 8;

/// A case and its CPUs.
pub type Setting = Placed<Case>;

/// A contender on two threads.
pub type Runner = measure::Runner<Setting>;

/// It takes part in every case.
pub fn runner<C: TwoThreads>() -> Runner {
    Runner {
        name: C::NAME,
        emulated: None,
        takes_part: |_| true,
        verify: verify::<C>,
        time: time::<C>,
    }
}

/// All contenders in one case.
///
/// # Errors
/// The case is impossible, or a contender failed, which is named.
pub fn measure(
    case: &Case,
    cpus: Cpus,
    runners: &[Runner],
    rounds: &Rounds,
) -> Result<Vec<Timing>, String> {
    case.check()?;
    measure::measure(&Setting { case: *case, cpus }, runners, rounds)
}

/// Runs a part of a contender on a thread of its own.
fn on_a_thread<T: Send>(run: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    let outcome = thread::scope(|scope| scope.spawn(run).join());
    outcome.unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// A contender with its reader, and how many payloads were published.
struct Run<C> {
    contender: C,
    tally: Arc<Tally>,
    published: u64,
    batch: usize,
}

impl<C: TwoThreads> Run<C> {
    fn start(setting: &Setting, words: Words) -> Result<Self, String> {
        let (reader, tally) = Reader::new(words);
        let case = &setting.case;
        Ok(Self {
            contender: C::start(case, setting.cpus, reader)?,
            tally,
            published: 0,
            batch: case.batch,
        })
    }

    /// Publishes `ops` payloads, rounded up to whole batches, and waits until the last one is read.
    #[inline(never)]
    fn publish(&mut self, ops: u64, fill: &impl Fill) -> Result<(), String> {
        let until = self.published + ops;
        while self.published < until {
            self.contender.publish(self.published, self.batch, fill)?;
            self.published += self.batch as u64;
        }
        self.tally.wait(self.published)
    }
}

fn verify<C: TwoThreads>(setting: &Setting, ops: u64) -> Result<(), String> {
    on_a_thread(|| {
        let mut run = Run::<C>::start(setting, Words::Number)?;
        run.publish(ops, &Pattern)?;
        run.contender.close()
    })
}

/// A payload that is only its number is stored, without the call that copies a longer one.
fn time<C: TwoThreads>(setting: &Setting, ops: u64) -> Result<Repeat, String> {
    let copied = Copied::new(setting.case.payload_bytes);
    let words = Words::Word(copied.word());
    on_a_thread(|| {
        if setting.case.payload_bytes == size_of::<u64>() {
            time_filled::<C>(setting, ops, words, &Touch8)
        } else {
            time_filled::<C>(setting, ops, words, &copied)
        }
    })
}

fn time_filled<C: TwoThreads>(
    setting: &Setting,
    ops: u64,
    words: Words,
    fill: &impl Fill,
) -> Result<Repeat, String> {
    let mut run = Run::<C>::start(setting, words)?;
    run.publish((WARM_LAPS * setting.case.slots) as u64, fill)?;
    let (before, start) = (run.published, Instant::now());
    run.publish(ops, fill)?;
    let ns_per_op = start.elapsed().as_secs_f64() * 1e9 / (run.published - before) as f64;
    let memory_bytes = run.contender.memory_bytes();
    run.contender.close()?;
    Ok(Repeat { ns_per_op, memory_bytes, growth_bytes: None })
}
