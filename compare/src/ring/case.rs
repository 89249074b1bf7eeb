//! What is measured on one thread: how much of a payload is written, how large payloads are, how
//! many are alive, in which order they are released, how large the pool is and on which pages. And
//! the cases of a run: the quick four, all of them, and two sweeps.
//!
//! No case needs more than 8 GiB: one contender is alive at a time, and none of them reserves more
//! than twice the pool.

use std::fmt::{self, Display};

use clap::ValueEnum;

use crate::measure::Rounds;
use crate::memory::Pages;
use crate::payload::{Draw, Size, narrow};

/// The number of drawn sizes is prime, so that an entry gets another size on each lap.
const SIZES_COUNT: usize = 16381;

/// The number of drawn entries is prime too, and large enough that each of 1024 entries is drawn.
const ENTRIES_COUNT: usize = 32749;

/// The most bytes that a repeat may write, and that the verified pass may write.
const WRITTEN_BYTES_MAX: usize = 8 << 30;
const VERIFIED_BYTES_MAX: usize = 1 << 30;

const VECTORS_MAX: usize = 8;

/// What an operation writes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Written {
    /// The number of the operation, in the first 8 bytes.
    Touch8,
    /// The whole payload, copied from a warm buffer as a receive copies it.
    Whole,
}

/// How large payloads are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Payload {
    /// 1 to 8 vectors, each number equally likely.
    Mixed,
    /// Always this many vectors.
    Vectors(usize),
    /// Always this many bytes: for strides that are multiples of 4096, which map to the same sets
    /// of the cache.
    Bytes(usize),
}

/// How large the pool is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pool {
    /// The smallest power of two that holds `slots` of the largest payload. Twice that where every
    /// payload has that size, because an operation allocates before it releases and the end of a
    /// pool, or of a chunk, leaves an unused tail.
    Fit,
    Bytes(usize),
}

/// Which payload an operation releases.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Order {
    /// The oldest: entries are replaced 0, 1 ... slots - 1, 0.
    Oldest,
    /// Any: after a first lap in order, each operation replaces the next entry of a list that was
    /// drawn before the clock.
    Random,
}

/// One case. Its name describes it completely: `touch8-mix-16x1024-fit` is 1 to 8 vectors of
/// dimension 16, 1024 slots.
#[derive(Clone, Copy)]
pub struct Case {
    pub written: Written,
    pub payload: Payload,
    /// Components of a vector, of 4 bytes each; unused where payloads are given in bytes.
    pub dim: usize,
    pub slots: usize,
    pub pool: Pool,
    pub pages: Pages,
    pub order: Order,
}

/// What a contender must know before the first operation.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Payloads alive at any time. One more is alive between an allocation and the release that
    /// follows it.
    pub slots: usize,
    pub largest_bytes: usize,
    pub pool_bytes: usize,
    pub pages: Pages,
}

/// The lists drawn before the clock: the same for every contender.
pub struct Drawn {
    /// Payload sizes in bytes, used in turn.
    pub sizes: Vec<u32>,
    /// The entries to replace, used in turn; none where the oldest payload is released.
    pub entries: Option<Vec<u32>>,
}

impl Case {
    /// The case that the others are variants of: `touch8-mix-16x1024-fit`.
    pub const FIT: Self = Self {
        written: Written::Touch8,
        payload: Payload::Mixed,
        dim: 16,
        slots: 1024,
        pool: Pool::Fit,
        pages: Pages::Thp,
        order: Order::Oldest,
    };

    pub fn name(&self) -> String {
        let Self { dim, slots, pool, .. } = self;
        let written = match self.written {
            Written::Touch8 => "touch8",
            Written::Whole => "write",
        };
        let pages = match self.pages {
            Pages::Small => "-4KiB-pages",
            Pages::Thp => "",
            Pages::Huge2M => "-2MiB-pages",
        };
        match (self.order, self.payload) {
            (Order::Random, _) => format!("{written}-random-order"),
            (_, Payload::Mixed) => format!("{written}-mix-{dim}x{slots}-{pool}{pages}"),
            (_, Payload::Vectors(vectors)) => {
                format!("{written}-{vectors}v-{dim}x{slots}-{pool}{pages}")
            }
            (_, Payload::Bytes(bytes)) => format!("{written}-{}-{pool}{pages}", Size(bytes)),
        }
    }

    pub fn plan(&self) -> Plan {
        let largest_bytes = self.largest_bytes();
        let full = (self.slots * largest_bytes).next_power_of_two();
        let pool_bytes = match (self.pool, self.payload) {
            (Pool::Bytes(bytes), _) => bytes,
            (Pool::Fit, Payload::Mixed) => full,
            (Pool::Fit, _) => 2 * full,
        };
        Plan { slots: self.slots, largest_bytes, pool_bytes, pages: self.pages }
    }

    pub fn largest_bytes(&self) -> usize {
        let vector_bytes = self.dim * size_of::<f32>();
        match self.payload {
            Payload::Mixed => VECTORS_MAX * vector_bytes,
            Payload::Vectors(vectors) => vectors * vector_bytes,
            Payload::Bytes(bytes) => bytes,
        }
    }

    pub fn mean_bytes(&self) -> usize {
        match self.payload {
            Payload::Mixed => self.largest_bytes() * (VECTORS_MAX + 1) / (2 * VECTORS_MAX),
            _ => self.largest_bytes(),
        }
    }

    /// How much of the rounds this case gets: large payloads get fewer operations, so that no
    /// repeat takes much longer than the others.
    pub fn rounds(&self, rounds: &Rounds) -> Rounds {
        let within = |ops: u64, bytes: usize| ops.min((bytes / self.mean_bytes()) as u64);
        let ops = match self.written {
            Written::Touch8 => rounds.ops,
            Written::Whole => within(rounds.ops, WRITTEN_BYTES_MAX),
        };
        let verified_ops = within(rounds.verified_ops, VERIFIED_BYTES_MAX);
        Rounds { repeats: rounds.repeats, ops, verified_ops }
    }

    /// Draws the lists of the case, the same ones each time.
    pub fn drawn(&self) -> Drawn {
        let mut draw = Draw::new();
        let vector_bytes = self.dim * size_of::<f32>();
        let mut size = || match self.payload {
            Payload::Mixed => (draw.next() % VECTORS_MAX + 1) * vector_bytes,
            _ => self.largest_bytes(),
        };
        let sizes = (0..SIZES_COUNT).map(|_| narrow(size())).collect();
        let mut entries = || (0..ENTRIES_COUNT).map(|_| narrow(draw.next() % self.slots)).collect();
        Drawn { sizes, entries: (self.order == Order::Random).then(&mut entries) }
    }
}

impl Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Pool::Fit => f.write_str("fit"),
            Pool::Bytes(bytes) => Size(bytes).fmt(f),
        }
    }
}

const POOL_BYTES_MIN: usize = 32 << 10;
const POOL_BYTES_MAX: usize = 2 << 30;
const SLOTS: usize = 1024;

/// The pool for releases in random order: the smallest power of two in which our pool never refuses
/// a payload. There it needs several times the live bytes, because a chunk is reclaimed only after
/// its last slice. With 288 KiB alive on average, two million operations need at most 3 MiB with
/// the default chunks and 3.5 MiB with chunks of 256 KiB; a pool of 2 MiB refuses with every chunk
/// size from 64 KiB on.
const RANDOM_ORDER_POOL_BYTES: usize = 4 << 20;

/// A series of cases that differ by one size, for a plot.
#[derive(Clone, Copy, ValueEnum, PartialEq, Debug)]
pub enum Sweep {
    /// Pools of 32 KiB to 2 GiB, touched, 1 to 8 vectors of 16 dimensions
    Pools,
    /// 1, 2, 4 ... 64 vectors of 128 dimensions, touched, pools that fit
    AllocSizes,
}

/// The four cases that have targets.
pub fn quick() -> Vec<Case> {
    vec![
        Case::FIT,
        pool_of(POOL_BYTES_MAX),
        bytes_of(Written::Whole, 4 << 10),
        Case { order: Order::Random, pool: Pool::Bytes(RANDOM_ORDER_POOL_BYTES), ..Case::FIT },
    ]
}

/// Every case: the quick ones; sizes by slots by dimensions in pools that fit; pool sizes; strides;
/// pages.
pub fn all() -> Vec<Case> {
    let mut cases = quick();
    for (written, dim) in pairs([Written::Touch8, Written::Whole], [16, 128]) {
        for (slots, payload) in pairs([SLOTS, 65536], SIZES) {
            let case = Case { written, payload, dim, slots, ..Case::FIT };
            // 65536 payloads of 64 vectors of 128 dimensions fill the largest pool and leave no
            // room for the one that is allocated before the oldest is released.
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
pub fn swept(sweep: Sweep) -> Vec<Case> {
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

/// The touched mix in a pool of this many bytes: 1024 slots, or as many as leave half of the pool
/// free when all payloads have the largest size.
fn pool_of(bytes: usize) -> Case {
    let slots = SLOTS.min(bytes / (2 * Case::FIT.largest_bytes()));
    Case { slots, pool: Pool::Bytes(bytes), ..Case::FIT }
}

/// Payloads of this many bytes in the largest pool.
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

    #[test]
    fn sizes_are_those_of_the_name() {
        assert_eq!((Case::FIT.plan().pool_bytes, Case::FIT.plan().largest_bytes), (512 << 10, 512));
        let sizes = Case::FIT.drawn().sizes;
        for vectors in 1..=8 {
            let share =
                sizes.iter().filter(|&&bytes| bytes == vectors * 64).count() * 100 / sizes.len();
            assert!((10..=15).contains(&share), "{vectors} vectors: {share} %");
        }
        assert!(sizes.iter().all(|&bytes| (64..=512).contains(&bytes) && bytes % 64 == 0));
        let mean = sizes.iter().map(|&bytes| bytes as usize).sum::<usize>() / sizes.len();
        assert!(mean.abs_diff(Case::FIT.mean_bytes()) < 8, "{mean} B");

        let fixed = Case { payload: Payload::Vectors(64), dim: 128, ..Case::FIT };
        assert_eq!(
            (fixed.name().as_str(), fixed.mean_bytes()),
            ("touch8-64v-128x1024-fit", 32 << 10)
        );
        assert_eq!(fixed.plan().pool_bytes, 64 << 20, "room for one more before the oldest goes");
        assert!(fixed.drawn().sizes.iter().all(|&bytes| bytes == 32 << 10));
    }

    #[test]
    fn every_entry_is_drawn() {
        let drawn = Case { order: Order::Random, ..Case::FIT }.drawn();
        assert_eq!(drawn.sizes, Case::FIT.drawn().sizes, "the order changes nothing else");
        let mut entries = drawn.entries.expect("the order is random");
        entries.sort_unstable();
        entries.dedup();
        assert!(entries.iter().copied().eq(0..1024));
    }

    #[test]
    fn large_payloads_get_fewer_operations() {
        let case = Case { written: Written::Whole, payload: Payload::Bytes(32 << 10), ..Case::FIT };
        let full = Rounds { repeats: 21, ops: 2_000_000, verified_ops: 500_000 };
        let rounds = case.rounds(&full);
        assert_eq!(
            (rounds.repeats, rounds.ops, rounds.verified_ops),
            (full.repeats, 256 << 10, 32 << 10)
        );
        let touched = Case { written: Written::Touch8, ..case }.rounds(&full);
        assert_eq!((touched.ops, touched.verified_ops), (full.ops, 32 << 10));
        assert_eq!(Case::FIT.rounds(&full).ops, full.ops);
    }

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
        let pools = swept(Sweep::Pools);
        assert_eq!((pools.len(), names(&pools)[0].as_str()), (17, "touch8-mix-16x32-32KiB"));
        assert_eq!(names(&pools)[16], expected[1]);
        let sizes = names(&swept(Sweep::AllocSizes));
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
    fn each_name_is_one_case() {
        let mut sorted = names(&all());
        let count = sorted.len();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), count);
    }
}
