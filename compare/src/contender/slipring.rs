//! Our pool by the slot path, as a lane takes it: reserve, write, stage. An entry holds integers,
//! and the pool is told that the newest `slots` of them are protected: putting operation i into its
//! entry releases sequence i - slots by count; nothing is dropped.
//!
//! Sequences are released in order only. A lane's user who lets go of payloads in any order keeps
//! their slices instead of pushing them, so where releases come in random order the name `slipring`
//! stands for the same pool with kept slices, which is `slipring-raii`.

use slipring::ring::{Pushed, RingPool};

use super::ring_pool::ring_pool;
use super::{Contender, Exhausted, Fill};
use crate::case::Plan;

/// An entry is what a slot of a lane's ring holds: integers.
pub struct Slipring {
    pool: RingPool,
    entries: Vec<Option<Pushed>>,
}

impl Contender for Slipring {
    const NAME: &'static str = "slipring";
    const CHOOSES_PAGES: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        let slots = u32::try_from(plan.slots).map_err(|error| error.to_string())?;
        let mut pool = ring_pool(plan)?;
        pool.keep_newest(slots);
        Ok(Self { pool, entries: vec![None; plan.slots] })
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
        self.entries[entry] = Some(grant.push());
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        let pushed = self.entries[entry].expect("the entry has been put");
        check(self.pool.view(&pushed).expect("its sequence isn't released"))
    }
}
