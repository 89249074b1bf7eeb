//! The cases of a run on one thread: the quick four, all, and two sweeps.
//!
//! None needs more than 8 GiB: one contender lives at a time, and none of them holds more than
//! twice a pool.

use clap::ValueEnum;

use crate::case::{Case, Order, Pages, Payload, Pool, Written};

const POOL_BYTES_MIN: usize = 32 << 10;
const POOL_BYTES_MAX: usize = 2 << 30;
const SLOTS: usize = 1024;

/// The pool for releases in random order: the smallest power of two that never refuses our pool,
/// which needs several times the live bytes there because a chunk waits for its last slice. Of 288
/// KiB alive on average two million operations make 3 MiB at most with the default chunks, 3.5 MiB
/// with chunks of 256 KiB; 2 MiB are refused with every chunk from 64 KiB on.
const RANDOM_ORDER_POOL_BYTES: usize = 4 << 20;

/// One line through the cases, for a plot.
#[derive(Clone, Copy, ValueEnum, PartialEq, Debug)]
pub enum Sweep {
    /// Pools of 32 KiB to 2 GiB, touched, 1 to 8 vectors of 16 dimensions
    Pools,
    /// 1, 2, 4 ... 64 vectors of 128 dimensions, touched, pools that fit
    AllocSizes,
}

/// The four cases that targets are set for.
pub fn quick() -> Vec<Case> {
    vec![
        Case::FIT,
        pool_of(POOL_BYTES_MAX),
        bytes_of(Written::Whole, 4 << 10),
        Case { order: Order::Random, pool: Pool::Bytes(RANDOM_ORDER_POOL_BYTES), ..Case::FIT },
    ]
}

/// Every case: the quick ones, sizes by slots by dimensions in pools that fit, pools, strides,
/// pages.
pub fn all() -> Vec<Case> {
    let mut cases = quick();
    for (written, dim) in pairs([Written::Touch8, Written::Whole], [16, 128]) {
        for (slots, payload) in pairs([SLOTS, 65536], SIZES) {
            let case = Case { written, payload, dim, slots, ..Case::FIT };
            // 65536 payloads of 64 vectors of 128 dimensions fill the largest pool, without room
            // for the one that comes before the oldest goes.
            if case.plan().pool_bytes <= POOL_BYTES_MAX {
                cases.push(case);
            }
        }
        cases.push(Case { written, dim, pool: Pool::Bytes(POOL_BYTES_MAX), ..Case::FIT });
    }
    cases.extend([POOL_BYTES_MIN, 256 << 10, 4 << 20, 32 << 20, 256 << 20].map(pool_of));
    for (written, bytes) in pairs([Written::Touch8, Written::Whole], [4 << 10, 8 << 10]) {
        let stride = bytes_of(written, bytes);
        cases.extend([stride, Case { pool: Pool::Fit, ..stride }]);
    }
    for (case, pages) in pairs([pool_of(POOL_BYTES_MAX), bytes_of(Written::Whole, 4 << 10)], PAGES)
    {
        cases.push(Case { pages, ..case });
    }
    let mut seen = Vec::new();
    cases.retain(|case| {
        let new = !seen.contains(&case.name());
        seen.push(case.name());
        new
    });
    cases
}

/// The cases of a sweep.
pub fn sweep(sweep: Sweep) -> Vec<Case> {
    match sweep {
        Sweep::Pools => (POOL_BYTES_MIN.ilog2()..=POOL_BYTES_MAX.ilog2())
            .map(|shift| pool_of(1 << shift))
            .collect(),
        Sweep::AllocSizes => {
            let vectors = (0..=6).map(|shift| Payload::Vectors(1 << shift));
            vectors.map(|payload| Case { payload, dim: 128, ..Case::FIT }).collect()
        }
    }
}

const SIZES: [Payload; 4] =
    [Payload::Vectors(1), Payload::Vectors(8), Payload::Vectors(64), Payload::Mixed];

const PAGES: [Pages; 2] = [Pages::Small, Pages::Huge2M];

/// The touched mix in a pool of so many bytes: 1024 slots, or as many as leave half of the pool
/// free when all are of the largest size.
fn pool_of(bytes: usize) -> Case {
    let slots = SLOTS.min(bytes / (2 * Case::FIT.largest_bytes()));
    Case { slots, pool: Pool::Bytes(bytes), ..Case::FIT }
}

/// Payloads of so many bytes in the largest pool.
fn bytes_of(written: Written, bytes: usize) -> Case {
    Case { written, payload: Payload::Bytes(bytes), pool: Pool::Bytes(POOL_BYTES_MAX), ..Case::FIT }
}

fn pairs<A: Copy, B: Copy, const N: usize, const M: usize>(
    left: [A; N],
    right: [B; M],
) -> Vec<(A, B)> {
    left.into_iter().flat_map(|a| right.map(|b| (a, b))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender;
    use crate::harness::{Rounds, measure};

    fn names(cases: &[Case]) -> Vec<String> {
        cases.iter().map(Case::name).collect()
    }

    #[test]
    fn names_are_those_that_others_rely_on() {
        let expected = [
            "touch8-mix-16x1024-fit",
            "touch8-mix-16x1024-2GiB",
            "write-4KiB-2GiB",
            "touch8-random-order",
        ];
        assert_eq!(names(&quick()), expected);
        assert_eq!(names(&all())[..4], expected);
        let pools = sweep(Sweep::Pools);
        assert_eq!((pools.len(), names(&pools)[0].as_str()), (17, "touch8-mix-16x32-32KiB"));
        assert_eq!(names(&pools)[16], expected[1]);
        let sizes = names(&sweep(Sweep::AllocSizes));
        let expected =
            [1, 2, 4, 8, 16, 32, 64].map(|vectors| format!("touch8-{vectors}v-128x1024-fit"));
        assert_eq!(sizes, expected);
        for part in [
            "write-64v-128x1024-fit",
            "write-mix-16x65536-fit",
            "touch8-8KiB-fit",
            "write-4KiB-2GiB-2MiB-pages",
        ] {
            assert!(names(&all()).iter().any(|name| name == part), "{part}");
        }
    }

    #[test]
    fn names_stand_for_one_case_each() {
        let mut sorted = names(&all());
        let count = sorted.len();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), count);
    }

    /// The same case with few slots and a pool that is small, but large enough for the chunks of a
    /// few slices each that it is cut into.
    fn small(case: &Case) -> Case {
        let slots = case.slots.min(16);
        let least = if case.order == Order::Random { 16 } else { 4 } * slots * case.largest_bytes();
        let pool =
            Pool::Bytes(case.plan().pool_bytes.min(least.next_power_of_two().max(POOL_BYTES_MIN)));
        // Reserved pages aren't there on every machine; what they change is one flag of a mapping.
        let pages = if case.pages == Pages::Huge2M { Pages::Thp } else { case.pages };
        Case { slots, pool, pages, ..*case }
    }

    #[test]
    fn every_case_runs_at_a_small_size() {
        let rounds = Rounds { repeats: 1, ops: 200, verified_ops: 200 };
        let contenders = contender::all();
        for case in all().into_iter().chain(sweep(Sweep::Pools)).chain(sweep(Sweep::AllocSizes)) {
            let timings = measure(&small(&case), &contenders, &rounds);
            let timings = timings.unwrap_or_else(|failure| panic!("{}: {failure}", case.name()));
            assert!(timings.iter().any(|timing| timing.contender == "slipring"), "{}", case.name());
        }
    }
}
