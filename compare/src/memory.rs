//! Memory: pools for contenders that have none of their own, and the resident memory of the
//! process.
//!
//! A pool is one anonymous mapping on the pages of the plan, with every page touched, except for
//! the bench that compares touched with untouched pools. It is the same for all contenders.

#![allow(unsafe_code)]

use std::fmt::{self, Display};
use std::fs;

use memmap2::{Advice, MmapMut, MmapOptions};

const PAGE_BYTES: usize = 4 << 10;
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// The pages of a pool. A contender whose memory isn't a mapping of ours takes part with
/// [`Pages::Thp`] only.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pages {
    /// Pages of 4 KiB, even where the kernel would give larger ones.
    Small,
    /// Transparent huge pages where the kernel gives them: the default of every case.
    Thp,
    /// Reserved pages of 2 MiB.
    Huge2M,
}

impl Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pages::Small => "pages of 4 KiB",
            Pages::Thp => "transparent huge pages",
            Pages::Huge2M => "reserved pages of 2 MiB",
        })
    }
}

/// Maps and touches `bytes`, on transparent huge pages where there are any.
pub fn mapped(bytes: usize) -> Result<MmapMut, String> {
    mapped_on(bytes, Pages::Thp)
}

/// The same on the pages of a plan. On reserved pages it is up to a huge page longer.
pub fn mapped_on(bytes: usize, pages: Pages) -> Result<MmapMut, String> {
    let mut memory = untouched_on(bytes, pages)?;
    memory.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
    Ok(memory)
}

/// The same, with no page of it in memory yet.
pub fn untouched_on(bytes: usize, pages: Pages) -> Result<MmapMut, String> {
    let mut options = MmapOptions::new();
    match pages {
        Pages::Small | Pages::Thp => options.len(bytes),
        // With a length that isn't whole pages the mapping would leak when it is dropped.
        Pages::Huge2M => options
            .len(bytes.next_multiple_of(HUGE_PAGE_BYTES))
            .huge(Some(HUGE_PAGE_BYTES.ilog2() as u8)),
    };
    let memory =
        options.map_anon().map_err(|error| format!("{bytes} B of memory on {pages}: {error}"))?;
    // Best effort: a kernel without huge pages is slower for every contender alike.
    let _ = match pages {
        Pages::Small => memory.advise(Advice::NoHugePage),
        Pages::Thp => memory.advise(Advice::HugePage),
        Pages::Huge2M => Ok(()),
    };
    Ok(memory)
}

/// Asks for huge pages where a contender's library allocates its pool by the global allocator, so
/// that its pages are no disadvantage. Called before the first touch; ranges smaller than two huge
/// pages are left alone.
pub fn advise_huge(start: *const u8, bytes: usize) {
    if bytes < 2 * HUGE_PAGE_BYTES {
        return;
    }
    let from = start.addr().next_multiple_of(PAGE_BYTES);
    let len = (start.addr() + bytes - from) / PAGE_BYTES * PAGE_BYTES;
    let first = start.wrapping_add(from - start.addr()).cast_mut().cast();
    // SAFETY: I85. The call takes an address and a length and changes no byte; for an unmapped
    // address it returns an error.
    let _ = unsafe { libc::madvise(first, len, libc::MADV_HUGEPAGE) };
}

/// Why pages for this many bytes aren't available, if they aren't.
pub fn shortage(bytes: usize, pages: Pages) -> Option<String> {
    let free = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    let free = fs::read_to_string(free).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    short_of(bytes, pages, free)
}

fn short_of(bytes: usize, pages: Pages, free: usize) -> Option<String> {
    let needed = bytes.div_ceil(HUGE_PAGE_BYTES);
    let short = pages == Pages::Huge2M && free < needed;
    short.then(|| {
        format!(
            "{needed} reserved pages of 2 MiB are needed, {free} are free (set vm.nr_hugepages)"
        )
    })
}

/// Resident bytes of this process; 0 where the system doesn't report it.
pub fn resident_bytes() -> usize {
    of_status("VmRSS:", &fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// The most resident bytes that this process ever had; 0 where the system doesn't report it.
pub fn peak_resident_bytes() -> usize {
    of_status("VmHWM:", &fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn of_status(name: &str, status: &str) -> usize {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_pages_are_counted_before_they_are_asked_for() {
        assert!(short_of(512, Pages::Huge2M, 0).is_some_and(
            |why| why.contains("1 reserved pages") && why.contains("nr_hugepages")
        ));
        assert_eq!(short_of(512, Pages::Huge2M, 1), None);
        assert_eq!(short_of(512, Pages::Thp, 0), None);
    }

    #[test]
    fn advice_changes_no_byte() {
        let bytes = vec![7_u8; 3 * HUGE_PAGE_BYTES];
        advise_huge(bytes.as_ptr(), bytes.len());
        assert!(bytes.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn small_and_huge_pages_are_as_long_as_was_asked() {
        for pages in [Pages::Small, Pages::Thp] {
            assert_eq!(mapped_on(12 << 10, pages).unwrap().len(), 12 << 10);
        }
    }

    #[test]
    fn the_system_reports_it_in_kib() {
        let status = "Name:\ta\nVmHWM:\t 1300 kB\nVmRSS:\t    1234 kB\nVmData:\t 1 kB\n";
        assert_eq!(
            (of_status("VmRSS:", status), of_status("VmHWM:", status)),
            (1234 << 10, 1300 << 10)
        );
        assert_eq!((of_status("VmRSS:", ""), of_status("VmRSS:", "VmRSS: many")), (0, 0));
        // The peak is read last: other tests allocate meanwhile.
        let now = resident_bytes();
        assert!(now > 0 && peak_resident_bytes() >= now);
    }
}
