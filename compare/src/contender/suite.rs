//! The suite that every contender runs, at sizes where wrap, full and lap end come every few
//! operations; and two that must not pass it.

use super::seed_arc::Seed;
use super::{Contender, Exhausted, Fill, Pattern, all};
use crate::case::{Case, Drawn, Order, Plan, Pool, Written};
use crate::harness::{Failure, Runner};

const OPS: u64 = 20_000;

/// A ring that never looks at what is alive: the defect that verification exists for.
pub struct Overlapping {
    memory: Vec<u8>,
    next: usize,
    entries: Vec<(usize, usize)>,
}

impl Contender for Overlapping {
    const NAME: &'static str = "overlapping";
    const ANY_ORDER: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        Ok(Self { memory: vec![0; plan.pool_bytes], next: 0, entries: vec![(0, 0); plan.slots] })
    }

    fn memory_bytes(&self) -> usize {
        self.memory.len()
    }

    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        if self.next + bytes > self.memory.len() {
            self.next = 0;
        }
        fill.fill(op, &mut self.memory[self.next..self.next + bytes]);
        self.entries[entry] = (self.next, bytes);
        self.next += bytes;
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        let (offset, bytes) = self.entries[entry];
        check(&self.memory[offset..offset + bytes])
    }
}

fn case(dim: usize, slots: usize, pool_bytes: usize) -> Case {
    Case { written: Written::Whole, dim, slots, pool: Pool::Bytes(pool_bytes), ..Case::FIT }
}

fn verified(runner: &Runner, case: &Case) -> Result<(), Failure> {
    (runner.verify)(&case.plan(), &case.drawn(), OPS)
}

#[test]
fn every_contender_keeps_what_it_was_given() {
    for case in
        [case(2, 8, 8 << 10), case(16, 8, 16 << 10), case(16, 64, 64 << 10), case(3, 7, 9 << 10)]
    {
        for runner in all() {
            assert_eq!(verified(&runner, &case), Ok(()), "{} in {}", runner.name, case.name());
        }
    }
}

#[test]
fn who_releases_in_any_order_keeps_what_it_was_given() {
    let random = |slots, pool_bytes| Case { order: Order::Random, ..case(16, slots, pool_bytes) };
    let mut names = Vec::new();
    for case in [random(8, 128 << 10), random(64, 256 << 10)] {
        names = all()
            .into_iter()
            .filter(|runner| runner.takes_part(&case))
            .map(|runner| {
                assert_eq!(verified(&runner, &case), Ok(()), "{} in {}", runner.name, case.name());
                runner.name
            })
            .collect();
    }
    let rivals = ["free-list", "inline-slots", "glibc", "mimalloc", "jemalloc", "bytes"];
    assert_eq!(names[..3], ["empty-harness", "slipring", "slipring-raii"]);
    assert_eq!(names[3..], rivals);
    // Whoever gives memory back in order only is caught, so that none of them takes part by
    // mistake.
    let seed = verified(&Runner::of::<Seed<true>>(), &random(8, 4096));
    assert!(matches!(seed, Err(Failure::Corrupt { .. })), "{seed:?}");
}

#[test]
fn every_contender_refuses_before_it_overwrites() {
    // From two largest payloads for eight entries to nearly enough, and many short runs, since each
    // ends at its first refusal: what is alive, padding and the next payload meet the end of the
    // pool in every proportion.
    for pool_bytes in (1024..4608).step_by(192) {
        let case = case(16, 8, pool_bytes);
        let sizes = case.drawn().sizes;
        for (runner, start) in
            all().iter().flat_map(|runner| (0..40).map(move |start| (runner, start * 100)))
        {
            let drawn = Drawn { sizes: sizes[start..start + 100].to_vec(), entries: None };
            let outcome = (runner.verify)(&case.plan(), &drawn, 100);
            assert!(
                matches!(outcome, Ok(()) | Err(Failure::Exhausted { .. })),
                "{} in {pool_bytes} B from size {start}: {outcome:?}",
                runner.name
            );
        }
    }
    let full = verified(&Runner::of::<Seed<true>>(), &case(16, 8, 1024));
    assert!(matches!(full, Err(Failure::Exhausted { .. })), "a full pool is seen");
}

#[test]
fn an_overlap_is_caught() {
    let runner = Runner::of::<Overlapping>();
    assert!(matches!(verified(&runner, &case(16, 8, 1024)), Err(Failure::Corrupt { .. })));
    // With room for all it keeps its payloads: the suite catches overlaps, not this contender.
    assert_eq!(verified(&runner, &case(16, 8, 64 << 10)), Ok(()));
}

#[test]
fn the_original_seed_loses_its_padding() {
    // 8 entries hold 768 B at most. Sizes that don't divide the pool leave padding at every wrap.
    let case = case(3, 8, 4096 - 8);
    assert!(matches!(
        verified(&Runner::of::<Seed<false>>(), &case),
        Err(Failure::Exhausted { .. })
    ));
    assert_eq!(verified(&Runner::of::<Seed<true>>(), &case), Ok(()));
    // For ever: with each lap less is left, until nothing fits though nothing is alive.
    let mut original = Seed::<false>::new(&case.plan()).unwrap();
    let mut put = |op: u64| {
        let refused =
            original.put(op as usize % 8, op, case.plan().largest_bytes, &Pattern).is_err();
        if refused {
            original.release_all();
        }
        refused
    };
    let stuck = (0..OPS).find(|&op| put(op) && put(op));
    assert!(stuck.is_some(), "an empty pool still refuses");
}
