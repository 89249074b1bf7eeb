use super::*;

#[test]
fn a_base_is_aligned_to_its_page_kind() {
    let kinds: &[PageKind] = if cfg!(miri) { &[PageKind::Small] } else { &[PageKind::Small, PageKind::Thp] };
    for &kind in kinds {
        let mapping = Mapping::new(kind, 2 * kind.bytes()).unwrap();
        assert!(mapping.base().addr().get().is_multiple_of(kind.bytes()), "{kind}");
        assert_eq!(mapping.len(), 2 * kind.bytes());
        assert_eq!(mapping.addresses().offset(), mapping.base().addr().get());
    }
}

#[test]
fn every_byte_can_be_written_and_read() {
    let mapping = Mapping::new(PageKind::Small, 8192).unwrap();
    for offset in [0, 1, 4095, 4096, 8191] {
        // SAFETY: I1. The offsets are less than the mapping's 8192 bytes.
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
fn maps() -> Vec<(Span, String)> {
    let parse = |line: &str| {
        let (addresses, rest) = line.split_once(' ')?;
        let (first, end) = addresses.split_once('-')?;
        let first = usize::from_str_radix(first, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        Some((Span::new(first, end - first).ok()?, rest.get(..4)?.to_owned()))
    };
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().filter_map(parse).collect()
}

#[cfg(not(miri))]
#[test]
fn guards_are_around_a_mapping() {
    let mapping = Mapping::new(PageKind::Small, 64 << 10).unwrap();
    let (range, maps) = (mapping.addresses(), maps());
    // Asked address by address, because the kernel merges the guards of neighbours.
    let rights = |at: usize| {
        let one = Span::new(at, 1).unwrap();
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
    // A length that nothing else in the process has: another thread may get the same addresses at once.
    let mapping = Mapping::new(PageKind::Small, 37 << 12).unwrap();
    let range = mapping.addresses();
    assert!(maps().iter().any(|(span, _)| *span == range), "the range is a line of its own");
    drop(mapping);
    assert!(!maps().iter().any(|(span, _)| *span == range), "the mapping outlives its owner");
}

#[cfg(not(miri))]
#[test]
fn what_the_kernel_cannot_map_is_its_number() {
    let bytes = 1 << 46;
    assert_eq!(Mapping::new(PageKind::Small, bytes).err(), Some(libc::ENOMEM));
    assert!(address_bytes(PageKind::Small, usize::MAX).is_err());
    assert_eq!(address_bytes(PageKind::Huge2M, 2 << 20), Ok(2 << 20));
}

#[cfg(not(miri))]
#[test]
fn a_node_far_away_is_refused_and_not_written_past_the_mask() {
    let mapping = Mapping::new(PageKind::Small, 4096).unwrap();
    for node in [63, 64, 1023, 4096] {
        assert!(mapping.bind(node, Tie::Only).is_err(), "node {node}");
        // A mask cut one bit short would be empty for node 63, which means `anywhere` here and succeeds.
        assert!(mapping.bind(node, Tie::Preferred).is_err(), "node {node}");
    }
    assert!(current_cpu().is_some());
}
