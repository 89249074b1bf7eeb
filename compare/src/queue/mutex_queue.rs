//! `mutex-queue`: a receive queue as a Go program builds it: a ring under a mutex with two
//! condition variables, over a pool that all queues share.
//!
//! Enqueue locks, gets a buffer from the pool, copies the message in, and puts it into the ring.
//! Dequeue locks, hands the data out as a plain slice, and advances. The consumer then puts the
//! buffer back. Close wakes all waiters and waits for nothing. The pool is `sync.Pool`
//! ([`GoPool`]), without a boxed header: there too it holds a pointer. Waiters are counted, and a
//! wake-up subtracts the waiter that it wakes, as Go's runtime does: one system call per wait,
//! however many messages come before the waiter runs.
//!
//! Not emulated: a second dequeue before the first buffer is put back, which loses a buffer in the
//! original. This consumer puts each buffer back before it dequeues the next.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::case::Case;
use super::contender::{Arrival, Inlet, Outlet, Queue};
use crate::class::{GoPool, Shard, lock_spinning};
use crate::threads::{Idle, Patience, Reader, Tally};

/// `mutex-queue`, and `mutex-queue-parks` where `PARKS` is true. With `PARKS` it sleeps for the
/// lock and on the condition variables, as the design does; without, it spins for both.
pub struct MutexQueue<const PARKS: bool> {
    ring: Mutex<Ring>,
    not_full: Condvar,
    not_empty: Condvar,
    pool: GoPool<Vec<u8>>,
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
    /// A message larger than the byte limit has room when nothing is queued.
    fn has_room(&self, bytes: usize) -> bool {
        let queued = self.head - self.tail;
        queued < self.slots.len() && (queued == 0 || self.bytes + bytes <= self.bytes_max)
    }
}

impl<const PARKS: bool> MutexQueue<PARKS> {
    /// The ring is whole whenever the lock is free, so a panic elsewhere does no harm.
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

    /// The oldest message, or none if the queue is empty; an error once it is closed and empty.
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
    queue: &'a MutexQueue<PARKS>,
    shard: Shard<'a, Vec<u8>>,
    packet: Vec<u8>,
}

pub struct Handing<'a, const PARKS: bool> {
    queue: &'a MutexQueue<PARKS>,
    shard: Shard<'a, Vec<u8>>,
}

impl<const PARKS: bool> Queue for MutexQueue<PARKS> {
    const NAME: &'static str = if PARKS { "mutex-queue-parks" } else { "mutex-queue" };
    const PARKS: bool = PARKS;
    const EMULATED: Option<&'static str> =
        Some("Go's design in Rust: a thread's slot of the shared pool replaces a processor's");

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
        Ok(Self { ring: Mutex::new(ring), not_full, not_empty, pool: GoPool::new(), message_bytes })
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

/// Wakes an inlet that waits for room, since there will be none.
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
                    // Put back before it is counted, so that the clock includes it.
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
        let queue = MutexQueue::<false>::new(&Case { message_bytes: 16, messages: 2 }).unwrap();
        let mut shard = queue.pool.shard();
        let mut enqueue = |bytes: usize| queue.try_enqueue(&vec![1; bytes], &mut shard);
        assert!(enqueue(100), "an oversized message gets in when nothing is queued");
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
