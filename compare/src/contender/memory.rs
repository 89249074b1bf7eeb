//! Pool memory for contenders that bring none: one anonymous mapping on the pages of the plan,
//! every page touched, but for the bench that is about that. The same for all.

#![allow(unsafe_code)]

use std::fs;

use memmap2::{Advice, MmapMut, MmapOptions};

use crate::case::{Pages, Plan};

const PAGE_BYTES: usize = 4 << 10;
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Maps and touches `bytes`, on transparent huge pages where there are any.
pub fn mapped(bytes: usize) -> Result<MmapMut, String> {
    mapped_on(bytes, Pages::Thp)
}

/// The same on the pages of a plan; up to a huge page more on reserved ones.
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
        // A length that isn't whole pages would leak the mapping when it is dropped.
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

/// Asks for huge pages where a contender's library takes its pool from the global allocator, so
/// that it doesn't lose for its pages. Called before the first touch; what is smaller than two huge
/// pages is left alone.
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

/// Why this plan's pages can't be had, if they can't.
pub fn shortage(plan: &Plan) -> Option<String> {
    let free = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    let free = fs::read_to_string(free).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    short_of(plan, free)
}

fn short_of(plan: &Plan, free: usize) -> Option<String> {
    // A contender may hold a payload more than the pool.
    let needed = (plan.pool_bytes + plan.largest_bytes).div_ceil(HUGE_PAGE_BYTES);
    let short = plan.pages == Pages::Huge2M && free < needed;
    short.then(|| {
        format!(
            "{needed} reserved pages of 2 MiB are needed, {free} are free (set vm.nr_hugepages)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;

    #[test]
    fn reserved_pages_are_counted_before_they_are_asked_for() {
        let plan = Case { pages: Pages::Huge2M, ..Case::FIT }.plan();
        assert!(short_of(&plan, 0).is_some_and(|why| why.contains("1 reserved pages") && why.contains("nr_hugepages")));
        assert_eq!(short_of(&plan, 1), None);
        assert_eq!(short_of(&Case::FIT.plan(), 0), None);
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
}
