//! Tests of lanes, on the real disruptor.

mod flow;

use super::{LaneSpec, StageSpec, Started};
use crate::region::Pages;
use crate::ring::PoolOptions;

/// Eight chunks of 4 KiB.
pub(super) fn tiny_pool() -> PoolOptions {
    PoolOptions {
        bytes: 8 * 4096,
        max_slice_bytes: 1024,
        chunk_bytes: Some(4096),
        window_bytes: Some(4 * 4096),
        pinned_chunks_max: Some(2),
        pages: Pages::Small,
        ..PoolOptions::default()
    }
}

pub(super) fn start(slots: usize, layers: Vec<Vec<StageSpec>>) -> Started<u64> {
    let spec = layers.into_iter().fold(LaneSpec::new(tiny_pool(), slots), LaneSpec::layer);
    spec.start().expect("a tiny lane")
}
