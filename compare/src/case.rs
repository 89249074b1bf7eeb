//! What is measured: how much of a payload is written, how large payloads are, how many are alive, how large the pool is.

use std::fmt::{self, Display};

/// The seed of the sizes: the same list in every run, so that two runs differ by the machine only.
pub const SEED: u64 = 0x5eed_0f51;

/// The list of sizes is prime in length, so that an entry meets another size on each lap.
const SIZES_COUNT: usize = 16381;

const VECTORS_MAX: usize = 8;

/// What an operation writes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Written {
    /// The number of the operation, in the first 8 bytes.
    Touch8,
    /// All of the payload, copied from a warm buffer as a receive does it.
    Whole,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pool {
    /// The smallest power of two >= slots x largest payload.
    Fit,
    Bytes(usize),
}

/// One case; its name says all of it: `touch8-mix-16x1024-fit` is 1 to 8 vectors of dimension 16, 1024 slots.
#[derive(Clone, Copy)]
pub struct Case {
    pub written: Written,
    pub dim: usize,
    pub slots: usize,
    pub pool: Pool,
}

/// What a contender must know before the first operation.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Payloads alive at once; one more for the moment between an allocation and the release that follows.
    pub slots: usize,
    pub largest_bytes: usize,
    pub pool_bytes: usize,
}

/// The cases of a run; the quick ones first.
pub fn all(quick: bool) -> Vec<Case> {
    let written: &[Written] = if quick { &[Written::Touch8] } else { &[Written::Touch8, Written::Whole] };
    let case = |written, pool| Case { written, dim: 16, slots: 1024, pool };
    written.iter().flat_map(|&written| [case(written, Pool::Fit), case(written, Pool::Bytes(2 << 30))]).collect()
}

impl Case {
    pub fn name(&self) -> String {
        let written = match self.written {
            Written::Touch8 => "touch8",
            Written::Whole => "write",
        };
        format!("{written}-mix-{}x{}-{}", self.dim, self.slots, self.pool)
    }

    pub fn plan(&self) -> Plan {
        let largest_bytes = VECTORS_MAX * self.dim * size_of::<f32>();
        let pool_bytes = match self.pool {
            Pool::Fit => (self.slots * largest_bytes).next_power_of_two(),
            Pool::Bytes(bytes) => bytes,
        };
        Plan { slots: self.slots, largest_bytes, pool_bytes }
    }

    /// Payload sizes in bytes, 1 to 8 vectors each with the same chance.
    pub fn sizes_bytes(&self) -> Vec<u32> {
        let mut state = SEED;
        let mut draw = || {
            // xorshift64: enough to keep a branch predictor from learning the sizes.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as usize % VECTORS_MAX + 1
        };
        let vector_bytes = self.dim * size_of::<f32>();
        (0..SIZES_COUNT).map(|_| u32::try_from(draw() * vector_bytes).expect("a payload is far below 4 GiB")).collect()
    }
}

impl Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Pool::Fit => f.write_str("fit"),
            Pool::Bytes(bytes) if bytes % (1 << 30) == 0 => write!(f, "{}GiB", bytes >> 30),
            Pool::Bytes(bytes) if bytes % (1 << 20) == 0 => write!(f, "{}MiB", bytes >> 20),
            Pool::Bytes(bytes) => write!(f, "{bytes}B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes_are_those_that_others_rely_on() {
        let quick = all(true);
        let names: Vec<String> = quick.iter().map(Case::name).collect();
        assert_eq!(names, ["touch8-mix-16x1024-fit", "touch8-mix-16x1024-2GiB"]);
        assert_eq!(all(false)[..2].iter().map(Case::name).collect::<Vec<_>>(), names);
        assert_eq!((quick[0].plan().pool_bytes, quick[0].plan().largest_bytes), (512 << 10, 512));
        assert_eq!(quick[1].plan().pool_bytes, 2 << 30);
        let sizes = quick[0].sizes_bytes();
        for vectors in 1..=8 {
            let share = sizes.iter().filter(|&&bytes| bytes == vectors * 64).count() * 100 / sizes.len();
            assert!((10..=15).contains(&share), "{vectors} vectors: {share} %");
        }
        assert!(sizes.iter().all(|&bytes| (64..=512).contains(&bytes) && bytes % 64 == 0));
    }
}
