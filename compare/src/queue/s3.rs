//! The seed's receive ring, S3, written anew from its description: a ring under a mutex with two
//! condition variables, over a pool that all streams of a connection share.
//!
//! Enqueue takes the lock, takes a buffer from the pool, copies the message in, and puts it into
//! the ring. Dequeue takes the lock, hands the data out as a plain slice and advances at once. Done
//! returns the buffer. Close wakes everybody and waits for nothing. The pool is the runtime's, as
//! in S2 ([`crate::class::sync_pool`]), without a boxed header: what it holds is a pointer there
//! too. Waiters are counted, and whoever wakes one takes it off the count, as the runtime does: one
//! system call a wait, however many messages come until the waiter runs.
//!
//! Not here: the buffer that a second dequeue before Done loses; this consumer is done with each
//! before the next.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Arrival, Case, Inlet, Outlet, Queue};
use crate::class::sync_pool::{Shard, SyncPool, lock_spinning};
use crate::two_threads::{Idle, Patience, Reader, Tally};

/// `PARKS` sleeps for the lock and on the condition variables, as the design does; otherwise both
/// are waited for by spinning, and an attempt is made again by the house's patience.
pub struct S3<const PARKS: bool> {
    ring: Mutex<Ring>,
    not_full: Condvar,
    not_empty: Condvar,
    pool: SyncPool<Vec<u8>>,
    message_bytes: usize,
}

struct Ring {
    /// The messages from `tail` to `head`, each at its number mod the length.
    slots: Vec<Option<Vec<u8>>>,
    head: usize,
    tail: usize,
    bytes: usize,
    bytes_max: usize,
    waiting_inlets: usize,
    waiting_outlets: usize,
    closed: bool,
}

impl Ring {
    /// A message above the bytes is let in when nothing is queued.
    fn has_room(&self, bytes: usize) -> bool {
        let queued = self.head - self.tail;
        queued < self.slots.len() && (queued == 0 || self.bytes + bytes <= self.bytes_max)
    }
}

impl<const PARKS: bool> S3<PARKS> {
    /// The ring is whole whenever the lock is free, so a panic elsewhere spoils nothing.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Ring> {
        if PARKS {
            self.ring.lock().unwrap_or_else(PoisonError::into_inner)
        } else {
            lock_spinning(&self.ring)
        }
    }

    /// Copies a message in, under the lock; false if there is no room.
    #[inline]
    fn try_enqueue(&self, packet: &[u8], shard: &mut Shard<'_, Vec<u8>>) -> bool {
        let mut ring = self.lock();
        while PARKS && !ring.has_room(packet.len()) && !ring.closed {
            ring.waiting_inlets += 1;
            ring = self.not_full.wait(ring).unwrap_or_else(PoisonError::into_inner);
        }
        if !ring.has_room(packet.len()) {
            return false;
        }
        let mut buffer = shard.get().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(packet);
        let at = ring.head % ring.slots.len();
        ring.slots[at] = Some(buffer);
        ring.head += 1;
        ring.bytes += packet.len();
        let wakes = mem::take(&mut ring.waiting_outlets) > 0;
        drop(ring);
        if wakes {
            self.not_empty.notify_one();
        }
        true
    }

    /// The oldest message, none if there is none; an error at the end.
    #[inline]
    fn try_dequeue(&self) -> Result<Option<Vec<u8>>, Closed> {
        let mut ring = self.lock();
        while PARKS && ring.head == ring.tail && !ring.closed {
            ring.waiting_outlets += 1;
            ring = self.not_empty.wait(ring).unwrap_or_else(PoisonError::into_inner);
        }
        if ring.head == ring.tail {
            return if ring.closed { Err(Closed) } else { Ok(None) };
        }
        let at = ring.tail % ring.slots.len();
        let buffer = ring.slots[at].take();
        ring.tail += 1;
        ring.bytes -= buffer.as_ref().map_or(0, Vec::len);
        let wakes = mem::take(&mut ring.waiting_inlets) > 0;
        drop(ring);
        if wakes {
            self.not_full.notify_one();
        }
        Ok(buffer)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.not_empty.notify_all();
        self.not_full.notify_all();
    }
}

#[derive(Debug, PartialEq)]
struct Closed;

pub struct Copying<'a, const PARKS: bool> {
    queue: &'a S3<PARKS>,
    shard: Shard<'a, Vec<u8>>,
    packet: Vec<u8>,
}

pub struct Handing<'a, const PARKS: bool> {
    queue: &'a S3<PARKS>,
    shard: Shard<'a, Vec<u8>>,
}

impl<const PARKS: bool> Queue for S3<PARKS> {
    const NAME: &'static str = if PARKS { "s3-parks" } else { "s3" };
    const PARKS: bool = PARKS;
    const EMULATED: Option<&'static str> =
        Some("the design in Rust: a thread's slot of the shared pool stands for a processor's");

    type Inlet<'a> = Copying<'a, PARKS>;
    type Outlet<'a> = Handing<'a, PARKS>;

    fn new(case: &Case) -> Result<Self, String> {
        let Case { messages, message_bytes } = *case;
        let ring = Ring {
            slots: (0..messages).map(|_| None).collect(),
            head: 0,
            tail: 0,
            bytes: 0,
            bytes_max: messages * message_bytes,
            waiting_inlets: 0,
            waiting_outlets: 0,
            closed: false,
        };
        let (not_full, not_empty) = Default::default();
        Ok(Self {
            ring: Mutex::new(ring),
            not_full,
            not_empty,
            pool: SyncPool::new(),
            message_bytes,
        })
    }

    fn ends(&self) -> Result<(Copying<'_, PARKS>, Handing<'_, PARKS>), String> {
        let packet = vec![0; self.message_bytes];
        Ok((
            Copying { queue: self, shard: self.pool.shard(), packet },
            Handing { queue: self, shard: self.pool.shard() },
        ))
    }
}

impl<const PARKS: bool> Drop for Copying<'_, PARKS> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Who waits for room is told that there will be none.
impl<const PARKS: bool> Drop for Handing<'_, PARKS> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl<const PARKS: bool> Inlet for Copying<'_, PARKS> {
    #[inline]
    fn enqueue(
        &mut self,
        number: u64,
        arrival: &impl Arrival,
        tally: &Tally,
    ) -> Result<(), String> {
        arrival.write(number, &mut self.packet);
        let mut patience = Patience::default();
        while !self.queue.try_enqueue(&self.packet, &mut self.shard) {
            patience.round(tally)?;
        }
        Ok(())
    }
}

impl<const PARKS: bool> Outlet for Handing<'_, PARKS> {
    fn dequeue_all(mut self, arrival: &impl Arrival, mut reader: Reader) -> Result<(), String> {
        let mut idle = Idle::default();
        loop {
            match self.queue.try_dequeue() {
                Ok(Some(buffer)) => {
                    idle.reset();
                    let holds = arrival.holds(reader.number(), &buffer);
                    // Done before it counts, so that the clock stops behind the last one.
                    self.shard.put(buffer);
                    reader.note(holds);
                }
                Ok(None) => idle.round(),
                Err(Closed) => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_and_an_oversized_message_behave_as_the_design_says() {
        let queue = S3::<false>::new(&Case { message_bytes: 16, messages: 2 }).unwrap();
        let mut shard = queue.pool.shard();
        let mut enqueue = |bytes: usize| queue.try_enqueue(&vec![1; bytes], &mut shard);
        assert!(enqueue(100), "an oversized one gets in when nothing is queued");
        assert!(!enqueue(1), "and nothing beside it");
        assert_eq!(
            queue.try_dequeue().map(|buffer| buffer.map(|buffer| buffer.len())),
            Ok(Some(100))
        );
        assert_eq!([enqueue(16), enqueue(16), enqueue(0)], [true, true, false]);
        queue.close();
        assert!(
            queue.try_dequeue().is_ok_and(|buffer| buffer.is_some()),
            "what is queued comes out first"
        );
        assert!(queue.try_dequeue().is_ok_and(|buffer| buffer.is_some()));
        assert_eq!(queue.try_dequeue(), Err(Closed));
    }
}
