//! [`Reserve`]: a mapped range whose pages are populated on demand and given back in parts.
//!
//! Promises the checks, guards, page kind and NUMA node of a [`Region`](super::Region), but not
//! residency: callers that need pages now ask for them. It doesn't know which parts are in use.
//! Giving back a part that is being read would change bytes under the reader, so that call is
//! unsafe.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::error::RegionError;
use super::extent::{Extent, align_up};
use super::limits::{self, Need};
use super::map::{self, Advice, Mapping};
use super::options::{Numa, PageKind, Pages};
use super::placement::NumaPlacement;
use crate::machine::kernel::Roots;
use crate::machine::page_bytes;

/// One range of small or transparent huge pages. Its bytes are zero at first, and after they were
/// given back.
#[derive(Debug)]
pub(crate) struct Reserve {
    mapping: Mapping,
}

impl Reserve {
    /// Maps `bytes`, rounded up to the page kind. Limits are checked as if all of them were touched
    /// now. A forked child inherits the range.
    pub(crate) fn map(
        bytes: usize,
        pages: Pages,
        numa: Numa,
        dump: bool,
    ) -> Result<Reserve, RegionError> {
        let (need, placement) = need(bytes, pages, numa)?;
        let (kind, mapped_bytes) = (need.kind, need.resident_bytes);
        let mapping = Mapping::new(kind, mapped_bytes, page_bytes())
            .map_err(|errno| RegionError::Map { kind, mapped_bytes, errno })?;
        // A kernel without huge pages refuses both kinds of advice, and gives small pages anyway.
        let _ = mapping.advise(if kind == PageKind::Thp {
            Advice::HugePages
        } else {
            Advice::NoHugePages
        });
        if !dump {
            let _ = mapping.advise(Advice::DontDump);
        }
        placement.apply(&mapping)?;
        assert!(
            mapping.len() >= bytes && mapping.kind() == kind,
            "the mapping isn't what was asked for"
        );
        Ok(Reserve { mapping })
    }

    /// Checks whether `bytes` more, all of them touched, fit under every limit.
    pub(crate) fn check(bytes: usize, pages: Pages, numa: Numa) -> Result<(), RegionError> {
        need(bytes, pages, numa).map(|_| ())
    }

    /// The first byte, on a page of its kind. The pointer is good for all `len()` bytes while the
    /// reserve lives. As with a region, no reference to all of it may be made (I8).
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.mapping.base()
    }

    pub(crate) fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Whether an address is in the range.
    pub(crate) fn contains(&self, addr: usize) -> bool {
        let addresses = self.mapping.addresses();
        addresses.offset() <= addr && addr < addresses.end()
    }

    /// Populates the pages that hold a part; no byte changes. Returns false where the kernel
    /// doesn't know the request (before 5.14).
    pub(crate) fn populate(&self, part: Extent) -> Result<bool, RegionError> {
        let page_bytes = self.mapping.page_bytes();
        let start = part.offset() / page_bytes * page_bytes;
        let end = part.end().next_multiple_of(page_bytes).min(self.len());
        assert!(
            start < end && part.end() <= self.len(),
            "{part:?} isn't part of a reserve of {} bytes",
            self.len()
        );
        loop {
            match self.mapping.advise_part(Advice::PopulateWrite, start, end - start) {
                Ok(()) => return Ok(true),
                // A signal came between. The pages supplied so far stay, so the loop ends.
                Err(libc::EINTR) => {}
                Err(libc::EINVAL) => return Ok(false),
                Err(errno) => {
                    let (kind, mapped_bytes) = (self.mapping.kind(), end - start);
                    return Err(RegionError::Populate { kind, mapped_bytes, errno });
                }
            }
        }
    }

    /// Gives the pages of a part back. Afterwards its bytes are zero, and it holds no memory.
    /// Returns false if the kernel refuses; then nothing has changed.
    ///
    /// # Safety
    /// - The part is whole base pages ([`page_bytes`]) inside the reserve.
    /// - The caller owns every byte of it: nothing else reads or writes there during the call, and
    ///   no reference to it exists.
    pub(crate) unsafe fn give_back(&self, part: Extent) -> bool {
        let page_bytes = self.mapping.page_bytes();
        assert!(part.offset().is_multiple_of(page_bytes) && part.len().is_multiple_of(page_bytes));
        assert!(
            part.end() <= self.len(),
            "{part:?} isn't part of a reserve of {} bytes",
            self.len()
        );
        // SAFETY: I9. The range is inside our live mapping, and the caller owns its bytes.
        let start = unsafe { self.base().add(part.offset()) };
        if cfg!(miri) {
            // SAFETY: I9. As above. For a reader of the bytes, giving back means only this.
            unsafe { start.write_bytes(0, part.len()) };
            return true;
        }
        // SAFETY: I9. As above: private anonymous pages are replaced by zeros.
        unsafe { libc::madvise(start.as_ptr().cast(), part.len(), libc::MADV_DONTNEED) == 0 }
    }
}

/// What a reserve needs, checked against the limits, and its placement.
fn need(bytes: usize, pages: Pages, numa: Numa) -> Result<(Need, NumaPlacement), RegionError> {
    assert!(
        matches!(pages, Pages::Small | Pages::PreferThp),
        "{pages} can't be given back in parts"
    );
    let kind = if pages == Pages::Small || cfg!(miri) { PageKind::Small } else { PageKind::Thp };
    let roots = Roots::system();
    let too_large = |_| RegionError::TooLarge { asked_bytes: bytes };
    let resident_bytes = align_up(bytes, kind.bytes(roots.page_bytes)).map_err(too_large)?;
    let address_bytes =
        map::address_bytes(kind, resident_bytes, roots.page_bytes).map_err(too_large)?;
    let placement = NumaPlacement::choose(numa, &roots)?;
    let need = Need {
        kind,
        address_bytes,
        resident_bytes,
        page_bytes: roots.page_bytes,
        node: placement.node_required(),
    };
    limits::check(&need, &roots)?;
    Ok((need, placement))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserve() -> Reserve {
        Reserve::map(4 * page_bytes(), Pages::Small, Numa::Local, false).unwrap()
    }

    fn byte(reserve: &Reserve, offset: usize) -> NonNull<u8> {
        // SAFETY: I90. The offsets of these tests are less than the reserve's length.
        unsafe { reserve.base().add(offset) }
    }

    #[test]
    fn what_is_given_back_is_zero_and_its_neighbours_are_not() {
        let reserve = reserve();
        assert!(reserve.populate(Extent::new(100, 2 * page_bytes()).unwrap()).unwrap());
        for page in 0..4 {
            // SAFETY: I90. The test has the reserve to itself.
            unsafe { byte(&reserve, page * page_bytes() + 7).write(page as u8 + 1) };
        }
        // SAFETY: I90. Whole pages, and the test has the reserve to itself.
        assert!(unsafe { reserve.give_back(Extent::new(page_bytes(), 2 * page_bytes()).unwrap()) });
        // SAFETY: I90. As above.
        let seen =
            [0, 1, 2, 3].map(|page| unsafe { byte(&reserve, page * page_bytes() + 7).read() });
        assert_eq!(seen, [1, 0, 0, 4]);
        assert!(reserve.contains(reserve.base().addr().get() + reserve.len() - 1));
        assert!(!reserve.contains(reserve.base().addr().get() + reserve.len()));
    }

    #[test]
    fn more_than_the_address_space_is_an_error() {
        let refused = Reserve::map(usize::MAX, Pages::Small, Numa::Local, false).unwrap_err();
        assert!(matches!(refused, RegionError::TooLarge { .. }), "{refused}");
    }
}
