//! The hot path in named functions, as the compiler makes it: what `tests/hot_path.rs`
//! disassembles.
//!
//! ```text
//!   pool   alloc_push: reserve ─▶ write 8 bytes ─▶ stage                 release: all up to a sequence
//!   RAII   alloc_slice: reserve ─▶ write 8 bytes ─▶ commit                drop_slice, or push_slice
//!   lane   lane_claim_push: claim a slot and bytes ─▶ write 8 bytes ─▶ stage
//!   class  class_get: the thread's own bin                                class_drop: back into it
//!   queue  queue_enqueue: move a filled buffer in                         queue_dequeue: move it out
//! ```
//!
//! None of them is inlined into a caller, and the callers aren't known here, so each stands in the
//! object file by its name and for any length. They measure nothing: `benches/count.rs` counts what
//! the same operations cost in a loop.
#![forbid(unsafe_code)]

use slipring::class::{ClassPool, GetError, PooledBuf};
use slipring::pipeline::{Lane, Refused};
use slipring::queue::{DequeueError, Dequeuer, EnqueueError, Enqueuer, Message};
use slipring::ring::{Full, PoolSlice, Pushed, RingPool, Sequence};

/// The slot path's first half.
///
/// # Errors
/// As [`RingPool::reserve`].
#[inline(never)]
pub fn alloc_push(pool: &mut RingPool, len: usize, op: u64) -> Result<Pushed, Full> {
    let mut grant = pool.reserve(len)?;
    grant[..8].copy_from_slice(&op.to_le_bytes());
    Ok(grant.push())
}

/// A slice that was kept for a while goes into a slot.
#[inline(never)]
pub fn push_slice(pool: &mut RingPool, slice: PoolSlice) -> Option<Pushed> {
    pool.push(slice).ok()
}

/// The slot path's second half.
#[inline(never)]
pub fn release(pool: &mut RingPool, through: Sequence) {
    pool.release(through);
}

/// RAII's first half.
///
/// # Errors
/// As [`RingPool::reserve`].
#[inline(never)]
pub fn alloc_slice(pool: &mut RingPool, len: usize, op: u64) -> Result<PoolSlice, Full> {
    let mut grant = pool.reserve(len)?;
    grant[..8].copy_from_slice(&op.to_le_bytes());
    Ok(grant.commit_all())
}

/// RAII's second half.
#[inline(never)]
pub fn drop_slice(slice: PoolSlice) {
    drop(slice);
}

/// As [`alloc_push`], over a lane; a flush publishes it.
///
/// # Errors
/// As [`Lane::claim`].
#[inline(never)]
pub fn lane_claim_push(lane: &mut Lane<u64>, len: usize, op: u64) -> Result<Sequence, Refused> {
    let mut claim = lane.claim(len)?;
    claim[..8].copy_from_slice(&op.to_le_bytes());
    Ok(claim.push(op))
}

/// A buffer from the thread's bin, if that has one.
///
/// # Errors
/// As [`ClassPool::get`].
#[inline(never)]
pub fn class_get(pool: &ClassPool, len: usize) -> Result<PooledBuf, GetError> {
    pool.get(len)
}

/// And back, if there is room.
#[inline(never)]
pub fn class_drop(buf: PooledBuf) {
    drop(buf);
}

/// A message goes into its queue.
///
/// # Errors
/// As [`Enqueuer::try_enqueue`].
#[inline(never)]
pub fn queue_enqueue(enqueuer: &mut Enqueuer, buf: PooledBuf) -> Result<(), EnqueueError> {
    enqueuer.try_enqueue(buf)
}

/// And out of it.
///
/// # Errors
/// As [`Dequeuer::try_dequeue`].
#[inline(never)]
pub fn queue_dequeue(dequeuer: &mut Dequeuer) -> Result<Option<Message>, DequeueError> {
    dequeuer.try_dequeue()
}
