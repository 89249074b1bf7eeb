//! Random tests: how many runs, how often they check, and numbers from a seed.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngAlgorithm;

/// The number of random runs: `SLIPRING_ROUNDS`, by default 256, and 4 under Miri. Under Miri the
/// numbers come from a cheap generator: drawing them with proptest's own takes longer than what is
/// tested.
pub fn random_runs() -> ProptestConfig {
    let default = if cfg!(miri) { 4 } else { 256 };
    let cases = std::env::var("SLIPRING_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(default);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    if cfg!(miri) {
        ProptestConfig { rng_algorithm: RngAlgorithm::XorShift, ..config }
    } else {
        config
    }
}

/// Whether a model checks everything after this many operations: after each, but under Miri, where
/// the checks take most of the time, after every eighth.
pub fn looks_after(operations: usize) -> bool {
    !cfg!(miri) || operations.is_multiple_of(8)
}

/// Numbers that follow from a seed (xorshift64*).
pub struct Draw(u64);

impl Draw {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// Any number.
    #[expect(clippy::should_implement_trait, reason = "the numbers have no end")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 32) % bound
    }
}
