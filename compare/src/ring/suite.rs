//! The suite that every contender runs, at sizes where wrap, full and the end of a lap come every
//! few operations. Two defective contenders must not pass it.

use super::arc_ring::CountedRing;
use super::case::{Case, Drawn, Order, Plan, Pool, Sweep, Written, all, swept};
use super::contender::Contender;
use super::harness::{Failure, Runner, Setting, measure, runner};
use super::run::contenders;
use crate::measure::Rounds;
use crate::memory::Pages;
use crate::payload::{Exhausted, Fill, Pattern};

const OPS: u64 = 20_000;

/// A ring that never checks what is alive: the defect that verification exists for.
struct Overlapping {
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
    (runner.verify)(&Setting::of(case), OPS)
}

#[test]
fn every_contender_keeps_its_payloads() {
    for case in
        [case(2, 8, 8 << 10), case(16, 8, 16 << 10), case(16, 64, 64 << 10), case(3, 7, 9 << 10)]
    {
        for runner in contenders() {
            assert_eq!(verified(&runner, &case), Ok(()), "{} in {}", runner.name, case.name());
        }
    }
}

#[test]
fn a_contender_that_releases_in_any_order_keeps_its_payloads() {
    let random = |slots, pool_bytes| Case { order: Order::Random, ..case(16, slots, pool_bytes) };
    let mut names = Vec::new();
    for case in [random(8, 128 << 10), random(64, 256 << 10)] {
        names = contenders()
            .into_iter()
            .filter(|runner| (runner.takes_part)(&Setting::of(&case)))
            .map(|runner| {
                assert_eq!(verified(&runner, &case), Ok(()), "{} in {}", runner.name, case.name());
                runner.name
            })
            .collect();
    }
    let rivals = ["free-list", "inline-slots", "glibc", "mimalloc", "jemalloc", "bytes"];
    assert_eq!(names[..3], ["empty-harness", "slipring", "slipring-raii"]);
    assert_eq!(names[3..], rivals);
    // A contender that releases in order only is caught, so none of them takes part by mistake.
    let in_order = verified(&runner::<CountedRing<true>>(), &random(8, 4096));
    assert!(matches!(in_order, Err(Failure::Corrupt { .. })), "{in_order:?}");
}

#[test]
fn every_contender_refuses_before_it_overwrites() {
    // Pools from two largest payloads for eight entries to nearly enough, and many short runs,
    // since each ends at its first refusal: the live payloads, the padding and the next payload
    // meet the end of the pool in every proportion.
    for pool_bytes in (1024..4608).step_by(192) {
        let case = case(16, 8, pool_bytes);
        let sizes = case.drawn().sizes;
        for (runner, start) in
            contenders().iter().flat_map(|runner| (0..40).map(move |start| (runner, start * 100)))
        {
            let drawn = Drawn { sizes: sizes[start..start + 100].to_vec(), entries: None };
            let outcome = (runner.verify)(&Setting { case, drawn }, 100);
            assert!(
                matches!(outcome, Ok(()) | Err(Failure::Exhausted { .. })),
                "{} in {pool_bytes} B from size {start}: {outcome:?}",
                runner.name
            );
        }
    }
    let full = verified(&runner::<CountedRing<true>>(), &case(16, 8, 1024));
    assert!(matches!(full, Err(Failure::Exhausted { .. })), "a full pool is seen");
}

#[test]
fn an_overlap_is_caught() {
    let runner = runner::<Overlapping>();
    assert!(matches!(verified(&runner, &case(16, 8, 1024)), Err(Failure::Corrupt { .. })));
    // With room for all it keeps its payloads: the suite catches overlaps, not this contender.
    assert_eq!(verified(&runner, &case(16, 8, 64 << 10)), Ok(()));
}

#[test]
fn padding_that_is_never_released_fills_the_pool() {
    // 8 entries hold 768 B at most. Sizes that don't divide the pool leave padding at every wrap.
    let case = case(3, 8, 4096 - 8);
    assert!(matches!(
        verified(&runner::<CountedRing<false>>(), &case),
        Err(Failure::Exhausted { .. })
    ));
    assert_eq!(verified(&runner::<CountedRing<true>>(), &case), Ok(()));
    // For ever: each lap leaves less room, until nothing fits though nothing is alive.
    let mut leaky = CountedRing::<false>::new(&case.plan()).unwrap();
    let mut put = |op: u64| {
        let refused = leaky.put(op as usize % 8, op, case.plan().largest_bytes, &Pattern).is_err();
        if refused {
            leaky.release_all();
        }
        refused
    };
    let stuck = (0..OPS).find(|&op| put(op) && put(op));
    assert!(stuck.is_some(), "an empty pool still refuses");
}

#[test]
fn every_contender_is_measured_in_every_repeat() {
    let rounds = Rounds { repeats: 3, ops: 1000, verified_ops: 1000 };
    for order in [Order::Oldest, Order::Random] {
        let case = Case {
            written: Written::Whole,
            slots: 8,
            pool: Pool::Bytes(128 << 10),
            order,
            ..Case::FIT
        };
        let contenders = contenders();
        let timings = measure(&case, &contenders, &rounds).unwrap();
        let setting = Setting::of(&case);
        let expected = contenders.iter().filter(|runner| (runner.takes_part)(&setting));
        assert!(
            expected.map(|runner| runner.name).eq(timings.iter().map(|timing| timing.contender))
        );
        assert!(
            timings
                .iter()
                .all(|timing| timing.ns_per_op.len() == 3 && timing.min_ns() <= timing.median_ns())
        );
    }
}

#[test]
fn an_overlap_is_caught_after_the_clock_too() {
    let rounds = Rounds { repeats: 1, ops: 1000, verified_ops: 0 };
    for order in [Order::Oldest, Order::Random] {
        let case =
            Case { written: Written::Whole, slots: 8, pool: Pool::Bytes(1024), order, ..Case::FIT };
        let failure = measure(&case, &[runner::<Overlapping>()], &rounds).err().unwrap_or_default();
        assert!(failure.starts_with("overlapping: entry"), "{failure}");
    }
}

/// The same case with few slots and a small pool, which is still large enough for chunks of a few
/// slices each.
fn small(case: &Case) -> Case {
    let slots = case.slots.min(16);
    let least = if case.order == Order::Random { 16 } else { 4 } * slots * case.largest_bytes();
    let pool = Pool::Bytes(case.plan().pool_bytes.min(least.next_power_of_two().max(32 << 10)));
    // Not every machine has reserved pages; they differ by one flag of a mapping.
    let pages = if case.pages == Pages::Huge2M { Pages::Thp } else { case.pages };
    Case { slots, pool, pages, ..*case }
}

#[test]
fn every_case_runs_at_a_small_size() {
    let rounds = Rounds { repeats: 1, ops: 200, verified_ops: 200 };
    let contenders = contenders();
    for case in all().into_iter().chain(swept(Sweep::Pools)).chain(swept(Sweep::AllocSizes)) {
        let timings = measure(&small(&case), &contenders, &rounds);
        let timings = timings.unwrap_or_else(|failure| panic!("{}: {failure}", case.name()));
        assert!(timings.iter().any(|timing| timing.contender == "slipring"), "{}", case.name());
    }
}
