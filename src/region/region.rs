//! [`Region`]: requests a mapping in the right order, falls back where that is allowed, and
//! reports.
//!
//! Promises resident memory for as long as the region lives, on any thread that holds it. It
//! doesn't hand out bytes; that is [`crate::ring`].

use std::ptr::NonNull;

use super::error::RegionError;
use super::extent::align_up;
use super::limits::{self, Need};
use super::map::{self, Advice, Mapping};
use super::options::{Lock, PageKind, RegionOptions};
use super::placement::NumaPlacement;
use super::report::{self, Downgrade, Granted, PagesGranted, RegionReport, small_pages_cause};
use crate::machine::kernel::Roots;

/// One mapped and touched range of memory. It is unmapped when it is dropped, on any thread. It
/// isn't `Clone`: it has one owner.
#[derive(Debug)]
pub(crate) struct Region {
    mapping: Mapping,
    bytes: usize,
    report: RegionReport,
}

/// What all attempts at mapping one region share.
struct RegionRequest<'a> {
    options: &'a RegionOptions,
    /// The usable length.
    bytes: usize,
    placement: NumaPlacement,
    roots: &'a Roots,
}

impl Region {
    /// Maps a region. Call it on the thread that will own the memory, after pinning it, because the
    /// touch decides the NUMA node.
    ///
    /// It touches every page, reads some files of `/proc` and `/sys`, and allocates. Under Miri it
    /// only maps plain memory.
    ///
    /// # Errors
    /// A [`RegionError`] names the limit, the requested figure, the allowed figure, and the fix.
    /// Nothing stays mapped.
    pub(crate) fn map(options: &RegionOptions) -> Result<Region, RegionError> {
        Region::map_within(options, &Roots::system())
    }

    /// The same, on a machine whose files are elsewhere.
    pub(crate) fn map_within(
        options: &RegionOptions,
        roots: &Roots,
    ) -> Result<Region, RegionError> {
        let mapped = Region::step_down(options, roots);
        match &mapped {
            Ok(region) => region.report.check(),
            Err(refusal) => refusal.check(),
        }
        mapped
    }

    /// Tries the page kinds that the options allow, best first.
    fn step_down(options: &RegionOptions, roots: &Roots) -> Result<Region, RegionError> {
        let asked_bytes = options.bytes;
        if asked_bytes == 0 {
            return Err(RegionError::ZeroBytes);
        }
        let bytes = align_up(asked_bytes, roots.page_bytes)
            .map_err(|_| RegionError::TooLarge { asked_bytes })?;
        let placement = NumaPlacement::choose(options.numa, roots)?;
        let request = RegionRequest { options, bytes, placement, roots };
        let ladder = if cfg!(miri) { &[PageKind::Small] } else { options.pages.ladder() };
        assert!(!ladder.is_empty(), "{} names no page kind", options.pages);
        let (above, last) = ladder.split_at(ladder.len() - 1);
        let mut downgrades = Vec::new();
        for kind in above {
            match request.attempt(*kind, &downgrades) {
                Ok(region) => return Ok(region),
                Err(cause) => downgrades.push(Downgrade::Pages { wanted: *kind, cause }),
            }
        }
        assert!(downgrades.len() < ladder.len(), "the last kind has nothing to step down to");
        request.attempt(last[0], &downgrades)
    }

    /// Usable bytes from the base on: the bytes asked for, rounded up to a base page.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was granted, as read back when the region was mapped.
    pub(crate) fn report(&self) -> &RegionReport {
        &self.report
    }

    /// The first byte, aligned to a base page at least. The pointer is good for reads and writes of
    /// all `bytes()`, which are zero at first, for as long as the region lives. The caller decides
    /// which code writes where (I8): no reference to the region as a whole may ever be made.
    #[inline]
    pub(crate) fn base(&self) -> NonNull<u8> {
        debug_assert!(self.bytes <= self.mapping.len(), "more usable bytes than mapped ones");
        self.mapping.base()
    }
}

impl RegionRequest<'_> {
    /// Attempts one page kind: checks the limits, maps, touches and reports.
    fn attempt(&self, kind: PageKind, above: &[Downgrade]) -> Result<Region, RegionError> {
        let page_bytes = self.roots.page_bytes;
        let too_large = |_| RegionError::TooLarge { asked_bytes: self.options.bytes };
        let mapped_bytes = align_up(self.bytes, kind.bytes(page_bytes)).map_err(too_large)?;
        let address_bytes =
            map::address_bytes(kind, mapped_bytes, page_bytes).map_err(too_large)?;
        let node = self.placement.node_required();
        limits::check(
            &Need { kind, address_bytes, resident_bytes: mapped_bytes, page_bytes, node },
            self.roots,
        )?;
        let lock_refusal = self.check_lock(kind, mapped_bytes)?;

        let mut mapping = Mapping::new(kind, mapped_bytes, page_bytes)
            .map_err(|errno| RegionError::Map { kind, mapped_bytes, errno })?;
        let mut downgrades = above.to_vec();
        let thp_refusal = self.advise(&mut mapping, &mut downgrades);
        downgrades.extend(self.placement.apply(&mapping)?);
        let touched =
            mapping.touch().map_err(|errno| RegionError::Populate { kind, mapped_bytes, errno })?;
        if touched.by_loop {
            downgrades.push(Downgrade::TouchedByLoop);
        }
        downgrades.extend(match lock_refusal {
            Some(cause) => Some(Downgrade::Unlocked { cause }),
            None => self.lock(&mapping)?,
        });
        let (node, elsewhere) = self.placement.read_back(&mapping, self.roots);
        downgrades.extend(elsewhere);
        let granted = self.read_back(&mapping, thp_refusal, &mut downgrades);
        let report = RegionReport {
            asked_bytes: self.options.bytes,
            mapped_bytes,
            pages: granted.pages,
            node,
            locked_bytes: granted.locked_bytes,
            touch_ns: touched.touch_ns,
            downgrades,
        };
        assert!(mapping.len() >= self.bytes, "fewer bytes are mapped than will be handed out");
        Ok(Region { mapping, bytes: self.bytes, report })
    }

    /// What will refuse the lock, if anything: an error if the lock is required, else the refusal.
    fn check_lock(
        &self,
        kind: PageKind,
        mapped_bytes: usize,
    ) -> Result<Option<RegionError>, RegionError> {
        if self.options.lock == Lock::Off || kind.is_reserved() {
            return Ok(None);
        }
        match limits::check_lock(mapped_bytes, self.roots) {
            Err(cause) if self.options.lock == Lock::Require => Err(cause),
            checked => Ok(checked.err()),
        }
    }

    /// Gives all advice that must come before the first touch. Returns the kernel's number if it
    /// refuses huge pages.
    fn advise(&self, mapping: &mut Mapping, downgrades: &mut Vec<Downgrade>) -> Option<i32> {
        let thp_refusal = match mapping.kind() {
            PageKind::Thp => mapping.advise(Advice::HugePages).err(),
            PageKind::Small => {
                // A kernel without huge pages refuses this too, and gives small ones anyway.
                let _ = mapping.advise(Advice::NoHugePages);
                None
            }
            PageKind::Huge2M | PageKind::Huge1G => None,
        };
        if !self.options.dump {
            downgrades.extend(
                mapping.advise(Advice::DontDump).err().map(|errno| Downgrade::Dumped { errno }),
            );
        }
        if !self.options.fork {
            downgrades.extend(
                mapping.keep_from_children().err().map(|errno| Downgrade::Forked { errno }),
            );
        }
        thp_refusal
    }

    /// Locks what was touched, if that was requested.
    fn lock(&self, mapping: &Mapping) -> Result<Option<Downgrade>, RegionError> {
        if self.options.lock == Lock::Off || mapping.kind().is_reserved() {
            return Ok(None);
        }
        let Err(errno) = mapping.lock() else { return Ok(None) };
        assert!(errno > 0, "refused without a number");
        let cause = RegionError::LockRefused { asked_bytes: mapping.len(), errno };
        if self.options.lock == Lock::Require {
            Err(cause)
        } else {
            Ok(Some(Downgrade::Unlocked { cause }))
        }
    }

    /// What the kernel says the mapping is made of.
    fn read_back(
        &self,
        mapping: &Mapping,
        thp_refusal: Option<i32>,
        downgrades: &mut Vec<Downgrade>,
    ) -> Granted {
        let mapped_bytes = mapping.len();
        if cfg!(miri) {
            let pages = PagesGranted { small_bytes: mapped_bytes, ..PagesGranted::default() };
            return Granted { pages, locked_bytes: 0 };
        }
        let text = self.roots.read_proc("self/smaps").unwrap_or_default();
        // Figures larger than the mapping include a neighbour that the kernel has merged with it.
        let ours = |granted: &Granted| {
            granted.pages.total_bytes().max(granted.locked_bytes) <= mapped_bytes
        };
        let Some(granted) = report::granted(&text, mapping.addresses()).filter(ours) else {
            downgrades.push(Downgrade::Unread);
            return Granted::default();
        };
        let small_bytes = granted.pages.small_bytes;
        if mapping.kind() == PageKind::Thp && small_bytes > 0 {
            let cause = small_pages_cause(thp_refusal, self.roots);
            downgrades.push(Downgrade::SmallPages { small_bytes, mapped_bytes, cause });
        }
        granted
    }
}
