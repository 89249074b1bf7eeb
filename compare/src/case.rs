//! What is measured: how much of a payload is written, how large payloads are, how many are alive,
//! in which order they go, how large the pool is and on which pages it lies. Which cases a run has
//! stands in [`crate::catalog`].

use std::fmt::{self, Display};

/// The seed of sizes and entries: the same lists in every run, so that two runs differ by the
/// machine only.
pub const SEED: u64 = 0x5eed_0f51;

/// The list of sizes is prime in length, so that an entry meets another size on each lap.
const SIZES_COUNT: usize = 16381;

/// The list of entries is prime too, and long enough that every one of 1024 entries stands in it.
const ENTRIES_COUNT: usize = 32749;

const VECTORS_MAX: usize = 8;

/// What an operation writes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Written {
    /// The number of the operation, in the first 8 bytes.
    Touch8,
    /// All of the payload, copied from a warm buffer as a receive does it.
    Whole,
}

/// How large payloads are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Payload {
    /// 1 to 8 vectors, each number with the same chance.
    Mixed,
    /// Always so many vectors.
    Vectors(usize),
    /// Always so many bytes: for strides that are multiples of 4096, which meet the same sets of
    /// the cache.
    Bytes(usize),
}

/// How large the pool is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pool {
    /// The smallest power of two that holds `slots` of the largest payload; twice that where every
    /// payload is of that size, because an operation allocates before it releases and the end of a
    /// pool, or of a chunk, leaves a tail.
    Fit,
    Bytes(usize),
}

/// What the pool lies on. A contender whose memory isn't a mapping of ours takes part with
/// [`Pages::Thp`] only.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pages {
    /// 4 KiB, and no larger ones even where the kernel would give them.
    Small,
    /// Transparent huge pages where the kernel gives them: every case that doesn't say otherwise.
    Thp,
    /// Reserved pages of 2 MiB.
    Huge2M,
}

/// Which payload goes when another comes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Order {
    /// The oldest: entries are replaced 0, 1 ... slots - 1, 0.
    Oldest,
    /// Any: after a first lap in order, each operation replaces an entry from a list that was drawn
    /// before the clock.
    Random,
}

/// One case; its name says all of it: `touch8-mix-16x1024-fit` is 1 to 8 vectors of dimension 16,
/// 1024 slots.
#[derive(Clone, Copy)]
pub struct Case {
    pub written: Written,
    pub payload: Payload,
    /// Components of a vector, of 4 bytes each; nothing to payloads that are given in bytes.
    pub dim: usize,
    pub slots: usize,
    pub pool: Pool,
    pub pages: Pages,
    pub order: Order,
}

/// What a contender must know before the first operation.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Payloads alive at once; one more for the moment between an allocation and the release that
    /// follows.
    pub slots: usize,
    pub largest_bytes: usize,
    pub pool_bytes: usize,
    pub pages: Pages,
}

/// What was drawn before the clock: the same for every contender.
pub struct Drawn {
    /// Payload sizes in bytes, used in turn.
    pub sizes: Vec<u32>,
    /// The entries to replace, used in turn; none where the oldest goes.
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

    pub fn drawn(&self) -> Drawn {
        let mut state = SEED;
        let mut draw = || {
            // xorshift64: enough to keep a branch predictor from learning the lists.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as usize
        };
        let vector_bytes = self.dim * size_of::<f32>();
        let mut size = || match self.payload {
            Payload::Mixed => (draw() % VECTORS_MAX + 1) * vector_bytes,
            _ => self.largest_bytes(),
        };
        let narrow =
            |number: usize| u32::try_from(number).expect("sizes and slots are far below 4 Gi");
        let sizes = (0..SIZES_COUNT).map(|_| narrow(size())).collect();
        let mut entries = || (0..ENTRIES_COUNT).map(|_| narrow(draw() % self.slots)).collect();
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

impl Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pages::Small => "pages of 4 KiB",
            Pages::Thp => "transparent huge pages",
            Pages::Huge2M => "reserved pages of 2 MiB",
        })
    }
}

/// Bytes in the largest unit that leaves no rest.
pub struct Size(pub usize);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = |(shift, _): &&(u32, &str)| self.0 > 0 && self.0.is_multiple_of(1 << shift);
        match units.iter().find(whole) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
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
    fn sizes_have_the_largest_whole_unit() {
        let texts =
            [0, 24, 1 << 10, 9 << 10, 1 << 20, 2 << 30].map(|bytes| Size(bytes).to_string());
        assert_eq!(texts, ["0B", "24B", "1KiB", "9KiB", "1MiB", "2GiB"]);
    }
}
