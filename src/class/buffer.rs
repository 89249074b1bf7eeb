//! [`PooledBuf`]: a buffer that goes back to its pool when it is dropped.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use super::memory::{Block, direct_capacity, zero};
use super::put::put;
use super::shared::Class;

/// Bytes of a class pool: `len()` of them, in a buffer of its class's size. Dropping it on any
/// thread gives it back.
///
/// It starts on a cache line. Its bytes are zero or what its last owner left. If the pool zeroes on
/// return, they are all zero. An owner whose bytes no later owner may find calls
/// [`PooledBuf::zero_on_drop`].
///
/// There is one owner, so nothing can be given back twice, or to another pool:
///
/// ```compile_fail
/// fn copy(buf: &slipring::class::PooledBuf) -> slipring::class::PooledBuf {
///     Clone::clone(buf)
/// }
/// ```
///
/// ```compile_fail
/// let pool = slipring::class::ClassPool::new(&slipring::class::ClassOptions::default()).unwrap();
/// let buf = pool.get(100).unwrap();
/// drop(buf);
/// drop(buf);
/// ```
pub struct PooledBuf {
    at: NonNull<u8>,
    len: usize,
    origin: Origin,
}

/// The class of a buffer and, in the lowest bit of the address, whether the buffer is zeroed when
/// it is dropped. A class is aligned to a cache line, so the bit is free. A separate field would
/// make every move of a buffer longer, and the drop reads this one anyway.
#[derive(Clone, Copy)]
struct Origin(NonNull<Class>);

const ZEROED: usize = 1;
const _: () = assert!(align_of::<Class>() > ZEROED && ZEROED == true as usize, "the bit is free");

impl Origin {
    /// In a pool that zeroes all of its buffers, the bit is set from the start.
    #[inline]
    fn of(class: &Class) -> Self {
        Self(class.at().map_addr(|addr| addr | usize::from(class.zero_on_return)))
    }

    #[inline]
    fn is_zeroed(self) -> bool {
        self.0.addr().get() & ZEROED != 0
    }

    #[inline]
    fn class(self) -> *const Class {
        self.0.as_ptr().map_addr(|addr| addr & !ZEROED)
    }
}

// SAFETY: I106. A buffer owns its bytes, and giving it back is allowed on every thread.
unsafe impl Send for PooledBuf {}
// SAFETY: I106. A shared buffer is only read.
unsafe impl Sync for PooledBuf {}

impl PooledBuf {
    /// Makes a buffer of a block of this class.
    #[inline]
    pub(crate) fn new(block: Block, class: &Class, len: usize) -> Self {
        debug_assert!(
            class.is_direct || len <= class.class_bytes,
            "{len} bytes in a class of {}",
            class.class_bytes
        );
        let block = ManuallyDrop::new(block);
        Self { at: block.at(), len, origin: Origin::of(class) }
    }

    /// The payload's length: as requested, until [`PooledBuf::set_len`] changes it.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the payload is empty.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The largest possible payload: the class's size, or the requested length of a direct buffer.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        if self.class().is_direct { direct_capacity(self.at) } else { self.class().class_bytes }
    }

    /// Whether it belongs to no class: too large for all of them, fresh at a limit, or made by
    /// [`PooledBuf::direct`].
    #[must_use]
    #[inline]
    pub fn is_direct(&self) -> bool {
        self.class().is_direct
    }

    /// Changes the payload's length, to at most [`PooledBuf::capacity`]. No byte changes: bytes
    /// that become visible have their old values.
    ///
    /// # Errors
    /// [`LenError`] if it doesn't fit; the buffer is unchanged.
    #[inline]
    pub fn set_len(&mut self, len: usize) -> Result<(), LenError> {
        let capacity_bytes = self.capacity();
        if len > capacity_bytes {
            return Err(LenError { asked_bytes: len, capacity_bytes });
        }
        self.len = len;
        Ok(())
    }

    /// Shortens the payload. A larger length changes nothing.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`LenError`] if they don't fit; the buffer is unchanged.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<(), LenError> {
        let (start, end) = (self.len, self.len.saturating_add(bytes.len()));
        self.set_len(end)?;
        self[start..end].copy_from_slice(bytes);
        Ok(())
    }

    /// From now on, dropping the buffer zeroes its whole capacity, whatever
    /// [`ClassOptions::zero_on_return`](super::ClassOptions::zero_on_return) says: for a secret in
    /// a pool whose other buffers needn't be zeroed. This can't be undone. It goes with the buffer:
    /// to another thread, through a queue, into `Bytes`. It doesn't affect the buffer's next owner.
    ///
    /// It costs setting a bit now, and writing the whole capacity when the buffer is dropped.
    ///
    /// | what ends the buffer | its bytes |
    /// |---|---|
    /// | a drop, also by a panic that unwinds | zeroed before the next owner gets them |
    /// | [`std::mem::forget`], a leak | stay as long as the pool's memory: there is no drop |
    /// | an abort, an exit, a signal | stay until the kernel gets the pages, and clears them for their next process |
    /// | a drop in a forked child | zeroed in the child; the parent drops its own copy |
    ///
    /// A core dump contains the bytes of direct buffers, and those of other buffers if
    /// [`ClassOptions::dump`](super::ClassOptions::dump) is set. Bytes that were copied out of the
    /// buffer aren't zeroed, and pages that the kernel has swapped out may stay on the disk.
    ///
    /// ```
    /// let mut key = slipring::class::get(32)?;
    /// key.zero_on_drop();
    /// key.copy_from_slice(&[7; 32]);
    /// drop(key); // No later owner finds the bytes.
    /// # Ok::<(), slipring::class::GetError>(())
    /// ```
    #[inline]
    pub fn zero_on_drop(&mut self) {
        self.origin.0 = self.origin.0.map_addr(|addr| addr | ZEROED);
    }

    #[inline]
    fn class(&self) -> &Class {
        // SAFETY: I107, I109. The pool, and with it the class, outlives its buffers.
        unsafe { &*self.origin.class() }
    }
}

impl Drop for PooledBuf {
    #[inline]
    fn drop(&mut self) {
        let class =
            if self.origin.is_zeroed() { zero_all(self.at, self.origin) } else { self.origin.0 };
        // SAFETY: I107, I109. It is the buffer's class, and until now the buffer was counted as
        // away, or held a count of the pool.
        unsafe { put(class, Block::new(self.at)) };
    }
}

/// Zeroes a buffer that is being dropped, and returns its class. It takes the buffer's fields by
/// value, so that the buffer itself needn't be in memory.
#[cold]
fn zero_all(at: NonNull<u8>, origin: Origin) -> NonNull<Class> {
    // It isn't dropped here.
    let buf = ManuallyDrop::new(PooledBuf { at, len: 0, origin });
    zero(&Block::new(at), buf.capacity());
    buf.class().at()
}

impl Deref for PooledBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        debug_assert!(self.len <= self.capacity(), "a payload longer than its buffer");
        // SAFETY: I100. The buffer owns its capacity's bytes, all initialised, and `len` is at most
        // the capacity.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl DerefMut for PooledBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: I100. As in `deref`, and the buffer is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for PooledBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for PooledBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for PooledBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, capacity) = (self.len, self.capacity());
        write!(
            f,
            "PooledBuf {{ len: {len}, capacity: {capacity}, is_direct: {} }}",
            self.is_direct()
        )
    }
}

/// A length beyond a buffer's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LenError {
    /// Bytes asked for.
    pub asked_bytes: usize,
    /// The buffer's capacity.
    pub capacity_bytes: usize,
}

impl fmt::Display for LenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked_bytes, capacity_bytes } = self;
        write!(
            f,
            "{asked_bytes} bytes don't fit into a buffer of {capacity_bytes}: get a larger one"
        )
    }
}

impl std::error::Error for LenError {}

#[cfg(feature = "bytes")]
impl PooledBuf {
    /// The payload as [`bytes::Bytes`], without a copy: clones and slices share the buffer, and
    /// dropping the last of them gives it back, on any thread, zeroed if
    /// [`PooledBuf::zero_on_drop`] was called. This costs one small allocation.
    #[must_use]
    pub fn into_bytes(self) -> bytes::Bytes {
        bytes::Bytes::from_owner(self)
    }
}

#[cfg(feature = "bytes")]
impl From<PooledBuf> for bytes::Bytes {
    fn from(buf: PooledBuf) -> Self {
        buf.into_bytes()
    }
}
