//! Giving a block back: to the bin of the thread that drops it, else to the class's store, else to
//! the system.
//!
//! Promises that nothing of the pool is used after its last block is back: giving back the last
//! block frees the pool, if no handle is left. That is why the class is passed as a pointer here: a
//! reference would have to stay valid until the call returns.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;

use super::bin::Bin;
use super::block::{Batch, Block};
use super::direct;
use super::local::{self, BinAt};
use super::shared::{Class, Shared};

/// Gives a block back.
///
/// # Safety
/// - The class is the one that the block comes from, and the block was counted as away, so the pool
///   is alive.
#[inline]
pub(crate) unsafe fn give(class: NonNull<Class>, block: Block) {
    let (pool, bin) = {
        // SAFETY: I107. The pool lives while the block is away.
        let class = unsafe { class.as_ref() };
        (class.pool, class.bin)
    };
    if let Some(block) = keep(pool, bin, block) {
        // SAFETY: I107. The block is still away.
        unsafe { give_far(class, block) };
    }
}

/// Puts the block into the thread's bin. It is returned if the bin is full, must not be used, or
/// isn't near.
#[inline]
fn keep(pool: u64, bin: BinAt, block: Block) -> Option<Block> {
    let mut block = Some(block);
    let refused = local::with_bin(pool, bin, |bin| bin.push(block.take()?));
    refused.unwrap_or(block)
}

/// The thread's bin is full or missing, or somebody waits.
///
/// # Safety
/// - As for [`give`].
#[cold]
unsafe fn give_far(class: NonNull<Class>, block: Block) {
    let (shared, index) = {
        // SAFETY: I107. The pool lives while the block is away.
        let class = unsafe { class.as_ref() };
        (class.store.owner(), class.index)
    };
    let Some(shared) = shared else { unreachable!("a pool outlives its buffers") };
    give_to(&shared, &shared.classes[index as usize], block);
}

fn give_to(shared: &Arc<Shared>, class: &Class, block: Block) {
    if class.is_direct {
        return direct::free(shared, block);
    }
    if shared.is_foreign() {
        // This is a forked child's copy of the buffer: it is forgotten.
        return;
    }
    let (mut block, mut batch) = (block, Batch::new());
    if class.kept_max > 0 && !class.is_hungry() && local::approach(shared) {
        // A thread that only drops has no bins yet, and a thread with many pools has other bins
        // near.
        match keep(class.pool, class.bin, block) {
            None => return,
            Some(refused) => block = refused,
        }
        // A full bin passes its older half on to the store.
        let make_room = |bin: &Bin| {
            if bin.held() == bin.kept_max() {
                bin.halve(&mut batch)
            }
        };
        local::with_bin(class.pool, class.bin, make_room);
    }
    shared.finish(class, class.store.put(batch.chain([block]), 1));
}
