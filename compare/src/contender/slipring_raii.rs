//! Our pool with RAII slices: an entry holds a `PoolSlice`, and replacing it drops the old one, in
//! any order that the user likes.

use slipring::ring::{PoolSlice, RingPool};

use super::ring_pool::ring_pool;
use super::{Contender, Exhausted, Fill};
use crate::case::Plan;

/// An entry is the slice itself.
pub struct SlipringRaii {
    pool: RingPool,
    entries: Vec<Option<PoolSlice>>,
}

impl Contender for SlipringRaii {
    const NAME: &'static str = "slipring-raii";
    const ANY_ORDER: bool = true;
    const CHOOSES_PAGES: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        Ok(Self { pool: ring_pool(plan)?, entries: (0..plan.slots).map(|_| None).collect() })
    }

    fn memory_bytes(&self) -> usize {
        self.pool.region_report().mapped_bytes
    }

    #[inline(always)]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        let mut grant = self.pool.reserve(bytes).map_err(|_| Exhausted)?;
        fill.fill(op, &mut grant);
        self.entries[entry] = Some(grant.commit_all());
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        check(self.entries[entry].as_ref().expect("the entry has been put"))
    }
}
