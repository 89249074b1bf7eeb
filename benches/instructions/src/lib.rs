//! The hot path as named functions. `tests/hot_path.rs` disassembles them.
//!
//! ```text
//!   pool   alloc_push: reserve ─▶ write 8 bytes ─▶ push                  release: all up to a sequence
//!   RAII   alloc_slice: reserve ─▶ write 8 bytes ─▶ commit               drop_slice, or push_slice
//!   lane   lane_claim_push: claim a slot and bytes ─▶ write 8 bytes ─▶ push
//!   class  class_get: from the thread's own bin                          class_drop: back into the bin
//!   queue  queue_enqueue: move a filled buffer in                        queue_dequeue: move it out
//! ```
//!
//! No function is inlined into a caller, and the callers aren't known here. So each is in the
//! object file under its name, compiled for any length. They measure nothing: `benches/count.rs`
//! counts what the same operations cost in a loop.
#![forbid(unsafe_code)]

use slipring::class::{ClassPool, GetError, PooledBuf};
use slipring::pipeline::{Lane, Refused};
use slipring::queue::{DequeueError, Dequeuer, EnqueueError, Enqueuer, Message};
use slipring::ring::{Full, PoolSlice, Pushed, RingPool, Sequence};

/// The first half of the slot path: reserves, writes and pushes.
///
/// # Errors
/// As [`RingPool::reserve`].
#[inline(never)]
pub fn alloc_push(pool: &mut RingPool, len: usize, op: u64) -> Result<Pushed, Full> {
    let mut grant = pool.reserve(len)?;
    grant[..8].copy_from_slice(&op.to_le_bytes());
    Ok(grant.push())
}

/// Pushes a slice that was held for a while into a slot.
#[inline(never)]
pub fn push_slice(pool: &mut RingPool, slice: PoolSlice) -> Option<Pushed> {
    pool.push(slice).ok()
}

/// The second half of the slot path: releases all slices up to a sequence.
#[inline(never)]
pub fn release(pool: &mut RingPool, through: Sequence) {
    pool.release(through);
}

/// The first half of the RAII path: reserves, writes and commits.
///
/// # Errors
/// As [`RingPool::reserve`].
#[inline(never)]
pub fn alloc_slice(pool: &mut RingPool, len: usize, op: u64) -> Result<PoolSlice, Full> {
    let mut grant = pool.reserve(len)?;
    grant[..8].copy_from_slice(&op.to_le_bytes());
    Ok(grant.commit_all())
}

/// The second half of the RAII path: drops the slice.
#[inline(never)]
pub fn drop_slice(slice: PoolSlice) {
    drop(slice);
}

/// The same as [`alloc_push`] over a lane. A flush publishes the event.
///
/// # Errors
/// As [`Lane::claim`].
#[inline(never)]
pub fn lane_claim_push(lane: &mut Lane<u64>, len: usize, op: u64) -> Result<Sequence, Refused> {
    let mut claim = lane.claim(len)?;
    claim[..8].copy_from_slice(&op.to_le_bytes());
    Ok(claim.push(op))
}

/// Gets a buffer, from the thread's bin if that has one.
///
/// # Errors
/// As [`ClassPool::get`].
#[inline(never)]
pub fn class_get(pool: &ClassPool, len: usize) -> Result<PooledBuf, GetError> {
    pool.get(len)
}

/// Drops a buffer, into the thread's bin if that has room.
#[inline(never)]
pub fn class_drop(buf: PooledBuf) {
    drop(buf);
}

/// Moves a message into its queue.
///
/// # Errors
/// As [`Enqueuer::try_enqueue`].
#[inline(never)]
pub fn queue_enqueue(enqueuer: &mut Enqueuer, buf: PooledBuf) -> Result<(), EnqueueError> {
    enqueuer.try_enqueue(buf)
}

/// Moves a message out of its queue.
///
/// # Errors
/// As [`Dequeuer::try_dequeue`].
#[inline(never)]
pub fn queue_dequeue(dequeuer: &mut Dequeuer) -> Result<Option<Message>, DequeueError> {
    dequeuer.try_dequeue()
}
