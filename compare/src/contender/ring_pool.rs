//! The ring pool of both of our contenders: the plan's bytes, pages and largest payload, the
//! library's defaults for all the rest.

use slipring::region;
use slipring::ring::{CHUNK_BYTES_MIN, RingOptions, RingPool};

use crate::case::{Pages, Plan};

/// A pool is two chunks at least: a plan of less than 8 KiB, which only the suite has, gets that
/// much.
const POOL_BYTES_MIN: usize = 2 * CHUNK_BYTES_MIN;

pub fn ring_pool(plan: &Plan) -> Result<RingPool, String> {
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
