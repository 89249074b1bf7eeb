//! The suite that every contender of `class` runs, in every case at a small size. A defective
//! contender must not pass it.

use std::sync::{Arc, Mutex};

use super::case::{CLASS_BYTES, Case, Work, Written, cases, fresh};
use super::contender::{Buffer, Local, Pool};
use super::harness::{Setting, runner};
use super::run::{QUICK, contenders};
use crate::measure::{Rounds, measure};
use crate::payload::{Exhausted, Fill};
use crate::threads::Cpus;

const ROUNDS: Rounds = Rounds { repeats: 2, ops: 1000, verified_ops: 100 };

/// On a machine of one CPU both threads share it: slow, and as correct.
fn placed(case: Case) -> Setting {
    Setting { case, cpus: Cpus::pick().unwrap_or_else(|_| Cpus::one()) }
}

/// The contenders that take part in a case, or those that don't.
fn able(case: &Case, able: bool) -> Vec<&'static str> {
    let setting = placed(*case);
    let runners = contenders().into_iter();
    runners.filter(|runner| (runner.takes_part)(&setting) == able).map(|of| of.name).collect()
}

/// A pool that hands each buffer out twice, as a double put makes it: the defect that verification
/// exists for.
struct TwoOwners;

#[derive(Default)]
pub struct Twice {
    again: Option<Shared>,
}

#[derive(Clone)]
pub struct Shared {
    memory: Arc<Mutex<Box<[u8]>>>,
    bytes: usize,
}

impl Pool for TwoOwners {
    const NAME: &'static str = "two-owners";

    type Local<'a> = Twice;

    fn new() -> Result<Self, String> {
        Ok(Self)
    }

    fn local(&self) -> Twice {
        Twice::default()
    }
}

impl Local for Twice {
    type Buffer = Shared;

    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Shared, Exhausted> {
        let fresh = || Shared { memory: Arc::new(Mutex::new(fresh(CLASS_BYTES.len() - 1))), bytes };
        let again = self.again.take();
        let is_fresh = again.is_none();
        let shared = Shared { bytes, ..again.unwrap_or_else(fresh) };
        fill.fill(op, &mut shared.memory.lock().unwrap()[..bytes]);
        self.again = is_fresh.then(|| shared.clone());
        Ok(shared)
    }

    fn put(&mut self, _buffer: Shared) {}
}

impl Buffer for Shared {
    fn read<R>(&self, check: impl FnOnce(&[u8]) -> R) -> R {
        check(&self.memory.lock().unwrap()[..self.bytes])
    }

    fn be_seen(&self) {}
}

#[test]
fn every_contender_runs_every_case() {
    let contenders = contenders();
    for case in cases(false) {
        let timings = measure(&placed(case), &contenders, &ROUNDS);
        let timings = timings.unwrap_or_else(|failure| panic!("{}: {failure}", case.name()));
        let expected = able(&case, true);
        let measured: Vec<_> = timings.iter().map(|timing| timing.contender).collect();
        assert_eq!(measured, expected, "{}", case.name());
        for timing in timings {
            assert!(
                timing.ns_per_op.len() == ROUNDS.repeats && timing.min_ns() > 0.0,
                "{}",
                timing.contender
            );
            assert_eq!(timing.growth_bytes.is_some(), case.work == Work::Cross);
        }
    }
}

#[test]
fn a_buffer_with_two_owners_is_caught_in_every_kind_of_work() {
    for case in cases(true) {
        let failure =
            measure(&placed(case), &[runner::<TwoOwners>()], &ROUNDS).err().unwrap_or_default();
        assert!(failure.starts_with("two-owners: "), "{}: {failure}", case.name());
    }
    // While the clock runs, across threads.
    let unverified = Rounds { verified_ops: 0, ..ROUNDS };
    let cross = cases(true)[2];
    let failure =
        measure(&placed(cross), &[runner::<TwoOwners>()], &unverified).err().unwrap_or_default();
    assert!(failure.contains("isn't what was published"), "{failure}");
}

#[test]
fn contenders_that_cannot_express_a_case_are_left_out() {
    let left_out = |case: &Case| able(case, false);
    let [one, _, cross] = cases(true)[..] else { panic!("three quick cases") };
    assert_eq!(left_out(&one), ["growable-vec"]);
    assert_eq!(left_out(&cross), ["growable-vec", "free-list"]);
    let whole = Case { written: Written::Whole, ..one };
    assert!(left_out(&whole).is_empty());
}

#[test]
fn the_quick_contenders_exist() {
    let names: Vec<_> = contenders().iter().map(|runner| runner.name).collect();
    assert!(QUICK.iter().all(|name| names.contains(name)), "{names:?}");
}
