//! The suite that every contender runs, in every case at a small size; and one that must not pass
//! it.

use std::sync::{Arc, Mutex};

use super::case::{self, Case, Work};
use super::harness::{Runner, measure};
use super::{Buffer, Local, Pool, QUICK, contenders, table};
use crate::contender::{Exhausted, Fill};
use crate::harness::Rounds;
use crate::two_threads::Cpus;

const ROUNDS: Rounds = Rounds { repeats: 2, ops: 1000, verified_ops: 100 };

/// On a machine of one CPU both threads share it: slow, and as correct.
fn cpus() -> Cpus {
    Cpus::pick().unwrap_or_else(|_| Cpus::one())
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
        let fresh =
            || Shared { memory: Arc::new(Mutex::new(table::fresh(table::BYTES.len() - 1))), bytes };
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
    for case in case::cases(false) {
        let timings = measure(&case, cpus(), &contenders, &ROUNDS);
        let timings = timings.unwrap_or_else(|failure| panic!("{}: {failure}", case.name()));
        let expected =
            contenders.iter().filter(|runner| runner.takes_part(&case)).map(|runner| runner.name);
        assert!(expected.eq(timings.iter().map(|timing| timing.contender)), "{}", case.name());
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
    for case in case::cases(true) {
        let failure =
            measure(&case, cpus(), &[Runner::of::<TwoOwners>()], &ROUNDS).err().unwrap_or_default();
        assert!(failure.starts_with("two-owners: "), "{}: {failure}", case.name());
    }
    // While the clock runs, across threads.
    let unverified = Rounds { verified_ops: 0, ..ROUNDS };
    let cross = case::cases(true)[2];
    let failure = measure(&cross, cpus(), &[Runner::of::<TwoOwners>()], &unverified)
        .err()
        .unwrap_or_default();
    assert!(failure.contains("isn't what was published"), "{failure}");
}

#[test]
fn who_is_left_out_is_named() {
    let left_out = |case: &Case| {
        let out = contenders()
            .into_iter()
            .filter(|runner| !runner.takes_part(case))
            .map(|runner| runner.name);
        out.collect::<Vec<_>>()
    };
    let [one, _, cross] = case::cases(true)[..] else { panic!("three quick cases") };
    assert_eq!(left_out(&one), ["growable-vec"]);
    assert_eq!(left_out(&cross), ["growable-vec", "free-list"]);
    let whole = Case { written: case::Written::Whole, ..one };
    assert!(left_out(&whole).is_empty());
}

#[test]
fn the_quick_contenders_exist() {
    let names: Vec<_> = contenders().iter().map(|runner| runner.name).collect();
    assert!(QUICK.iter().all(|name| names.contains(name)), "{names:?}");
}
