//! The traits of all contenders of `class`, the parts that most of them share, and the empty one.

use std::hint::black_box;
use std::ops::DerefMut;

use crate::payload::{Copied, Exhausted, Fill, Growing, Pattern, Touch8};

/// A pool that hands out buffers to several threads, to each through a view of its own.
pub trait Pool: Sized + Sync {
    /// The name in results, in lower case with dashes.
    const NAME: &'static str;

    /// Whether a buffer may be dropped on another thread than the one that got it.
    const CROSSES: bool = true;

    /// Whether a buffer has its length without being written.
    const HAS_LENGTH: bool = true;

    /// False if only the first 8 bytes of a payload are stored.
    const KEEPS_PAYLOAD: bool = true;

    /// Why it can't express the workload by its own means, and what was done about it.
    const EMULATED: Option<&'static str> = None;

    type Local<'a>: Local
    where
        Self: 'a;

    /// The error says what was refused.
    fn new() -> Result<Self, String>;

    /// The calling thread's view.
    fn local(&self) -> Self::Local<'_>;
}

/// One thread's view of a pool.
pub trait Local {
    type Buffer: Buffer;

    /// Gets `bytes`, 64 KiB at most, and writes them by `fill`. Mark it `#[inline(always)]`, as
    /// `put`, so that no contender pays for a call that another doesn't.
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Self::Buffer, Exhausted>;

    /// Puts a buffer back, whichever thread got it.
    fn put(&mut self, buffer: Self::Buffer);
}

/// A buffer that a pool has handed out.
pub trait Buffer: Send {
    /// Passes the payload to `check`; only its written part where the rest isn't initialised.
    fn read<R>(&self, check: impl FnOnce(&[u8]) -> R) -> R;

    /// Makes the compiler assume that the payload is read, by [`std::hint::black_box`] on a pointer
    /// or a key. Not on the buffer itself: that would force it into memory, and a guard of three
    /// words would pay for what one of a single word doesn't.
    fn be_seen(&self);
}

/// Writes nothing: for the cost of a get and a drop alone.
pub struct Untouched;

impl Fill for Untouched {
    #[inline(always)]
    fn fill(&self, _op: u64, _payload: &mut [u8]) {}

    #[inline(always)]
    fn append(&self, _op: u64, _bytes: usize, _payload: &mut impl Growing) {}
}

/// A buffer of most rivals: a guard of their library over a class's memory, of which `bytes` are
/// the payload.
pub struct Lent<G> {
    pub guard: G,
    bytes: usize,
}

impl<G: DerefMut<Target = Box<[u8]>>> Lent<G> {
    /// Writes the payload.
    #[inline(always)]
    pub fn new(mut guard: G, op: u64, bytes: usize, fill: &impl Fill) -> Self {
        fill.fill(op, &mut guard[..bytes]);
        Self { guard, bytes }
    }

    /// A buffer whose payload is written already.
    #[inline(always)]
    pub fn written(guard: G, bytes: usize) -> Self {
        Self { guard, bytes }
    }
}

impl<G: DerefMut<Target = Box<[u8]>> + Send> Buffer for Lent<G> {
    fn read<R>(&self, check: impl FnOnce(&[u8]) -> R) -> R {
        check(&self.guard[..self.bytes])
    }

    #[inline(always)]
    fn be_seen(&self) {
        black_box(self.guard.as_ptr());
    }
}

/// A way to write whose result can be checked.
pub trait Marked: Fill + Sync {
    /// Whether payloads are written to their end.
    const IS_WHOLE: bool = false;

    /// Whether a payload holds what `op` wrote, as far as a check under the clock may cost.
    fn holds(&self, op: u64, payload: &[u8]) -> bool;
}

impl Marked for Untouched {
    #[inline(always)]
    fn holds(&self, _op: u64, _payload: &[u8]) -> bool {
        true
    }
}

impl Marked for Touch8 {
    #[inline(always)]
    fn holds(&self, op: u64, payload: &[u8]) -> bool {
        payload[..8] == op.to_le_bytes()
    }
}

impl Marked for Copied {
    const IS_WHOLE: bool = true;

    #[inline(always)]
    fn holds(&self, op: u64, payload: &[u8]) -> bool {
        let last = payload[payload.len() - 1];
        payload[..8] == op.to_le_bytes() && (payload.len() == 8 || last == self.word() as u8)
    }
}

/// Checks every byte.
impl Marked for Pattern {
    const IS_WHOLE: bool = true;

    fn holds(&self, op: u64, payload: &[u8]) -> bool {
        Pattern::holds(op, payload)
    }
}

/// `empty-harness`: the cost of the loop itself. It reads the length, writes 8 bytes, and allocates
/// nothing. Across threads the ring is part of the loop.
pub struct EmptyHarness;

impl Pool for EmptyHarness {
    const NAME: &'static str = "empty-harness";
    const KEEPS_PAYLOAD: bool = false;

    type Local<'a> = Self;

    fn new() -> Result<Self, String> {
        Ok(Self)
    }

    fn local(&self) -> Self {
        Self
    }
}

impl Local for EmptyHarness {
    type Buffer = [u8; 8];

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, _fill: &impl Fill) -> Result<[u8; 8], Exhausted> {
        // Every other contender reads the length, so this one must too.
        black_box(bytes);
        Ok(op.to_le_bytes())
    }

    #[inline(always)]
    fn put(&mut self, _buffer: [u8; 8]) {}
}

impl Buffer for [u8; 8] {
    fn read<R>(&self, check: impl FnOnce(&[u8]) -> R) -> R {
        check(self)
    }

    #[inline(always)]
    fn be_seen(&self) {
        black_box(u64::from_le_bytes(*self));
    }
}
