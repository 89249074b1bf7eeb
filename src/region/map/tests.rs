use super::*;
#[cfg(not(miri))]
use crate::machine::fake::PAGE_BYTES;
use crate::machine::page_bytes;

#[test]
fn a_base_is_aligned_to_its_page_kind() {
    let kinds: &[PageKind] =
        if cfg!(miri) { &[PageKind::Small] } else { &[PageKind::Small, PageKind::Thp] };
    for &kind in kinds {
        let mapping = Mapping::new(kind, 2 * kind.bytes(page_bytes()), page_bytes()).unwrap();
        assert!(mapping.base().addr().get().is_multiple_of(kind.bytes(page_bytes())), "{kind}");
        assert_eq!(mapping.len(), 2 * kind.bytes(page_bytes()));
        assert_eq!(mapping.addresses().offset(), mapping.base().addr().get());
    }
}

#[test]
fn every_byte_can_be_written_and_read() {
    let page_bytes = page_bytes();
    let mapping = Mapping::new(PageKind::Small, 2 * page_bytes, page_bytes).unwrap();
    for offset in [0, 1, page_bytes - 1, page_bytes, 2 * page_bytes - 1] {
        // SAFETY: I1. The offsets are less than the mapping's two pages.
        let byte = unsafe { mapping.base().add(offset) };
        // SAFETY: I1. The byte is inside the mapping, and this test has the only pointer.
        assert_eq!(unsafe { byte.read() }, 0, "fresh memory is zero");
        // SAFETY: I1. As above.
        unsafe { byte.write(7) };
        // SAFETY: I1. As above.
        assert_eq!(unsafe { byte.read() }, 7);
    }
}

/// The lines of /proc/self/maps: addresses and rights.
#[cfg(not(miri))]
fn maps() -> Vec<(Extent, String)> {
    let parse = |line: &str| {
        let (addresses, rest) = line.split_once(' ')?;
        let (first, end) = addresses.split_once('-')?;
        let first = usize::from_str_radix(first, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        Some((Extent::new(first, end - first).ok()?, rest.get(..4)?.to_owned()))
    };
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().filter_map(parse).collect()
}

#[cfg(not(miri))]
#[test]
fn guards_are_around_a_mapping() {
    let mapping = Mapping::new(PageKind::Small, 64 << 10, page_bytes()).unwrap();
    let (range, maps) = (mapping.addresses(), maps());
    // Asked address by address, because the kernel merges the guards of neighbours.
    let rights = |at: usize| {
        let one = Extent::new(at, 1).unwrap();
        maps.iter().find(|(span, _)| span.overlaps(one)).map(|(_, rights)| rights.as_str())
    };
    assert_eq!(rights(range.offset() - 1), Some("---p"));
    assert_eq!(rights(range.offset()), Some("rw-p"));
    assert_eq!(rights(range.end() - 1), Some("rw-p"));
    assert_eq!(rights(range.end()), Some("---p"));
}

#[cfg(not(miri))]
#[test]
fn a_dropped_mapping_is_gone() {
    // A length that no other mapping has: another thread may get the same addresses immediately.
    let mapping = Mapping::new(PageKind::Small, 37 * page_bytes(), page_bytes()).unwrap();
    let range = mapping.addresses();
    assert!(maps().iter().any(|(span, _)| *span == range), "the range is a line of its own");
    drop(mapping);
    assert!(!maps().iter().any(|(span, _)| *span == range), "the mapping outlives its owner");
}

#[cfg(not(miri))]
#[test]
fn what_the_kernel_cannot_map_is_its_number() {
    // More than any processor can address, even with overcommit.
    let bytes = 1 << 62;
    assert_eq!(Mapping::new(PageKind::Small, bytes, page_bytes()).err(), Some(libc::ENOMEM));
    for page_bytes in PAGE_BYTES {
        assert!(address_bytes(PageKind::Small, usize::MAX, page_bytes).is_err());
        assert_eq!(address_bytes(PageKind::Huge2M, 2 << 20, page_bytes), Ok(2 << 20));
        assert_eq!(address_bytes(PageKind::Small, page_bytes, page_bytes), Ok(3 * page_bytes));
        assert_eq!(address_bytes(PageKind::Thp, 2 << 20, page_bytes), Ok((4 << 20) + page_bytes));
    }
}

/// On a machine with larger base pages everything is a multiple of those, also the guards.
#[cfg(not(miri))]
#[test]
fn larger_base_pages_are_kept_whole() {
    for page_bytes in PAGE_BYTES.into_iter().filter(|bytes| *bytes >= page_bytes()) {
        for kind in [PageKind::Small, PageKind::Thp] {
            let mapping = Mapping::new(kind, 2 * kind.bytes(page_bytes), page_bytes).unwrap();
            assert!(
                mapping.base().addr().get().is_multiple_of(page_bytes),
                "{kind} on {page_bytes}"
            );
            assert!(mapping.advise_part(Advice::DontDump, page_bytes, page_bytes).is_ok());
            mapping.touch_by_loop();
        }
    }
}

#[cfg(not(miri))]
#[test]
fn a_node_far_away_is_refused_and_not_written_past_the_mask() {
    let mapping = Mapping::new(PageKind::Small, page_bytes(), page_bytes()).unwrap();
    // Past the most nodes that a kernel can be built for, 1024, but at the ends of words.
    for node in [1087, 1088, 2047, 4096] {
        assert!(mapping.bind(node, Tie::Only).is_err(), "node {node}");
        // A mask cut one bit short would be empty for node 1087, which means `anywhere` here and
        // succeeds.
        assert!(mapping.bind(node, Tie::Preferred).is_err(), "node {node}");
    }
}
