//! From frames to messages: the bytes of one stream are received into the place where they stay.
//!
//! ```text
//! frames of a connection     1:ab  2:xy  1:cd  1:e.       one assembler for each stream
//!                             │     │     │     │
//! assembler of stream 1       ▼─────│─────▼─────▼  finish
//!   length known:     [abcde      ] one buffer of its class          -> moves into the queue: no byte is copied
//!   length not known: [ab][cde    ] segments of ascending classes    -> gathered once
//! ```
//! It promises: no byte is copied more than once on the way from [`Assembler::space`] to the
//! finished buffer, and none if the message fits into its first segment and fills more than a
//! quarter of it. A finished message of `len` bytes takes a buffer of less than four times `len`,
//! or of the smallest class that holds it. A message that filled a quarter of its segment or less
//! is copied to a smaller buffer, so that a small message doesn't pin a large class. If the pool
//! has no smaller buffer at that moment, a complete message that lies in one segment is handed out
//! in that segment. While a message is assembled, its segments take up to twice its length plus the
//! smallest class (four times, where classes grow fourfold), or what the current frame needs;
//! gathering them takes its length once more.
//!
//! It never waits: when the pool has no buffer it returns an error and keeps what was received, so
//! that one stream doesn't hold up a thread that serves many. It trusts a declared length up to the
//! limit. Where an attacker may choose lengths, keep the limit small or use [`Length::Unknown`].
#![forbid(unsafe_code)]

use std::mem;

use crate::class::{ClassPool, PooledBuf};

mod error;
mod growth;
#[cfg(all(test, not(loom)))]
mod tests;

pub use error::AssembleError;

/// What is known of a message's length before its bytes arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// It was declared: one buffer of the right class at once, and the message is whole when it is
    /// full.
    Exact(usize),
    /// About this many bytes: chooses the first segment's class, at most the largest, and is no
    /// bound.
    Hint(usize),
    /// Nothing: the first segment is of the smallest class.
    Unknown,
}

/// What an assembler has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AssemblerStats {
    /// Messages finished.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of them that were copied: gathered from several segments, or down from one that was
    /// too large.
    pub copied_bytes: u64,
    /// Messages gathered from several segments.
    pub gathered: u64,
    /// Messages copied down.
    pub copied_down: u64,
    /// Messages given up: by [`Assembler::abort`], or because they became too large.
    pub aborted: u64,
}

/// A message under way.
#[derive(Debug)]
struct Open {
    /// All but the last are full; each is as long as it may be filled.
    segments: Vec<PooledBuf>,
    /// Bytes in the last segment.
    filled: usize,
    /// Bytes of the message.
    total: usize,
    /// Bytes of the space that was lent last and isn't committed.
    lent: usize,
    length: Length,
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
/// assert_eq!(&assembler.finish()?[..], b"abcdef");
/// assert_eq!(assembler.stats().copied_bytes, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Assembler {
    pool: ClassPool,
    message_bytes_max: usize,
    open: Option<Open>,
    /// The list of segments of the last message, kept for the next.
    spare: Vec<PooledBuf>,
    stats: AssemblerStats,
}

impl Assembler {
    /// For messages of up to this many bytes.
    ///
    /// # Errors
    /// [`AssembleError::Limit`]: no message has 0 bytes at most, or more than fit into memory.
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
    /// limit; [`AssembleError::Pool`]. No message is under way then that wasn't before.
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

    /// Space to receive into, of 1 to `want` bytes: what is left of a frame, say. It lies in the
    /// current segment while that has room, else in a new one: of the class after the last one's,
    /// or of the class that holds `want` if that is larger. Nothing is part of the message before
    /// [`Assembler::commit`]; what stands in the space is what the buffer's last owner left.
    ///
    /// # Errors
    /// [`AssembleError::NotBegun`]; [`AssembleError::TooLarge`] or [`AssembleError::Overrun`] if
    /// `want` more bytes would be too many: the message is given up, and the assembler is ready for
    /// the next. [`AssembleError::Pool`]: everything stays as it is, and the call may be made
    /// again.
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
        // It may lie where space was lent.
        open.lent = 0;
        let (head, tail) = bytes.split_at(bytes.len().min(open.room()));
        let (start, total) = (open.filled, open.total);
        if let Some(last) = open.segments.last_mut() {
            last[start..start + head.len()].copy_from_slice(head);
        }
        // What was written isn't part of the message until the segment for the rest is there.
        if !tail.is_empty() {
            open.grow_behind(pool, max, head.len(), tail.len())?;
            open.segments.last_mut().expect("it has grown")[..tail.len()].copy_from_slice(tail);
            open.advance(tail.len());
        } else {
            open.advance(head.len());
        }
        debug_assert_eq!(open.total, total + bytes.len(), "all or nothing");
        self.check();
        Ok(())
    }

    /// The whole message as one buffer.
    ///
    /// # Errors
    /// [`AssembleError::NotBegun`]; [`AssembleError::Short`] if fewer bytes came than were
    /// declared; [`AssembleError::Pool`] if a buffer to gather into isn't to be had now, and the
    /// last segment doesn't hold the whole message. The message stays, and the call may be made
    /// again.
    pub fn finish(&mut self) -> Result<PooledBuf, AssembleError> {
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
                    open.gather_where_it_lies().ok_or(error)?
                }
            }
        } else {
            open.gather_where_it_lies().expect("one segment holds the message")
        };
        assert_eq!(message.len(), total, "every byte arrives");
        self.stats.copied_bytes += if gathered || copied_down { total as u64 } else { 0 };
        self.stats.gathered += u64::from(gathered);
        self.stats.copied_down += u64::from(copied_down);
        self.stats.messages += 1;
        self.stats.bytes += total as u64;
        self.close();
        Ok(message)
    }

    /// Gives the message up, if there is one: its buffers go home.
    pub fn abort(&mut self) {
        if self.open.is_some() {
            self.stats.aborted += 1;
            self.close();
        }
    }

    /// Bytes of the message under way; none if there is none.
    #[must_use]
    pub fn received_bytes(&self) -> Option<usize> {
        self.open.as_ref().map(|open| open.total)
    }

    /// What this assembler has done.
    #[must_use]
    pub fn stats(&self) -> AssemblerStats {
        self.stats
    }

    fn close(&mut self) {
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

    /// The law of a message: `total == full segments + filled`.
    fn check(&self) {
        debug_assert!(self.spare.is_empty());
        if let Some(open) = &self.open {
            open.check(self.message_bytes_max);
        }
    }
}
