//! The mapping under a region, and every system call about it.
//!
//! Promises an owned range of one page kind, between guards, that is unmapped when dropped on any thread. It decides
//! nothing: which kind, which advice and what to do about a refusal is [`super::region`]'s.
//!
//! ```text
//!   mmap start           base                          base + len          mmap end
//!   │ guard (PROT_NONE)  │ the region, of one page kind │ guard (PROT_NONE) │
//! ```
//!
//! The guards turn a write past either end, also one by the kernel for us, into a fault. They also keep the range a
//! line of its own in smaps: neighbours of one kind are merged there. Reserved huge pages need none: they are never
//! merged, and a guard would cost a whole huge page. Under Miri there are no guards and every request is a no-op.
#![allow(unsafe_code)]

use super::options::PageKind;
use super::span::{SMALL_PAGE_BYTES, Span, SpanError, align_up};
use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::ptr::NonNull;

/// An owned range, not yet backed by pages until it is touched.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// The whole mapping, guards included.
    whole: MmapRaw,
    /// The region's place in it.
    inside: Span,
    kind: PageKind,
}

/// What is told to the kernel about the whole range. None of it changes a byte.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Advice {
    HugePages,
    NoHugePages,
    DontDump,
    DontFork,
    PopulateWrite,
}

/// How strictly a range is tied to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tie {
    Preferred,
    Only,
}

/// What mmap is asked for, to hold `len` bytes of a page kind: the guards and the way to the next aligned address too.
pub(crate) fn address_bytes(kind: PageKind, len: usize) -> Result<usize, SpanError> {
    if !has_guards(kind) {
        return Ok(len);
    }
    // The base is at most one page kind past the first guard, and mmap's start is a multiple of a small page.
    let extra = 2 * SMALL_PAGE_BYTES + (kind.bytes() - SMALL_PAGE_BYTES);
    assert!(extra >= 2 * SMALL_PAGE_BYTES, "there is no room for two guards");
    Ok(Span::new(extra, len)?.end())
}

fn has_guards(kind: PageKind) -> bool {
    !cfg!(miri) && !kind.is_reserved()
}

impl Mapping {
    /// Maps `len` bytes, a multiple of the page kind.
    pub(crate) fn new(kind: PageKind, len: usize) -> Result<Mapping, i32> {
        // memmap2 can't unmap reserved huge pages whose length isn't a multiple of theirs: they would leak.
        assert!(len > 0 && len.is_multiple_of(kind.bytes()), "{len} bytes aren't whole {kind}");
        let whole_bytes = address_bytes(kind, len).map_err(|_| libc::ENOMEM)?;
        let mut options = MmapOptions::new();
        options.len(whole_bytes);
        if kind.is_reserved() {
            // Never with NORESERVE: a missing page would then be SIGBUS on touch instead of an error here.
            options.huge(u8::try_from(kind.bytes().trailing_zeros()).ok());
        }
        let whole = MmapRaw::from(options.map_anon().map_err(|error| number_of(&error))?);
        let start = whole.as_mut_ptr().addr();
        let offset = if has_guards(kind) {
            align_up(start + SMALL_PAGE_BYTES, kind.bytes()).map_err(|_| libc::ENOMEM)? - start
        } else {
            0
        };
        let inside = Span::new(offset, len).map_err(|_| libc::ENOMEM)?;
        assert!(inside.end() <= whole.len(), "{inside:?} ends past its mapping of {whole_bytes} bytes");
        let mapping = Mapping { whole, inside, kind };
        let aligned = cfg!(miri) || mapping.addresses().offset().is_multiple_of(kind.bytes());
        assert!(aligned, "a region starts in the middle of one of its {kind}");
        mapping.guard()?;
        Ok(mapping)
    }

    /// The first byte. It is aligned to the page kind (under Miri to 4 KiB), and the pointer is good for all of `len`.
    #[inline]
    pub(crate) fn base(&self) -> NonNull<u8> {
        let base = self.whole.as_mut_ptr().wrapping_add(self.inside.offset());
        debug_assert!(base.addr().is_multiple_of(SMALL_PAGE_BYTES), "a mapping isn't on a page");
        NonNull::new(base).expect("a mapping at address zero was granted")
    }

    /// Bytes from the base on, a multiple of the page kind.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.inside.len()
    }

    pub(crate) fn kind(&self) -> PageKind {
        self.kind
    }

    /// The addresses, as the kernel's files name them.
    pub(crate) fn addresses(&self) -> Span {
        let span = Span::new(self.base().as_ptr().addr(), self.inside.len());
        span.expect("an address range that was granted overflows")
    }

    /// Takes away every right to what lies around the region.
    fn guard(&self) -> Result<(), i32> {
        if !has_guards(self.kind) {
            return Ok(());
        }
        let behind = self.whole.len() - self.inside.end();
        assert!(self.inside.offset() >= SMALL_PAGE_BYTES && behind >= SMALL_PAGE_BYTES, "a guard is too small");
        for (offset, len) in [(0, self.inside.offset()), (self.inside.end(), behind)] {
            let start = self.whole.as_mut_ptr().wrapping_add(offset).cast();
            // SAFETY: I3. `offset` and `len` are the parts of our mapping outside `inside`, where no pointer is made.
            let result = unsafe { libc::mprotect(start, len, libc::PROT_NONE) };
            checked(result.into())?;
        }
        Ok(())
    }

    /// Tells the kernel something about the whole range; the error is the kernel's number.
    pub(crate) fn advise(&self, advice: Advice) -> Result<(), i32> {
        self.advise_part(advice, 0, self.len())
    }

    /// Tells the kernel something about a part of the range.
    pub(crate) fn advise_part(&self, advice: Advice, offset: usize, len: usize) -> Result<(), i32> {
        assert!(offset + len <= self.len() && offset.is_multiple_of(SMALL_PAGE_BYTES), "not a part: {offset}, {len}");
        if cfg!(miri) {
            return Ok(());
        }
        let advice = match advice {
            Advice::HugePages => libc::MADV_HUGEPAGE,
            Advice::NoHugePages => libc::MADV_NOHUGEPAGE,
            Advice::DontDump => libc::MADV_DONTDUMP,
            Advice::DontFork => libc::MADV_DONTFORK,
            Advice::PopulateWrite => libc::MADV_POPULATE_WRITE,
        };
        let start = self.base().as_ptr().wrapping_add(offset);
        // SAFETY: I2. The range is ours, and none of these five changes what its bytes are.
        let result = unsafe { libc::madvise(start.cast(), len, advice) };
        checked(result.into())
    }

    /// Ties the pages that will be touched to a node.
    pub(crate) fn bind(&self, node: u32, tie: Tie) -> Result<(), i32> {
        if cfg!(miri) {
            return Ok(());
        }
        let mode = match tie {
            Tie::Preferred => libc::MPOL_PREFERRED,
            Tie::Only => libc::MPOL_BIND,
        };
        let word_bits = libc::c_ulong::BITS as usize;
        let node = node as usize;
        let mut mask: Vec<libc::c_ulong> = vec![0; node / word_bits + 1];
        mask[node / word_bits] |= 1 << (node % word_bits);
        // The kernel takes one off this number before it reads the mask.
        let mask_bits = mask.len() * word_bits + 1;
        assert!(node < mask_bits - 1, "the bit of node {node} isn't in the mask");
        let (base, len) = (self.base().as_ptr(), self.len());
        // SAFETY: I4. The range is ours, and `mask` holds the bits that are read and outlives the call.
        let result = unsafe { libc::syscall(libc::SYS_mbind, base, len, mode, mask.as_ptr(), mask_bits, 0) };
        checked(result)
    }

    /// Locks the range in memory.
    pub(crate) fn lock(&self) -> Result<(), i32> {
        if cfg!(miri) {
            return Ok(());
        }
        // SAFETY: I2. The range is ours, and locking doesn't change what its bytes are.
        let result = unsafe { libc::mlock(self.base().as_ptr().cast(), self.len()) };
        checked(result.into())
    }
}

/// The CPU that the calling thread runs on at this moment: it stays so only on a pinned thread.
pub(crate) fn current_cpu() -> Option<usize> {
    if cfg!(miri) {
        return None;
    }
    // SAFETY: I5. The call takes no pointer and touches no memory of ours.
    let cpu = unsafe { libc::sched_getcpu() };
    usize::try_from(cpu).ok()
}

fn checked(result: i64) -> Result<(), i32> {
    assert!(result == 0 || result == -1, "a call that gives 0 or -1 gave {result}");
    if result == 0 { Ok(()) } else { Err(number_of(&io::Error::last_os_error())) }
}

/// The kernel's number of an error; memmap2 may fail by its own check, which is about the length.
fn number_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

#[cfg(test)]
mod tests;
