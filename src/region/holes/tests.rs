//! Forks of this process with regions of each kind: wiped, left out, and inherited.
#![allow(unsafe_code)]

use slipring_test_support::in_child;

use super::*;
use crate::machine::page_bytes;
use crate::region::map::Mapping;
use crate::region::reserve::Reserve;
use crate::region::{Numa, PageKind, Pages};

const BYTES: usize = 1 << 20;

fn first(mapping: &Mapping) -> u8 {
    // SAFETY: I1. The test has the mapping to itself.
    unsafe { mapping.base().read() }
}

fn write(mapping: &Mapping, byte: u8) {
    // SAFETY: I1. The test has the mapping to itself.
    unsafe { mapping.base().write(byte) };
}

fn mapping() -> Mapping {
    let mapping = Mapping::new(PageKind::Small, BYTES, page_bytes()).unwrap();
    write(&mapping, 7);
    mapping
}

#[test]
fn a_child_has_zeros_whether_the_range_is_wiped_or_left_out() {
    for left_out in [false, true] {
        let mut parents = mapping();
        if left_out { parents.leave_out_of_children() } else { parents.keep_from_children() }
            .unwrap();
        let mut parents = Some(parents);
        let status = in_child(|| {
            let theirs = parents.take().unwrap();
            assert_eq!(first(&theirs), 0, "left out: {left_out}");
            write(&theirs, 8);
            // Of the same length, so that it would go into the hole.
            let mine = mapping();
            assert!(!mine.addresses().overlaps(theirs.addresses()));
            drop(theirs);
            assert_eq!(first(&mine), 7);
        });
        assert_eq!(status, 0, "left out: {left_out}");
        assert_eq!(first(&parents.unwrap()), 7);
    }
}

#[test]
fn a_child_that_no_handler_saw_keeps_what_it_mapped_in_the_hole() {
    let mut parents = mapping();
    // As if the child had been made without the C library: the range isn't on the list, and the
    // process is another one.
    parents.leave_out_of_children().unwrap();
    let range = parents.addresses();
    let status = in_child(|| {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: I10. The child has only the handler's zeros there, and no code reads them.
        let at = unsafe {
            libc::mmap(
                ptr::without_provenance_mut(range.offset()),
                range.len(),
                rights,
                flags,
                -1,
                0,
            )
        };
        assert_eq!(at.addr(), range.offset());
        let mine: *mut u8 = at.cast();
        // SAFETY: I10. It was just mapped.
        unsafe { mine.write(5) };
        drop(parents);
        // SAFETY: I10. The drop of the parent's mapping leaves it.
        assert_eq!(unsafe { mine.read() }, 5);
    });
    assert_eq!(status, 0);
}

#[test]
fn a_child_inherits_a_reserve() {
    let reserve = Reserve::map(BYTES, Pages::Small, Numa::Local, false).unwrap();
    // SAFETY: I90. The test has the reserve to itself.
    unsafe { reserve.base().write(7) };
    let mut reserve = Some(reserve);
    let status = in_child(|| {
        let theirs = reserve.take().unwrap();
        // SAFETY: I90. As above.
        let seen = unsafe { theirs.base().read() };
        // SAFETY: I90. As above.
        unsafe { theirs.base().write(8) };
        assert_eq!(seen, 7);
        let mine = mapping();
        drop(theirs);
        assert_eq!(first(&mine), 7);
    });
    assert_eq!(status, 0);
    // SAFETY: I90. As above.
    assert_eq!(unsafe { reserve.unwrap().base().read() }, 7);
}

#[test]
fn a_full_list_refuses_and_entries_are_reused() {
    let holes = Holes::<2>::new();
    let range = |offset| Extent::new(offset, 10).unwrap();
    assert_eq!(
        (holes.list(range(100)), holes.list(range(200)), holes.list(range(300))),
        (Some(0), Some(1), None)
    );
    holes.unlist(0);
    assert_eq!(holes.listed().collect::<Vec<_>>(), [(200, 10)]);
    assert_eq!(holes.list(range(300)), Some(0));
}
