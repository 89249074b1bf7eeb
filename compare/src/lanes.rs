//! Lanes on 1, 2, 4, 8 and 16 CPUs: the cost of one more lane to the others. Lanes share no state
//! of ours, so any loss is due to the machine: caches, memory, clock.
//!
//! ```text
//!   lanes-inline-2     CPU 0: lane, which reads itself        CPU 1: lane, which reads itself
//!   lanes-threads-2    CPU 0: lane ──▶ CPU 2: reader          CPU 1: lane ──▶ CPU 3: reader
//! ```
//!
//! An event is a payload of 512 B, written whole and published 64 at a time into a ring of 4096.
//! The reader checks its number and the sum of its words. Every lane is pinned to a CPU that no
//! other one uses, maps its pool there, warms up, and waits for the others before the clock. Of two
//! CPUs on one core only one is used.

use std::fs;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slipring::machine::{CpuMask, PinPolicy};
use slipring::pipeline::{Lane, LaneSpec, Outcome, StageSpec, StageThread, View, Wait};
use slipring::ring::RingOptions;

use crate::measure::Timing;
use crate::payload::{Copied, Fill};
use crate::report::{self, Report};

const COUNTS: [usize; 5] = [1, 2, 4, 8, 16];
const PAYLOAD_BYTES: usize = 512;
const BATCH: usize = 64;
const RING_SLOTS: usize = 4096;
const WARM_LAPS: u64 = 8;
const CLOSE_WITHIN: Duration = Duration::from_secs(20);

/// How much is run.
#[derive(Clone, Copy)]
struct Rounds {
    repeats: usize,
    /// Events of one lane in one repeat; a multiple of the batch.
    events: u64,
    pool_bytes: usize,
}

const QUICK: Rounds = Rounds { repeats: 3, events: 1 << 18, pool_bytes: 8 << 20 };
const FULL: Rounds = Rounds { repeats: 11, events: 1 << 23, pool_bytes: 64 << 20 };

/// One arrangement: lanes, and whether each has a reader on a CPU of its own.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Shape {
    lanes: usize,
    has_readers: bool,
}

impl Shape {
    fn name(self) -> String {
        format!("lanes-{}-{}", if self.has_readers { "threads" } else { "inline" }, self.lanes)
    }

    fn cpus(self) -> usize {
        if self.has_readers { 2 * self.lanes } else { self.lanes }
    }
}

/// The counts of a lane's reader.
#[derive(Default)]
struct Seen {
    events: AtomicU64,
    wrong: AtomicU64,
}

/// The reader of a lane.
struct Reader {
    next: u64,
    word: u64,
    seen: Arc<Seen>,
}

impl Reader {
    #[inline]
    fn read(&mut self, payload: &[u8]) {
        let (words, _) = payload.as_chunks::<8>();
        let sum =
            words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)));
        let expected = self.next.wrapping_add(self.word.wrapping_mul(words.len() as u64 - 1));
        if u64::from_le_bytes(words[0]) != self.next || sum != expected {
            self.seen.wrong.fetch_add(1, Ordering::Relaxed);
        }
        self.next += 1;
        // A plain store: this thread alone writes it.
        self.seen.events.store(self.next, Ordering::Release);
    }
}

/// A lane on the calling thread, with its reader.
struct Runner {
    lane: Lane<()>,
    stage: Option<StageThread>,
    seen: Arc<Seen>,
    fill: Copied,
    published: u64,
}

impl Runner {
    fn start(
        cpu: usize,
        reader_cpu: Option<usize>,
        lanes: usize,
        pool_bytes: usize,
    ) -> Result<Self, String> {
        let pool = RingOptions {
            bytes: pool_bytes,
            max_slice_bytes: PAYLOAD_BYTES,
            lanes_sharing_l3: lanes,
            ..RingOptions::default()
        };
        let stage = match reader_cpu {
            Some(cpu) => StageSpec::thread("read").cpu(cpu).wait(Wait::Spin),
            None => StageSpec::inline("read"),
        };
        let spec = LaneSpec::new(pool, RING_SLOTS).cpu(cpu, PinPolicy::Require).layer([stage]);
        let mut started = spec.start::<()>().map_err(|error| error.to_string())?;
        if let Some(why) = started.report.downgrades.first() {
            return Err(format!("a thread of its own on a CPU of its own was asked for: {why}"));
        }
        let (fill, seen) = (Copied::new(PAYLOAD_BYTES), Arc::<Seen>::default());
        let mut reader = Reader { next: 0, word: fill.word(), seen: Arc::clone(&seen) };
        let handler = move |view: View<'_, ()>| {
            reader.read(view.bytes());
            Outcome::Done
        };
        let stage = started.stages.remove("read").ok_or("the stage is missing")?;
        let stage = if reader_cpu.is_some() {
            Some(stage.spawn(handler).map_err(|error| error.to_string())?)
        } else {
            started.lane.attach(stage, handler).map_err(|_| "the stage isn't inline")?;
            None
        };
        Ok(Self { lane: started.lane, stage, seen, fill, published: 0 })
    }

    /// Publishes this many events and waits until all are read.
    fn publish(&mut self, events: u64) -> Result<(), String> {
        let until = self.published + events;
        while self.published < until {
            self.wait_for(BATCH)?;
            for _ in 0..BATCH {
                let mut grant =
                    self.lane.reserve(PAYLOAD_BYTES).map_err(|full| full.to_string())?;
                self.fill.fill(self.published, &mut grant);
                let slice = grant.commit_all();
                self.lane.push(slice, ()).map_err(|refused| refused.to_string())?;
                self.published += 1;
            }
            self.lane.flush();
            if self.stage.is_none() {
                self.lane.poll();
            }
        }
        self.wait_for(RING_SLOTS)
    }

    fn wait_for(&mut self, free_slots: usize) -> Result<(), String> {
        while self.lane.free_slots() < free_slots {
            if self.lane.poll().is_idle() {
                spin_loop();
            }
            if let Some(failure) = self.lane.failure() {
                return Err(format!("a stage failed: {failure:?}"));
            }
        }
        Ok(())
    }

    fn close(self) -> Result<(), String> {
        let report = self.lane.close(CLOSE_WITHIN);
        let error = self.stage.and_then(|stage| stage.join().error);
        let (events, wrong) =
            (self.seen.events.load(Ordering::Acquire), self.seen.wrong.load(Ordering::Acquire));
        if !report.is_drained() || error.is_some() || events != self.published || wrong > 0 {
            return Err(format!(
                "{events} of {} events were read, {wrong} wrong: {report:?}, {error:?}",
                self.published
            ));
        }
        Ok(())
    }
}

/// One repeat: nanoseconds per event of each lane, and per event of all lanes together.
fn repeat(shape: Shape, cpus: &[usize], rounds: Rounds) -> Result<(Vec<f64>, f64), String> {
    let barrier = Barrier::new(shape.lanes);
    let lane = |at: usize| {
        let reader = shape.has_readers.then(|| cpus[shape.lanes + at]);
        let mut runner = Runner::start(cpus[at], reader, shape.lanes, rounds.pool_bytes);
        let warm = runner
            .as_mut()
            .map_err(|why| why.clone())
            .and_then(|runner| runner.publish(WARM_LAPS * RING_SLOTS as u64));
        // After an error too, because the others wait for all.
        barrier.wait();
        let (mut runner, start) = (runner?, Instant::now());
        warm?;
        runner.publish(rounds.events)?;
        let end = Instant::now();
        runner.close().map(|()| (start, end))
    };
    let outcomes = thread::scope(|scope| {
        let lane = &lane;
        let threads: Vec<_> = (0..shape.lanes).map(|at| scope.spawn(move || lane(at))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err("it panicked".to_owned())))
            .collect::<Vec<_>>()
    });
    let spans = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (first, last) =
        (spans.iter().map(|span| span.0).min(), spans.iter().map(|span| span.1).max());
    let all_ns = last.zip(first).map_or(0.0, |(last, first)| (last - first).as_secs_f64() * 1e9);
    let each = spans
        .iter()
        .map(|(start, end)| (*end - *start).as_secs_f64() * 1e9 / rounds.events as f64)
        .collect();
    Ok((each, all_ns / (rounds.events as f64 * shape.lanes as f64)))
}

/// A shape's repeats.
struct Measured {
    shape: Shape,
    lane: Timing,
    slowest: Timing,
    all: Timing,
}

/// All shapes in turn, in every repeat.
fn measure(shapes: &[Shape], cpus: &[usize], rounds: Rounds) -> Result<Vec<Measured>, String> {
    let new = |&shape| Measured {
        shape,
        lane: Timing::new("slipring"),
        slowest: Timing::new("slipring"),
        all: Timing::new("slipring"),
    };
    let mut measured: Vec<Measured> = shapes.iter().map(new).collect();
    for _ in 0..rounds.repeats {
        for Measured { shape, lane, slowest, all } in &mut measured {
            let (each, all_ns) =
                repeat(*shape, cpus, rounds).map_err(|why| format!("{}: {why}", shape.name()))?;
            lane.add(each.iter().sum::<f64>() / each.len() as f64, 0);
            slowest.add(each.iter().copied().fold(0.0, f64::max), 0);
            all.add(all_ns, 0);
        }
    }
    Ok(measured)
}

/// The allowed CPUs, one per core.
fn cores() -> Vec<usize> {
    let siblings = |cpu: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        // Without the file every CPU counts as a core.
        fs::read_to_string(path).unwrap_or_else(|_| cpu.to_string())
    };
    let mut seen = Vec::new();
    let mut is_new = |cpu: &usize| {
        let core = siblings(*cpu);
        let new = !seen.contains(&core);
        seen.push(core);
        new
    };
    CpuMask::read().cpus().iter().copied().filter(|cpu| is_new(cpu)).collect()
}

/// Measures the shapes that the machine has enough cores for, and names the others.
///
/// # Errors
/// A lane couldn't start or lost an event.
pub fn run(quick: bool, as_json: bool) -> Result<(), String> {
    let (rounds, cpus) = (if quick { QUICK } else { FULL }, cores());
    if as_json {
        let options = json!({ "repeats": rounds.repeats, "events": rounds.events, "pool_bytes": rounds.pool_bytes });
        println!(
            "{}",
            json!({ "bench": "lanes", "machine": report::machine(), "cores": cpus.len(), "options": options })
        );
    } else {
        println!("{} cores: one CPU of each is used\n", cpus.len());
        println!(
            "{:<20}{:>14}{:>14}{:>14}{:>10}",
            "case", "ns/event lane", "slowest lane", "ns/event all", "scaling"
        );
    }
    let shapes = [false, true]
        .into_iter()
        .flat_map(|has_readers| COUNTS.map(|lanes| Shape { lanes, has_readers }));
    let (fitting, others): (Vec<_>, Vec<_>) = shapes.partition(|shape| shape.cpus() <= cpus.len());
    let measured = measure(&fitting, &cpus, rounds)?;
    for of in &measured {
        // The events per second of all lanes, as a multiple of one lane's.
        let one = measured.iter().find(|one| one.shape == Shape { lanes: 1, ..of.shape });
        let scaling = one.map_or(1.0, |one| one.all.median_ns() / of.all.median_ns());
        if as_json {
            println!("{}", line(of, scaling));
        } else {
            let [lane, slowest, all] = [&of.lane, &of.slowest, &of.all].map(Timing::median_ns);
            println!(
                "{:<20}{lane:>14.2}{slowest:>14.2}{all:>14.2}{scaling:>9.2}x",
                of.shape.name()
            );
        }
    }
    for shape in others {
        let why = format!("{} cores are needed, this process may use {}", shape.cpus(), cpus.len());
        Report { bench: "ring", as_json }.skipped(&shape.name(), &why);
    }
    Ok(())
}

fn line(of: &Measured, scaling: f64) -> Value {
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    let [min, q1, median, q3, max] =
        [0, 1, 2, 3, 4].map(|quartile| round(of.lane.quartile_ns(quartile)));
    json!({
        "bench": "lanes", "case": of.shape.name(), "contender": "slipring", "lanes": of.shape.lanes, "cpus_used": of.shape.cpus(),
        "ns_per_op": median, "ns_min": min, "ns_q1": q1, "ns_q3": q3, "ns_max": max, "repeats": of.lane.ns_per_op.len(),
        "ns_slowest_lane": round(of.slowest.median_ns()), "ns_total": round(of.all.median_ns()), "scaling": round(scaling),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Rounds = Rounds { repeats: 2, events: 64 * 64, pool_bytes: 4 << 20 };

    #[test]
    fn lanes_read_what_they_publish() {
        // As many as the machine has cores for, inline readers and readers on threads.
        let cpus = cores();
        let shapes = [(1, false), (2, false), (1, true)]
            .map(|(lanes, has_readers)| Shape { lanes, has_readers });
        let fitting: Vec<Shape> =
            shapes.into_iter().filter(|shape| shape.cpus() <= cpus.len()).collect();
        let measured = measure(&fitting, &cpus, SMALL).unwrap();
        assert!(
            measured.iter().all(|of| of.all.ns_per_op.len() == 2
                && of.lane.median_ns() <= of.slowest.quartile_ns(4))
        );
        let line = line(&measured[0], 1.0);
        assert_eq!(
            (line["case"].as_str(), line["cpus_used"].as_u64()),
            (Some("lanes-inline-1"), Some(1))
        );
    }

    #[test]
    fn a_cpu_that_isnt_there_is_an_error_of_its_lane() {
        let outcome = repeat(Shape { lanes: 2, has_readers: false }, &[cores()[0], 1 << 20], SMALL);
        assert!(
            outcome.is_err_and(|why| why.contains("cpu")),
            "the other lane doesn't wait for ever"
        );
    }

    #[test]
    fn a_wrong_payload_is_seen() {
        let (fill, seen) = (Copied::new(64), Arc::<Seen>::default());
        let mut reader = Reader { next: 0, word: fill.word(), seen: Arc::clone(&seen) };
        let mut payload = [0; 64];
        fill.fill(0, &mut payload);
        reader.read(&payload);
        assert_eq!(seen.wrong.load(Ordering::Relaxed), 0);
        // The number is that of the event before.
        reader.read(&payload);
        assert_eq!(
            (seen.wrong.load(Ordering::Relaxed), seen.events.load(Ordering::Relaxed)),
            (1, 2)
        );
    }
}
