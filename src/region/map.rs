//! The mapping under a region, and all system calls on it.
//!
//! Promises an owned range of one page kind, between guards, that is unmapped when it is dropped,
//! on any thread. It decides nothing: [`super::region`] chooses the kind and the advice, and
//! handles refusals.
//!
//! ```text
//!   mmap start           base                          base + len          mmap end
//!   │ guard (PROT_NONE)  │ the region, of one page kind │ guard (PROT_NONE) │
//! ```
//!
//! The guards turn a write past either end into a fault, even a write by the kernel on our behalf.
//! They also make the range a line of its own in smaps, where neighbours of one kind are merged.
//! Reserved huge pages have no guards: they are never merged, and a guard would cost a whole huge
//! page. Under Miri there are no guards and every request is a no-op.
#![allow(unsafe_code)]

use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::time::Instant;

use memmap2::{MmapOptions, MmapRaw};

use super::extent::{Extent, ExtentError, align_up};
use super::holes::ListedHole;
use super::options::PageKind;
use crate::machine;

/// An owned range, not yet backed by pages until it is touched.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// The whole mapping, including the guards. It is unmapped when this is dropped, except in a
    /// child that has a hole in its place.
    whole: ManuallyDrop<MmapRaw>,
    /// Where the region is in the mapping.
    inside: Extent,
    kind: PageKind,
    /// Bytes of a base page.
    page_bytes: usize,
    /// Set where children have a hole instead of the region.
    left_out: Option<ListedHole>,
}

/// Advice to the kernel about the whole range. None of it changes a byte in this process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Advice {
    HugePages,
    NoHugePages,
    DontDump,
    WipeOnFork,
    DontFork,
    PopulateWrite,
}

/// How strictly a range is tied to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tie {
    Preferred,
    Only,
}

/// How the pages were supplied, and how long it took in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) by_loop: bool,
    pub(crate) touch_ns: u64,
}

/// The length for mmap that is enough for `len` bytes of a page kind, the guards, and the
/// alignment.
pub(crate) fn address_bytes(
    kind: PageKind,
    len: usize,
    page_bytes: usize,
) -> Result<usize, ExtentError> {
    if !has_guards(kind) {
        return Ok(len);
    }
    // The base is at most one page of the kind after the first guard, and mmap's start is a
    // multiple of a base page.
    let extra = 2 * page_bytes + (kind.bytes(page_bytes) - page_bytes);
    Ok(Extent::new(extra, len)?.end())
}

fn has_guards(kind: PageKind) -> bool {
    !cfg!(miri) && !kind.is_reserved()
}

impl Mapping {
    /// Maps `len` bytes, a multiple of the page kind, on a machine with base pages of `page_bytes`.
    pub(crate) fn new(kind: PageKind, len: usize, page_bytes: usize) -> Result<Mapping, i32> {
        assert!(
            page_bytes.is_power_of_two() && page_bytes >= machine::page_bytes(),
            "pages of {page_bytes} bytes"
        );
        let kind_bytes = kind.bytes(page_bytes);
        // memmap2 can't unmap reserved huge pages whose length isn't a multiple of theirs: they
        // would leak.
        assert!(len > 0 && len.is_multiple_of(kind_bytes), "{len} bytes aren't whole {kind}");
        let whole_bytes = address_bytes(kind, len, page_bytes).map_err(|_| libc::ENOMEM)?;
        let mut options = MmapOptions::new();
        options.len(whole_bytes);
        if kind.is_reserved() {
            // Never with NORESERVE: then a missing page would be SIGBUS at the touch instead of an
            // error here.
            options.huge(u8::try_from(kind_bytes.trailing_zeros()).ok());
        }
        let whole = MmapRaw::from(options.map_anon().map_err(|error| number_of(&error))?);
        let start = whole.as_mut_ptr().addr();
        let offset = if has_guards(kind) {
            align_up(start + machine::page_bytes(), kind_bytes).map_err(|_| libc::ENOMEM)? - start
        } else {
            0
        };
        let inside = Extent::new(offset, len).map_err(|_| libc::ENOMEM)?;
        assert!(
            inside.end() <= whole.len(),
            "{inside:?} ends past its mapping of {whole_bytes} bytes"
        );
        let mapping =
            Mapping { whole: ManuallyDrop::new(whole), inside, kind, page_bytes, left_out: None };
        let aligned = cfg!(miri) || mapping.addresses().offset().is_multiple_of(kind_bytes);
        assert!(aligned, "a region starts in the middle of one of its {kind}");
        mapping.guard()?;
        Ok(mapping)
    }

    /// The first byte. It is aligned to the page kind (under Miri to 4 KiB), and the pointer is
    /// good for all of `len`.
    #[inline]
    pub(crate) fn base(&self) -> NonNull<u8> {
        let base = self.whole.as_mut_ptr().wrapping_add(self.inside.offset());
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

    /// Bytes of a base page. The kernel accepts parts of the range that are multiples of it.
    pub(crate) fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// The addresses, as the kernel's files name them.
    pub(crate) fn addresses(&self) -> Extent {
        let span = Extent::new(self.base().as_ptr().addr(), self.inside.len());
        span.expect("an address range that was granted overflows")
    }

    /// Removes every access right to the bytes around the region.
    fn guard(&self) -> Result<(), i32> {
        if !has_guards(self.kind) {
            return Ok(());
        }
        let after = self.whole.len() - self.inside.end();
        assert!(self.inside.offset() > 0 && after > 0, "a guard is missing");
        for (offset, len) in [(0, self.inside.offset()), (self.inside.end(), after)] {
            let start = self.whole.as_mut_ptr().wrapping_add(offset).cast();
            // SAFETY: I3. `offset` and `len` are the parts of our mapping outside `inside`, where
            // no pointer is made.
            let result = unsafe { libc::mprotect(start, len, libc::PROT_NONE) };
            checked(result.into())?;
        }
        Ok(())
    }

    /// Advises the kernel about the whole range. The error is the kernel's number.
    pub(crate) fn advise(&self, advice: Advice) -> Result<(), i32> {
        self.advise_part(advice, 0, self.len())
    }

    /// Advises the kernel about a part of the range.
    pub(crate) fn advise_part(&self, advice: Advice, offset: usize, len: usize) -> Result<(), i32> {
        assert!(
            offset + len <= self.len() && offset.is_multiple_of(self.page_bytes),
            "not a part: {offset}, {len}"
        );
        if cfg!(miri) {
            return Ok(());
        }
        let advice = match advice {
            Advice::HugePages => libc::MADV_HUGEPAGE,
            Advice::NoHugePages => libc::MADV_NOHUGEPAGE,
            Advice::DontDump => libc::MADV_DONTDUMP,
            Advice::WipeOnFork => libc::MADV_WIPEONFORK,
            Advice::DontFork => libc::MADV_DONTFORK,
            Advice::PopulateWrite => libc::MADV_POPULATE_WRITE,
        };
        let start = self.base().as_ptr().wrapping_add(offset);
        // SAFETY: I2. The range is ours, and none of these six requests changes its bytes in this
        // process.
        let result = unsafe { libc::madvise(start.cast(), len, advice) };
        checked(result.into())
    }

    /// Makes a forked child see zeros in place of the range's bytes. Then a fork copies no page of
    /// it.
    pub(crate) fn keep_from_children(&mut self) -> Result<(), i32> {
        // Reserved huge pages are a file to the kernel: they can't be wiped.
        match self.advise(Advice::WipeOnFork) {
            Ok(()) => Ok(()),
            Err(libc::EINVAL) => self.leave_out_of_children(),
            refused => refused,
        }
    }

    /// As [`Mapping::keep_from_children`], for a range that can't be wiped.
    pub(crate) fn leave_out_of_children(&mut self) -> Result<(), i32> {
        // Listed first: a fork in between finds the range mapped, so there is no hole to fill.
        let listed = ListedHole::new(self.addresses()).ok_or(libc::ENOSPC)?;
        self.advise(Advice::DontFork)?;
        self.left_out = Some(listed);
        Ok(())
    }

    /// Binds the pages that will be touched to a node.
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
        // The kernel subtracts one from this number before it reads the mask.
        let mask_bits = mask.len() * word_bits + 1;
        assert!(node < mask_bits - 1, "the bit of node {node} isn't in the mask");
        let (base, len) = (self.base().as_ptr(), self.len());
        // SAFETY: I4. The range is ours; `mask` holds all the bits that are read, and outlives the
        // call.
        let result =
            unsafe { libc::syscall(libc::SYS_mbind, base, len, mode, mask.as_ptr(), mask_bits, 0) };
        checked(result)
    }

    /// Locks the range in memory.
    pub(crate) fn lock(&self) -> Result<(), i32> {
        if cfg!(miri) {
            return Ok(());
        }
        // SAFETY: I2. The range is ours, and locking doesn't change its bytes.
        let result = unsafe { libc::mlock(self.base().as_ptr().cast(), self.len()) };
        checked(result.into())
    }

    /// Populates every page from the calling thread and measures the time; the error is the
    /// kernel's number. It is the first touch, so it decides the NUMA node. It comes after all
    /// advice, because huge pages that are requested after the touch come late or never. The
    /// mapping is fresh: no other thread has its pointer yet.
    pub(crate) fn touch(&self) -> Result<Touched, i32> {
        // Miri has neither real pages nor, isolated, a clock.
        if cfg!(miri) {
            return Ok(Touched { by_loop: false, touch_ns: 0 });
        }
        let start = Instant::now();
        let by_loop = loop {
            match self.advise(Advice::PopulateWrite) {
                Ok(()) => break false,
                // A signal came between. The pages supplied so far stay, so the loop ends.
                Err(libc::EINTR) => {}
                // Linux before 5.14 doesn't know the request.
                Err(libc::EINVAL) => {
                    self.touch_by_loop();
                    break true;
                }
                Err(errno) => return Err(errno),
            }
        };
        let touch_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Ok(Touched { by_loop, touch_ns })
    }

    /// Writes a zero into each page: its bytes are zero already, and a read wouldn't supply a page.
    pub(super) fn touch_by_loop(&self) {
        let (base, len) = (self.base(), self.len());
        for offset in (0..len).step_by(self.page_bytes()) {
            // SAFETY: I1. `offset` is less than the mapping's length, so the sum stays inside it.
            let byte = unsafe { base.add(offset) };
            // SAFETY: I6. The byte is inside our fresh mapping, and no other thread has a pointer
            // to it yet.
            unsafe { byte.write_volatile(0) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In a child that was made without the C library, the range is a hole, and the child may
        // have mapped anything there.
        if self.left_out.as_ref().is_none_or(ListedHole::is_in_own_process) {
            // SAFETY: I1. It is dropped once, here, and isn't used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.whole) };
        }
    }
}

fn checked(result: i64) -> Result<(), i32> {
    assert!(result == 0 || result == -1, "a call that gives 0 or -1 gave {result}");
    if result == 0 { Ok(()) } else { Err(number_of(&io::Error::last_os_error())) }
}

/// The kernel's number of an error. An error of memmap2's own check, of the length, has none.
fn number_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

#[cfg(test)]
mod tests;
