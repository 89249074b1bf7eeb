//! Direct buffers: those larger than the largest class, and fresh ones at a limit. They come from
//! the system's allocator and go back to it.
//!
//! ```text
//!   │ header, 64 bytes: capacity │ payload, from a cache line on │
//! ```
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::Arc;

use super::block::Block;
use super::error::GetError;
use super::shared::Shared;
use super::table::CLASS_UNIT_BYTES;
use crate::sync::Ordering;

const HEADER_BYTES: usize = CLASS_UNIT_BYTES;
/// The largest payload: with its header, and rounded up to lines, an allocation is at most
/// `isize::MAX` bytes.
pub(crate) const BYTES_MAX: usize = (isize::MAX as usize & !(CLASS_UNIT_BYTES - 1)) - HEADER_BYTES;

/// Allocates zeroed memory for `len` bytes. The pool stays alive until it is freed.
pub(crate) fn allocate(shared: &Arc<Shared>, len: usize) -> Result<Block, GetError> {
    let asked_bytes = len;
    let layout = layout(len).ok_or(GetError::TooLarge { asked_bytes })?;
    // SAFETY: I105. The layout holds the header, so it isn't empty.
    let base = unsafe { alloc_zeroed(layout) };
    let base = NonNull::new(base).ok_or(GetError::OutOfMemory { asked_bytes })?;
    // SAFETY: I105. The header comes first and holds a usize.
    unsafe { base.cast::<usize>().write(len) };
    // SAFETY: I105. The payload follows the header.
    let at = unsafe { base.add(HEADER_BYTES) };
    let counts = &shared.direct().counts;
    counts.direct.fetch_add(1, Ordering::Relaxed);
    counts.direct_bytes.fetch_add(len as u64, Ordering::Relaxed);
    // One reference count of the pool per direct buffer, given back by `free`.
    let _ = Arc::into_raw(Arc::clone(shared));
    Ok(Block::new(at))
}

/// The capacity of a direct buffer.
pub(crate) fn capacity(at: NonNull<u8>) -> usize {
    // SAFETY: I105. `at` is a direct buffer's payload, so its header comes right before it.
    let header = unsafe { at.sub(HEADER_BYTES) };
    // SAFETY: I105. `allocate` wrote the header, and nobody writes it again.
    unsafe { header.cast::<usize>().read() }
}

/// Frees a direct buffer of this pool.
pub(crate) fn free(shared: &Arc<Shared>, block: Block) {
    let capacity = capacity(block.at());
    let layout = layout(capacity).expect("it had a layout when it was allocated");
    // SAFETY: I105. The allocation begins with the header.
    let base = unsafe { block.at().sub(HEADER_BYTES) };
    // SAFETY: I105. It was allocated with this layout, and only the block could reach it.
    unsafe { dealloc(base.as_ptr(), layout) };
    shared.direct().counts.direct_puts.fetch_add(1, Ordering::Relaxed);
    // SAFETY: I105. `allocate` took this count for the buffer; it is given back once, here.
    unsafe { Arc::decrement_strong_count(Arc::as_ptr(shared)) };
}

/// Zeroes a whole buffer, also where the compiler would drop the writes as unread.
pub(crate) fn zero(block: &Block, capacity: usize) {
    // SAFETY: I100. The holder of the block owns its bytes, `capacity` of them.
    unsafe { block.at().write_bytes(0, capacity) };
    black_box(block.at());
}

fn layout(len: usize) -> Option<Layout> {
    Layout::from_size_align(len.checked_add(HEADER_BYTES)?, CLASS_UNIT_BYTES).ok()
}
