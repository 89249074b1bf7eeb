//! What every family of contenders shares: a contender behind plain functions, verified once and
//! then timed in interleaved repeats (A B C A B C ...), and the figures that this gives.
//!
//! Each repeat builds its contender anew, so that the place of its pages is part of the spread and
//! only one pool is alive at a time.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How much is run for each contender and case.
#[derive(Clone, Copy)]
pub struct Rounds {
    pub repeats: usize,
    /// Timed operations of one repeat.
    pub ops: u64,
    /// Operations of the verified pass.
    pub verified_ops: u64,
}

/// One repeat of one contender.
pub struct Repeat {
    pub ns_per_op: f64,
    pub memory_bytes: usize,
    /// How much the process grew between the warm-up and the end, where a family measures it.
    pub growth_bytes: Option<usize>,
}

/// One contender behind plain functions; inside each of them every call is dispatched statically.
/// `S` is the setting of a family: a case, and what was drawn or chosen for it before the clock.
pub struct Runner<S, E = String> {
    pub name: &'static str,
    /// What was emulated, where its design can't express the workload.
    pub emulated: Option<&'static str>,
    /// Whether its design can express the setting.
    pub takes_part: fn(&S) -> bool,
    /// Runs this many operations with whole payloads, each checked byte by byte.
    pub verify: fn(&S, u64) -> Result<(), E>,
    /// Runs this many operations under the clock.
    pub time: fn(&S, u64) -> Result<Repeat, E>,
}

impl<S, E> Clone for Runner<S, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, E> Copy for Runner<S, E> {}

/// Measures all contenders that take part in a setting.
///
/// # Errors
/// The first contender that failed or panicked, by its name.
pub fn measure<S, E: Display>(
    setting: &S,
    runners: &[Runner<S, E>],
    rounds: &Rounds,
) -> Result<Vec<Timing>, String> {
    let runners: Vec<_> = runners.iter().filter(|runner| (runner.takes_part)(setting)).collect();
    for runner in &runners {
        named(runner.name, || (runner.verify)(setting, rounds.verified_ops))?;
    }
    let mut timings: Vec<Timing> = runners
        .iter()
        .map(|runner| Timing { emulated: runner.emulated, ..Timing::new(runner.name) })
        .collect();
    for _ in 0..rounds.repeats {
        for (runner, timing) in runners.iter().zip(&mut timings) {
            let repeat = named(runner.name, || (runner.time)(setting, rounds.ops))?;
            timing.add(repeat.ns_per_op, repeat.memory_bytes);
            timing.growth_bytes = timing.growth_bytes.max(repeat.growth_bytes);
        }
    }
    Ok(timings)
}

/// Runs a part of a contender; a failure and a panic are errors that begin with its name.
fn named<T, E: Display>(name: &str, run: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => outcome.map_err(|error| format!("{name}: {error}")),
        Err(_panic) => Err(format!("{name}: it panicked")),
    }
}

/// The figures of one contender in one case.
pub struct Timing {
    pub contender: &'static str,
    /// What was emulated, where its design can't express the workload.
    pub emulated: Option<&'static str>,
    pub memory_bytes: usize,
    /// How much the process grew between the warm-up and the end in the worst repeat, where a
    /// family measures it.
    pub growth_bytes: Option<usize>,
    /// Nanoseconds per operation, one figure per repeat, sorted.
    pub ns_per_op: Vec<f64>,
}

impl Timing {
    pub fn new(contender: &'static str) -> Self {
        Self {
            contender,
            emulated: None,
            memory_bytes: 0,
            growth_bytes: None,
            ns_per_op: Vec::new(),
        }
    }

    /// Adds a repeat.
    pub fn add(&mut self, ns_per_op: f64, memory_bytes: usize) {
        let at = self.ns_per_op.partition_point(|ns| *ns <= ns_per_op);
        self.ns_per_op.insert(at, ns_per_op);
        self.memory_bytes = memory_bytes;
    }

    pub fn median_ns(&self) -> f64 {
        self.quartile_ns(2)
    }

    pub fn min_ns(&self) -> f64 {
        self.quartile_ns(0)
    }

    /// Quartile 0 is the fastest repeat, 4 the slowest. A quartile between two repeats is
    /// interpolated.
    pub fn quartile_ns(&self, quartile: usize) -> f64 {
        let last = self.ns_per_op.len() - 1;
        let (at, part) = (last * quartile / 4, (last * quartile % 4) as f64 / 4.0);
        let (low, high) = (self.ns_per_op[at], self.ns_per_op[last.min(at + 1)]);
        low + (high - low) * part
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn quartiles_lie_between_repeats() {
        let of = |ns: &[f64]| {
            let mut timing = Timing::new("a");
            ns.iter().for_each(|ns| timing.add(*ns, 0));
            [0, 1, 2, 3, 4].map(|quartile| timing.quartile_ns(quartile))
        };
        assert_eq!(of(&[9.0, 1.0, 2.0]), [1.0, 1.5, 2.0, 5.5, 9.0]);
        assert_eq!(of(&[4.0, 9.0, 1.0, 2.0]), [1.0, 1.75, 3.0, 5.25, 9.0]);
        assert_eq!(of(&[3.0]), [3.0; 5]);
    }

    /// A contender that counts its repeats in the setting.
    const COUNTS: Runner<AtomicU64> = Runner {
        name: "counts",
        emulated: Some("all of it"),
        takes_part: |_| true,
        verify: |count, ops| {
            count.store(100 * ops, Ordering::Relaxed);
            Ok(())
        },
        time: |count, ops| {
            let before = count.fetch_add(ops, Ordering::Relaxed);
            let growth_bytes = Some(if before == 701 { 9 } else { 3 });
            Ok(Repeat { ns_per_op: before as f64, memory_bytes: 8, growth_bytes })
        },
    };

    #[test]
    fn contenders_are_verified_and_then_timed_in_turn() {
        let rounds = Rounds { repeats: 2, ops: 1, verified_ops: 7 };
        let absent = Runner { name: "absent", takes_part: |_| false, ..COUNTS };
        let second = Runner { name: "second", emulated: None, ..COUNTS };
        let timings = measure(&AtomicU64::new(0), &[COUNTS, absent, second], &rounds).unwrap();
        let figures: Vec<_> =
            timings.iter().map(|of| (of.contender, of.emulated, &of.ns_per_op[..])).collect();
        assert_eq!(
            figures,
            [("counts", Some("all of it"), &[700.0, 702.0][..]), ("second", None, &[701.0, 703.0])]
        );
        assert_eq!((timings[0].growth_bytes, timings[1].growth_bytes), (Some(3), Some(9)));
    }

    #[test]
    fn a_failure_and_a_panic_name_their_contender() {
        let rounds = Rounds { repeats: 1, ops: 1, verified_ops: 1 };
        let of = |runner| measure(&AtomicU64::new(0), &[runner], &rounds).err();
        let fails = Runner { verify: |_, _| Err("a reason".to_owned()), ..COUNTS };
        assert_eq!(of(fails).as_deref(), Some("counts: a reason"));
        let panics = Runner { time: |_, _| panic!("on purpose"), ..COUNTS };
        assert_eq!(of(panics).as_deref(), Some("counts: it panicked"));
    }
}
