//! The run: every window repeatedly, each repeat with its own lane on its own thread, so that its
//! pinning affects nothing else.

use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

use slipring::machine::PinPolicy;
use slipring::pipeline::{Lane, LaneSpec, Outcome, StageSpec, StageThread, Started, View, Wait};
use slipring::ring::RingOptions;

use super::options::{SweepError, SweepOptions, SweepPlan};
use super::report::{SweepReport, WindowTimes};

/// The longest wait for the stage to read the last published payloads.
const CLOSE_WITHIN: Duration = Duration::from_secs(60);

/// Bytes of the number at the start of a payload; fewer if the payload is shorter.
const NUMBER_BYTES: usize = 8;

/// Runs the sweep and blocks until it ends. Passes each notice about what wasn't granted to
/// `notice`, once, and to `progress` how far it is.
///
/// # Errors
/// An invalid option, if possible before anything is mapped; a refusal of the system; or a payload
/// that didn't arrive as written.
pub fn run(
    options: &SweepOptions,
    mut notice: impl FnMut(&str),
    mut progress: impl FnMut(&str),
) -> Result<SweepReport, SweepError> {
    let plan = SweepPlan::new(options)?;
    plan.notes.iter().for_each(|note| notice(note));
    // A lane with the default window comes first and runs a few payloads, so that a refusal comes
    // before the long part.
    let first = repeat(&plan, None, plan.slots as u64)?;
    first.downgrades.iter().for_each(|downgrade| notice(downgrade));
    let mut windows: Vec<WindowTimes> =
        plan.windows.iter().map(|&window_bytes| WindowTimes::new(window_bytes)).collect();
    let (repeats, count) = (options.repeats, windows.len());
    progress(&format!("{count} windows, {repeats} repeats of each"));
    let started = Instant::now();
    for number in 1..=repeats {
        for window in &mut windows {
            window.add(repeat(&plan, Some(window.window_bytes), options.events)?.ns_per_event);
        }
        let taken = started.elapsed();
        let left = taken.as_secs_f64() / f64::from(number) * f64::from(repeats - number);
        progress(&format!(
            "repeat {number} of {repeats} is done after {:.1} s; about {left:.0} s are left",
            taken.as_secs_f64()
        ));
    }
    Ok(SweepReport::new(&plan, windows, first.window_bytes))
}

/// The result of a repeat.
#[derive(Debug)]
struct SweepRepeat {
    ns_per_event: f64,
    /// The window of the pool: the default if none was requested.
    window_bytes: usize,
    /// Requests that weren't granted.
    downgrades: Vec<String>,
}

/// Runs `events` payloads through a lane with this window.
fn repeat(
    plan: &SweepPlan,
    window_bytes: Option<usize>,
    events: u64,
) -> Result<SweepRepeat, SweepError> {
    let run = || {
        let mut run = SweepRun::start(plan, window_bytes)?;
        let window_bytes = run.lane.stats().pool.window_bytes;
        // Warm up: two laps of the ring, and one of the window.
        run.publish((2 * plan.slots + window_bytes / plan.payload_bytes) as u64)?;
        let start = Instant::now();
        run.publish(events)?;
        let ns_per_event = start.elapsed().as_secs_f64() * 1e9 / events as f64;
        let downgrades = run.downgrades.clone();
        run.close()?;
        Ok(SweepRepeat { ns_per_event, window_bytes, downgrades })
    };
    let panicked = |_| Err(SweepError::Failed("a thread of the sweep panicked".to_owned()));
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(panicked)
}

/// A repeat under way: a started lane with its reading stage.
struct SweepRun {
    lane: Lane<()>,
    /// None: the stage is inline.
    stage: Option<StageThread>,
    payload: SweepPayload,
    batch: u64,
    published: u64,
    downgrades: Vec<String>,
}

impl SweepRun {
    fn start(plan: &SweepPlan, window_bytes: Option<usize>) -> Result<Self, SweepError> {
        let pool = RingOptions {
            bytes: plan.pool_bytes,
            max_slice_bytes: plan.payload_bytes,
            window_bytes,
            pinned_chunks_max: Some(0),
            ..RingOptions::default()
        };
        let stage = match plan.stage_cpu {
            Some(cpu) => StageSpec::thread("read").cpu(cpu).wait(Wait::Spin),
            None => StageSpec::inline("read"),
        };
        let spec = LaneSpec::new(pool, plan.slots).layer([stage]);
        let spec = match plan.cpu {
            Some(cpu) => spec.cpu(cpu, PinPolicy::Prefer),
            None => spec,
        };
        let Started { mut lane, mut stages, report } =
            spec.start::<()>().map_err(SweepError::lane)?;
        let Some(stage) = stages.remove("read") else { return Err(failed("the stage is missing")) };
        let (payload, mut number) = (SweepPayload::new(plan.payload_bytes), 0);
        let expected = payload.clone();
        let read = move |view: View<'_, ()>| {
            if !expected.is_intact(number, view.bytes()) {
                return Outcome::Fail(format!("payload {number} didn't arrive as it was written"));
            }
            number += 1;
            Outcome::Done
        };
        let stage = match plan.stage_cpu {
            Some(_) => Some(stage.spawn(read).map_err(failed)?),
            None => {
                lane.attach(stage, read).map_err(failed)?;
                None
            }
        };
        let mut downgrades = report.downgrades;
        downgrades.extend(report.region.downgrades.iter().map(ToString::to_string));
        Ok(Self { lane, stage, payload, batch: plan.batch, published: 0, downgrades })
    }

    /// Publishes this number of payloads, in batches, and waits until the last one is read.
    #[inline(never)]
    fn publish(&mut self, events: u64) -> Result<(), SweepError> {
        let until = self.published + events;
        while self.published < until {
            let batch_until = until.min(self.published + self.batch);
            while (self.lane.free_slots() as u64) < batch_until - self.published {
                self.poll_or_spin()?;
            }
            while self.published < batch_until {
                match self.lane.reserve(self.payload.bytes()) {
                    Ok(mut grant) => {
                        self.payload.write(self.published, &mut grant);
                        let slice = grant.commit_all();
                        self.lane.push(slice, ()).map_err(failed)?;
                        self.published += 1;
                    }
                    // The pool is smaller than the ring. The refusal has published what was pushed.
                    Err(refused) if refused.is_full() => self.poll_or_spin()?,
                    Err(refused) => return Err(self.failure(refused)),
                }
            }
            self.lane.flush();
            if self.stage.is_none() {
                self.lane.poll();
            }
        }
        while self.lane.slots_in_use() > 0 {
            self.poll_or_spin()?;
        }
        Ok(())
    }

    /// Runs the stage if it is inline, and reclaims what it has read. Spins if there was nothing.
    fn poll_or_spin(&mut self) -> Result<(), SweepError> {
        if !self.lane.poll().is_idle() {
            return Ok(());
        }
        if self.lane.has_failed() {
            return Err(self.failure("the stage failed"));
        }
        spin_loop();
        Ok(())
    }

    fn failure(&self, otherwise: impl ToString) -> SweepError {
        SweepError::Failed(
            self.lane
                .failure()
                .map_or_else(|| otherwise.to_string(), |failure| failure.to_string()),
        )
    }

    /// Closes the lane, and checks that every payload was read.
    fn close(self) -> Result<(), SweepError> {
        let report = self.lane.close(CLOSE_WITHIN);
        let ended = self.stage.map(StageThread::join);
        if let Some(error) = ended.as_ref().and_then(|ended| ended.error.as_ref()) {
            return Err(failed(error));
        }
        let all_read = ended.is_none_or(|ended| ended.processed == self.published);
        if report.is_drained() && all_read {
            Ok(())
        } else {
            Err(failed(format!("the lane wasn't drained: {report:?}")))
        }
    }
}

fn failed(why: impl ToString) -> SweepError {
    SweepError::Failed(why.to_string())
}

/// The payloads of one repeat: a pattern of bytes that begins with the payload's number.
#[derive(Clone, Debug)]
struct SweepPayload {
    pattern: Vec<u8>,
    /// Sum of the pattern's words, without the number.
    sum: u64,
}

impl SweepPayload {
    fn new(bytes: usize) -> Self {
        let mut pattern: Vec<u8> =
            (0..bytes as u64).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
        let number = bytes.min(NUMBER_BYTES);
        pattern[..number].fill(0);
        Self { sum: sum(&pattern), pattern }
    }

    fn bytes(&self) -> usize {
        self.pattern.len()
    }

    /// Writes payload `number`. `into` is as long as the pattern.
    #[inline]
    fn write(&self, number: u64, into: &mut [u8]) {
        into.copy_from_slice(&self.pattern);
        let digits = into.len().min(NUMBER_BYTES);
        into[..digits].copy_from_slice(&number.to_le_bytes()[..digits]);
    }

    /// Whether these are the bytes of payload `number`. Reads all of them.
    #[inline]
    fn is_intact(&self, number: u64, bytes: &[u8]) -> bool {
        let digits = self.bytes().min(NUMBER_BYTES);
        bytes.len() == self.bytes()
            && bytes[..digits] == number.to_le_bytes()[..digits]
            && sum(bytes) == self.sum.wrapping_add(word(&number.to_le_bytes()[..digits]))
    }
}

/// The sum of the words, the last one padded with zeros.
#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    words.iter().fold(word(tail), |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_byte_is_found() {
        for len in [1usize, 7, 8, 9, 64, 100] {
            let payload = SweepPayload::new(len);
            let mut bytes = vec![0; len];
            payload.write(300, &mut bytes);
            assert!(payload.is_intact(300, &bytes));
            assert!(!payload.is_intact(301, &bytes), "another payload's number");
            assert!(!payload.is_intact(300, &bytes[1..]), "too short");
            for at in 0..len {
                bytes[at] ^= 0x40;
                assert!(!payload.is_intact(300, &bytes), "byte {at} of {len}");
                bytes[at] ^= 0x40;
            }
        }
    }
}
