//! Our ring pool, by the slot path and with RAII slices.

use slipring::region;
use slipring::ring::{CHUNK_BYTES_MIN, PoolSlice, Pushed, RingOptions, RingPool};

use super::case::Plan;
use super::contender::Contender;
use crate::memory::Pages;
use crate::payload::{Exhausted, Fill};

/// A pool has at least two chunks. A plan of less than 8 KiB, which only the suite has, gets this
/// much.
const POOL_BYTES_MIN: usize = 2 * CHUNK_BYTES_MIN;

/// The ring pool of both contenders: the plan's bytes, pages and largest payload, and the library's
/// defaults otherwise.
fn ring_pool(plan: &Plan) -> Result<RingPool, String> {
    let bytes = plan.pool_bytes.max(POOL_BYTES_MIN);
    let pages = match plan.pages {
        Pages::Small => region::Pages::Small,
        Pages::Thp => region::Pages::PreferThp,
        Pages::Huge2M => region::Pages::Require2M,
    };
    let options =
        RingOptions { bytes, max_slice_bytes: plan.largest_bytes, pages, ..RingOptions::default() };
    RingPool::new(&options).map_err(|error| error.to_string())
}

/// `slipring`: our pool by the slot path, as a lane uses it: reserve, write, push. An entry holds
/// the integers that a slot of a lane's ring holds. The pool protects the newest `slots` payloads:
/// putting operation i into its entry releases sequence i - slots by count, and nothing is dropped.
///
/// Sequences are released in order only. A user of a lane who releases payloads in any order keeps
/// their slices instead of pushing them. So where releases come in random order, the name
/// `slipring` means the same pool with kept slices, which is `slipring-raii`.
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

/// `slipring-raii`: our pool with RAII slices. An entry holds a `PoolSlice`, and replacing it drops
/// the old one, in any order that the user likes.
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
