//! Putting a buffer back: near, into the bin of the thread that drops it; far, into the class's
//! store, or to the system's allocator. It faces [`get`](mod@super::get).
//!
//! Promises that nothing of the pool is used after its last block is back: putting back the last
//! block frees the pool if no handle is left. That is why the class is passed as a pointer here: a
//! reference would have to stay valid until the call returns.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;

use super::bin::{Bin, Blocks};
use super::memory::{Block, free_direct};
use super::shared::{BinAt, Class, ClassShared};
use super::threads::{make_near, with_bin};
use crate::sync::Ordering;

/// Puts a block back.
///
/// # Safety
/// - The class is the one that the block comes from, and the block was counted as away, or is
///   direct and holds a count of the pool: so the pool is alive.
#[inline]
pub(crate) unsafe fn put(class: NonNull<Class>, block: Block) {
    let (pool_id, bin) = {
        // SAFETY: I107. The pool lives while the block is away.
        let class = unsafe { class.as_ref() };
        (class.pool_id, class.bin)
    };
    if let Some(block) = put_near(pool_id, bin, block) {
        // SAFETY: I107. The block is still away.
        unsafe { put_far(class, block) };
    }
}

/// Puts the block into the thread's bin. It is returned if the bin is full, its owner is locked
/// out, or the pool's bins aren't near: then `with_bin` returns `None`, and `block` is still here.
#[inline]
fn put_near(pool_id: u64, bin: BinAt, block: Block) -> Option<Block> {
    let mut block = Some(block);
    let refused = with_bin(pool_id, bin, |bin| bin.push(block.take()?));
    refused.unwrap_or(block)
}

/// The thread's bin is full or isn't near, or there are waiters.
///
/// # Safety
/// - As for [`put`].
#[cold]
unsafe fn put_far(class: NonNull<Class>, block: Block) {
    let (shared, index) = {
        // SAFETY: I107. The pool lives while the block is away.
        let class = unsafe { class.as_ref() };
        (class.store.pool(), class.index)
    };
    let Some(shared) = shared else { unreachable!("a pool outlives its buffers") };
    put_to(&shared, &shared.classes[index as usize], block);
}

fn put_to(shared: &Arc<ClassShared>, class: &Class, block: Block) {
    if class.is_direct {
        return put_direct(shared, block);
    }
    if shared.is_foreign() {
        // This is a forked child's copy of the buffer: it is forgotten.
        return;
    }
    let (mut block, mut blocks) = (block, Blocks::new());
    if class.kept_max > 0 && !class.store.has_waiters() && make_near(shared) {
        // A thread that only drops had no bins yet, and in a thread with many pools the bins of
        // another may have been near.
        match put_near(class.pool_id, class.bin, block) {
            None => return,
            Some(refused) => block = refused,
        }
        // A full bin passes its older half on to the store.
        let make_room = |bin: &Bin| {
            if bin.held() == bin.kept_max() {
                bin.halve(&mut blocks)
            }
        };
        with_bin(class.pool_id, class.bin, make_room);
    }
    shared.after_unlock(class, class.store.put(blocks.chain([block]), 1));
}

/// Frees a direct block of this pool.
fn put_direct(shared: &Arc<ClassShared>, block: Block) {
    free_direct(block);
    shared.direct().counts.direct_puts.fetch_add(1, Ordering::Relaxed);
    // SAFETY: I105. `get_direct` took this count for the buffer; it is given back once, here.
    unsafe { Arc::decrement_strong_count(Arc::as_ptr(shared)) };
}
