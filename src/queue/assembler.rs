//! From frames to messages: the bytes of one stream are received into the buffer of their message.
//!
//! ```text
//! frames of a connection     1:ab  2:xy  1:cd  1:e.       one assembler for each stream
//!                             │     │     │     │
//! assembler of stream 1       ▼─────│─────▼─────▼  complete
//!   length known:     [abcde      ] one buffer of its class
//!                                   ─▶ moves into the queue: no byte is copied
//!   length not known: [ab][cde    ] segments of ascending classes ─▶ gathered once
//! ```
//! It promises:
//!
//! - No byte is copied more than once on the way from [`Assembler::space`] to the complete message,
//!   and none if the message fits into its first segment and fills more than a quarter of it.
//! - A complete message of `len` bytes is in a buffer of less than four times `len`, or of the
//!   smallest class that holds it. A message that fills a quarter of its segment or less is copied
//!   to a smaller buffer, so that a small message doesn't pin a large class. If the pool has no
//!   smaller buffer at that moment, a message in one segment is handed out in that segment.
//! - While a message is assembled, its segments need up to twice its length plus the smallest class
//!   (four times its length, where classes grow fourfold), or what the current frame needs.
//!   Gathering them needs its length once more.
//! - It never waits. When the pool has no buffer it returns an error, and what was received stays,
//!   so that one stream doesn't hold up a thread that serves many.
//!
//! It doesn't check a declared length beyond the limit. If an attacker may choose lengths, use a
//! small limit or [`Length::Unknown`].
#![forbid(unsafe_code)]

use std::mem;

use super::error::AssembleError;
use crate::class::{ClassPool, PooledBuf};

/// What is known of a message's length before its bytes arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// It was declared: the message gets one buffer of the right class, and is complete when that
    /// is full.
    Exact(usize),
    /// About this many bytes. It chooses the class of the first segment, at most the largest class,
    /// and isn't a bound.
    Hint(usize),
    /// Nothing is known: the first segment is of the smallest class.
    Unknown,
}

/// What an assembler has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AssemblerStats {
    /// Messages completed.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of them that were copied: gathered from several segments, or copied down from one that
    /// was too large.
    pub copied_bytes: u64,
    /// Messages gathered from several segments.
    pub gathered: u64,
    /// Messages copied to a smaller buffer.
    pub copied_down: u64,
    /// Messages given up: by [`Assembler::abort`], or because they became too large.
    pub aborted: u64,
}

/// Receives the messages of one stream, one after the other, in buffers of the connection's pool.
///
/// ```
/// use slipring::class::default_pool;
/// use slipring::queue::{Assembler, Length};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut assembler = Assembler::new(default_pool(), 1 << 20)?;
/// assembler.begin(Length::Exact(6))?;
/// // A socket would read into the space. It may be shorter than what was asked for.
/// let space = assembler.space(3)?;
/// space.copy_from_slice(b"abc");
/// assembler.commit(3)?;
/// assembler.append(b"def")?;
/// assert_eq!(&assembler.complete()?[..], b"abcdef");
/// assert_eq!(assembler.stats().copied_bytes, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Assembler {
    pool: ClassPool,
    message_bytes_max: usize,
    open: Option<Open>,
    /// The list of segments of the last message, empty. The next message uses it again.
    spare: Vec<PooledBuf>,
    stats: AssemblerStats,
}

impl Assembler {
    /// For messages of up to this many bytes.
    ///
    /// # Errors
    /// [`AssembleError::Limit`]: the limit is 0, or more than memory can hold.
    pub fn new(pool: &ClassPool, message_bytes_max: usize) -> Result<Self, AssembleError> {
        if message_bytes_max == 0 || message_bytes_max > isize::MAX as usize {
            return Err(AssembleError::Limit { given: message_bytes_max });
        }
        let (pool, stats) = (pool.clone(), AssemblerStats::default());
        Ok(Self { pool, message_bytes_max, open: None, spare: Vec::new(), stats })
    }

    /// Begins a message. A declared length gets its buffer now.
    ///
    /// # Errors
    /// [`AssembleError::InProgress`]; [`AssembleError::TooLarge`] for a declared length above the
    /// limit; [`AssembleError::Pool`]. After an error no message was begun.
    pub fn begin(&mut self, length: Length) -> Result<(), AssembleError> {
        if let Some(open) = &self.open {
            return Err(AssembleError::InProgress { bytes: open.total });
        }
        let first = match length {
            Length::Exact(bytes) if bytes > self.message_bytes_max => {
                return Err(AssembleError::TooLarge {
                    asked_bytes: bytes,
                    message_bytes_max: self.message_bytes_max,
                });
            }
            Length::Exact(bytes) => Some(self.pool.try_get(bytes)?),
            Length::Hint(_) | Length::Unknown => None,
        };
        let mut segments = mem::take(&mut self.spare);
        segments.extend(first);
        self.open = Some(Open { segments, filled: 0, total: 0, lent: 0, length });
        self.check();
        Ok(())
    }

    /// Space to receive into, of 1 to `want` bytes (what is left of a frame, say). It is in the
    /// current segment while that has room, else in a new one: of the class after the last one's,
    /// or of the class that holds `want` if that is larger. Nothing in it is part of the message
    /// before [`Assembler::commit`]; until then it holds whatever was there before.
    ///
    /// # Errors
    /// [`AssembleError::NotBegun`]; [`AssembleError::TooLarge`] or [`AssembleError::Overrun`] if
    /// `want` more bytes would be too many: the message is given up, and the assembler is ready for
    /// the next. [`AssembleError::Pool`]: nothing has changed, and the call may be repeated.
    pub fn space(&mut self, want: usize) -> Result<&mut [u8], AssembleError> {
        self.admit(want)?;
        let (pool, max) = (&self.pool, self.message_bytes_max);
        let open = self.open.as_mut().expect("it was admitted");
        if want > 0 && open.room() == 0 {
            open.grow(pool, max, want)?;
        }
        open.lent = want.min(open.room());
        debug_assert!(open.lent > 0 || want == 0, "there is space, or an error");
        let (start, lent) = (open.filled, open.lent);
        Ok(open.segments.last_mut().map_or(&mut [], |last| &mut last[start..start + lent]))
    }

    /// Makes the first `bytes` of the space that was lent last part of the message.
    ///
    /// # Errors
    /// [`AssembleError::Commit`] if that is more than was lent; nothing changes.
    pub fn commit(&mut self, bytes: usize) -> Result<(), AssembleError> {
        let open = self.open.as_mut().ok_or(AssembleError::NotBegun)?;
        if bytes > open.lent {
            return Err(AssembleError::Commit { asked_bytes: bytes, lent_bytes: open.lent });
        }
        open.advance(bytes);
        self.check();
        Ok(())
    }

    /// Adds bytes that were received elsewhere, all of them or none.
    ///
    /// # Errors
    /// As [`Assembler::space`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), AssembleError> {
        self.admit(bytes.len())?;
        let (pool, max) = (&self.pool, self.message_bytes_max);
        let open = self.open.as_mut().expect("it was admitted");
        // The bytes may overwrite space that was lent.
        open.lent = 0;
        let (head, tail) = bytes.split_at(bytes.len().min(open.room()));
        let (start, total) = (open.filled, open.total);
        if let Some(last) = open.segments.last_mut() {
            last[start..start + head.len()].copy_from_slice(head);
        }
        // The head isn't part of the message until the segment for the tail is there.
        if !tail.is_empty() {
            open.fill_and_grow(pool, max, head.len(), tail.len())?;
            open.segments.last_mut().expect("it has grown")[..tail.len()].copy_from_slice(tail);
            open.advance(tail.len());
        } else {
            open.advance(head.len());
        }
        debug_assert_eq!(open.total, total + bytes.len(), "all or nothing");
        self.check();
        Ok(())
    }

    /// Ends the message, and returns it as one buffer.
    ///
    /// # Errors
    /// [`AssembleError::NotBegun`]; [`AssembleError::Short`] if fewer bytes came than were
    /// declared; [`AssembleError::Pool`] if the pool has no buffer to gather into now, and the last
    /// segment has no room for the whole message. The message stays, and the call may be repeated.
    pub fn complete(&mut self) -> Result<PooledBuf, AssembleError> {
        let open = self.open.as_mut().ok_or(AssembleError::NotBegun)?;
        if let Length::Exact(bytes) = open.length
            && open.total < bytes
        {
            return Err(AssembleError::Short { bytes: open.total, declared_bytes: bytes });
        }
        let total = open.total;
        open.drop_empty();
        let gathered = open.segments.len() > 1;
        let mut copied_down = !gathered && open.is_oversized(&self.pool);
        let message = if gathered || copied_down || open.segments.is_empty() {
            match self.pool.try_get(total) {
                Ok(into) => open.gather(into),
                Err(error) => {
                    copied_down = false;
                    open.gather_in_place().ok_or(error)?
                }
            }
        } else {
            open.gather_in_place().expect("one segment holds the message")
        };
        assert_eq!(message.len(), total, "every byte arrives");
        self.stats.copied_bytes += if gathered || copied_down { total as u64 } else { 0 };
        self.stats.gathered += u64::from(gathered);
        self.stats.copied_down += u64::from(copied_down);
        self.stats.messages += 1;
        self.stats.bytes += total as u64;
        self.clear();
        Ok(message)
    }

    /// Gives the message up, if there is one: its buffers return to the pool.
    pub fn abort(&mut self) {
        if self.open.is_some() {
            self.stats.aborted += 1;
            self.clear();
        }
    }

    /// Bytes of the message in progress; `None` if there is none.
    #[must_use]
    pub fn received_bytes(&self) -> Option<usize> {
        self.open.as_ref().map(|open| open.total)
    }

    /// What this assembler has done.
    #[must_use]
    pub fn stats(&self) -> AssemblerStats {
        self.stats
    }

    /// No message is in progress any more. Segments that are left return to the pool.
    fn clear(&mut self) {
        if let Some(open) = self.open.take() {
            self.spare = open.segments;
            self.spare.clear();
        }
        self.check();
    }

    /// Whether the message may grow by this many bytes. If not, it is given up.
    fn admit(&mut self, more: usize) -> Result<(), AssembleError> {
        let open = self.open.as_ref().ok_or(AssembleError::NotBegun)?;
        let asked_bytes = open.total.saturating_add(more);
        let error = match open.length {
            Length::Exact(declared_bytes) if asked_bytes > declared_bytes => {
                AssembleError::Overrun { asked_bytes, declared_bytes }
            }
            _ if asked_bytes > self.message_bytes_max => {
                AssembleError::TooLarge { asked_bytes, message_bytes_max: self.message_bytes_max }
            }
            _ => return Ok(()),
        };
        self.abort();
        Err(error)
    }

    /// The invariant of a message: `total == full segments + filled`.
    fn check(&self) {
        debug_assert!(self.spare.is_empty());
        if let Some(open) = &self.open {
            open.check(self.message_bytes_max);
        }
    }
}

/// A message that fills at most this fraction of its segment is copied to a smaller buffer.
const OVERSIZE: usize = 4;

/// A message in progress.
#[derive(Debug)]
struct Open {
    /// All but the last are full. The length of each is how far it may be filled.
    segments: Vec<PooledBuf>,
    /// Bytes in the last segment.
    filled: usize,
    /// Bytes of the message.
    total: usize,
    /// Bytes of the space that was lent last and isn't committed.
    lent: usize,
    length: Length,
}

impl Open {
    /// Bytes for which the last segment still has room.
    fn room(&self) -> usize {
        self.segments.last().map_or(0, |last| last.len() - self.filled)
    }

    /// Makes the next `bytes` of the last segment part of the message.
    fn advance(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.room());
        self.filled += bytes;
        self.total += bytes;
        self.lent = self.lent.saturating_sub(bytes);
    }

    /// Adds a segment after a full one, with room for `want` bytes or more.
    fn grow(&mut self, pool: &ClassPool, max: usize, want: usize) -> Result<(), AssembleError> {
        debug_assert_eq!(self.room(), 0, "a segment is filled before the next");
        self.fill_and_grow(pool, max, 0, want)
    }

    /// As [`Open::grow`], when `head` more bytes fill the last segment. They are part of the
    /// message once the new segment is there. The new one holds at least `want` bytes. It is of the
    /// class after the last segment's if that is larger.
    fn fill_and_grow(
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
        // The message may use all of the buffer, up to its own limit.
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
            // It is only a hint, so it never asks for a buffer that is larger than every class.
            (None, Length::Hint(bytes)) => bytes.clamp(1, sizes[sizes.len() - 1]),
            (None, _) => sizes[0],
        }
    }

    /// Drops a last segment that was lent and never committed to.
    fn drop_empty(&mut self) {
        if self.filled == 0 && self.segments.len() > 1 {
            self.segments.pop();
            // All other segments are full.
            self.filled = self.segments.last().map_or(0, |last| last.len());
            debug_assert!(self.filled > 0, "only the last segment may be empty");
        }
        self.lent = 0;
    }

    /// Whether the message would pin much more than it needs.
    fn is_oversized(&self, pool: &ClassPool) -> bool {
        let table = pool.table();
        let fit = table.class_of(self.total).map_or(self.total, |class| table.sizes()[class]);
        debug_assert!(fit >= self.total, "a class holds the lengths that belong to it");
        let held = self.segments.iter().map(|segment| segment.capacity()).max().unwrap_or(0);
        self.total <= held / OVERSIZE && fit < held
    }

    /// The one copy: all segments, in order, into a buffer of the message's length.
    fn gather(&mut self, mut into: PooledBuf) -> PooledBuf {
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

    /// All segments, in order, in the last one, if it has room for them. A single segment is the
    /// message already. The bytes in the last of several are moved once, to follow the others.
    fn gather_in_place(&mut self) -> Option<PooledBuf> {
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

    fn check(&self, max: usize) {
        debug_assert!(self.total <= max, "{} bytes of {max}", self.total);
        let full = self.segments.len().saturating_sub(1);
        let before: usize = self.segments[..full].iter().map(|segment| segment.len()).sum();
        debug_assert_eq!(before + self.filled, self.total, "the segments hold the message");
        debug_assert!(self.lent <= self.room());
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
