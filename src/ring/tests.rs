//! Ring pools of a few tiny chunks, which wrap and fill up all the time.

mod cases;
mod model;

use super::{RingOptions, RingPool};
use crate::region::Pages;

pub(super) use model::{Model, op};

pub(super) const CHUNK: usize = 4096;
pub(super) const MAX: usize = 2048;

/// A pool of `chunks` chunks of 4 KiB.
pub(super) fn tiny(chunks: usize, window: usize, pinned: u32) -> RingPool {
    RingPool::new(&tiny_options(chunks, window, pinned)).expect("a tiny pool")
}

pub(super) fn tiny_options(chunks: usize, window: usize, pinned: u32) -> RingOptions {
    RingOptions {
        bytes: chunks * CHUNK,
        max_slice_bytes: MAX,
        chunk_bytes: Some(CHUNK),
        window_bytes: Some(window * CHUNK),
        pinned_chunks_max: Some(pinned),
        pages: Pages::Small,
        ..RingOptions::default()
    }
}
