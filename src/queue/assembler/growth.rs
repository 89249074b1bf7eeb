//! Segments of a message: which comes next, and how they become one buffer.
#![forbid(unsafe_code)]

use super::{AssembleError, Length, Open};
use crate::class::{ClassPool, PooledBuf};

/// A message that fills at most this fraction of its segment is copied to a smaller buffer.
const OVERSIZE: usize = 4;

impl Open {
    /// Bytes that the last segment still takes.
    pub(super) fn room(&self) -> usize {
        self.segments.last().map_or(0, |last| last.len() - self.filled)
    }

    /// So many bytes more are part of the message.
    pub(super) fn advance(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.room());
        self.filled += bytes;
        self.total += bytes;
        self.lent = self.lent.saturating_sub(bytes);
    }

    /// A further segment behind a full one, for at least one byte and at best `want`.
    pub(super) fn grow(
        &mut self,
        pool: &ClassPool,
        max: usize,
        want: usize,
    ) -> Result<(), AssembleError> {
        debug_assert_eq!(self.room(), 0, "a segment is filled before the next");
        self.grow_behind(pool, max, 0, want)
    }

    /// As [`Open::grow`], when `head` bytes more fill the last segment; they are part of the
    /// message once the next is there. It holds `want` bytes, or what its class does: that of the
    /// segment before and one up, if that is larger.
    pub(super) fn grow_behind(
        &mut self,
        pool: &ClassPool,
        max: usize,
        head: usize,
        want: usize,
    ) -> Result<(), AssembleError> {
        debug_assert_eq!(self.room(), head);
        let left = max - self.total - head;
        let bytes = want.max(self.next_bytes(pool)).min(left);
        assert!(want <= left && bytes > 0, "the bytes were admitted");
        let mut segment = pool.try_get(bytes)?;
        // The rest of the class is free, as far as the message may go.
        segment.set_len(segment.capacity().min(left)).expect("a buffer holds its capacity");
        debug_assert!(segment.len() >= want, "the segment holds what is asked for");
        self.advance(head);
        self.segments.push(segment);
        (self.filled, self.lent) = (0, 0);
        Ok(())
    }

    /// The class after the last segment's; the largest is repeated.
    fn next_bytes(&self, pool: &ClassPool) -> usize {
        let sizes = pool.table().sizes();
        debug_assert!(!sizes.is_empty(), "a table has a class");
        match (self.segments.last(), self.length) {
            (Some(last), _) => {
                let larger = sizes.iter().find(|&&bytes| bytes > last.capacity());
                *larger.unwrap_or(&sizes[sizes.len() - 1])
            }
            // It is no more than a hint: no memory beside the classes is taken for it.
            (None, Length::Hint(bytes)) => bytes.clamp(1, sizes[sizes.len() - 1]),
            (None, _) => sizes[0],
        }
    }

    /// A segment that was lent and never committed to.
    pub(super) fn drop_empty(&mut self) {
        if self.filled == 0 && self.segments.len() > 1 {
            self.segments.pop();
            // All before the last are full.
            self.filled = self.segments.last().map_or(0, |last| last.len());
            debug_assert!(self.filled > 0, "only the last segment may be empty");
        }
        self.lent = 0;
    }

    /// Whether the message would pin much more than it needs.
    pub(super) fn is_oversized(&self, pool: &ClassPool) -> bool {
        let table = pool.table();
        let fit = table.class_of(self.total).map_or(self.total, |class| table.sizes()[class]);
        debug_assert!(fit >= self.total, "a class holds what belongs to it");
        let held = self.segments.iter().map(|segment| segment.capacity()).max().unwrap_or(0);
        self.total <= held / OVERSIZE && fit < held
    }

    /// The one copy: all segments, in order, into a buffer of the message's length.
    pub(super) fn gather(&mut self, mut into: PooledBuf) -> PooledBuf {
        assert_eq!(into.len(), self.total, "the buffer is as long as the message");
        let mut at = 0;
        let last = self.segments.len().saturating_sub(1);
        for (number, segment) in self.segments.drain(..).enumerate() {
            let bytes = if number == last { self.filled } else { segment.len() };
            into[at..at + bytes].copy_from_slice(&segment[..bytes]);
            at += bytes;
        }
        assert_eq!(at, self.total, "the segments hold the message");
        into
    }

    /// All segments, in order, in the last one, if it holds them all: the only one is the message
    /// as it lies, and what lies in the last of several is moved once, behind the others.
    pub(super) fn gather_where_it_lies(&mut self) -> Option<PooledBuf> {
        if self.segments.last().is_none_or(|last| last.capacity() < self.total) {
            return None;
        }
        let mut into = self.segments.pop()?;
        into.set_len(self.total).expect("a buffer holds its capacity");
        let head = self.total - self.filled;
        if head > 0 {
            into.copy_within(..self.filled, head);
        }
        let mut at = 0;
        for segment in self.segments.drain(..) {
            into[at..at + segment.len()].copy_from_slice(&segment);
            at += segment.len();
        }
        assert_eq!(at, head, "the segments hold the message");
        Some(into)
    }

    pub(super) fn check(&self, max: usize) {
        debug_assert!(self.total <= max, "{} bytes of {max}", self.total);
        let full = self.segments.len().saturating_sub(1);
        let before: usize = self.segments[..full].iter().map(|segment| segment.len()).sum();
        debug_assert_eq!(before + self.filled, self.total, "the segments hold the message");
        debug_assert!(self.lent <= self.room());
    }
}
