//! Slabs and the pages of their blocks.

use super::{Block, GivenBack, Slabs};
use crate::class::{ClassOptions, ClassTable};
use crate::machine::page_bytes;

fn slabs(class_bytes: usize) -> Slabs {
    let options =
        ClassOptions { table: ClassTable::new(&[class_bytes]).unwrap(), ..ClassOptions::default() };
    Slabs::new(class_bytes, &options)
}

#[test]
fn slabs_double_and_hold_as_many_as_there_is_room_for() {
    let wire = slabs(64 << 10);
    assert_eq!(
        [usize::MAX, usize::MAX, usize::MAX, 3].map(|room| wire
            .growing()
            .slab(room)
            .unwrap()
            .len()),
        [16, 16, 32, 3]
    );
    let object = slabs(4 << 20);
    assert_eq!(
        [usize::MAX, usize::MAX, usize::MAX, 1].map(|room| object
            .growing()
            .slab(room)
            .unwrap()
            .len()),
        [1, 1, 2, 1]
    );
}

/// As on a machine with such pages.
fn on(page_bytes: usize, class_bytes: usize) -> Slabs {
    let options =
        ClassOptions { table: ClassTable::new(&[class_bytes]).unwrap(), ..ClassOptions::default() };
    Slabs::with_pages(class_bytes, &options, page_bytes)
}

#[test]
fn units_are_whole_pages_and_whole_blocks() {
    for (page_bytes, class_bytes, unit_bytes) in [
        (4096, 64, 4096),
        (4096, 192, 12288),
        (4096, 2048, 4096),
        (4096, 4096, 4096),
        (4096, 4160, 64 * 4160),
        (4096, 8192, 8192),
        (16 << 10, 4096, 16 << 10),
        (16 << 10, 12 << 10, 48 << 10),
        (64 << 10, 64, 64 << 10),
        (64 << 10, 8192, 64 << 10),
        (64 << 10, 1 << 20, 1 << 20),
    ] {
        assert_eq!(on(page_bytes, class_bytes).unit_bytes(), unit_bytes);
        assert!(unit_bytes % page_bytes == 0 && unit_bytes % class_bytes == 0);
    }
}

/// Of blocks 1 to 5, in pages of two, all idle but the first: 2 and 3 are a page, 4 and 5 another.
#[test]
fn only_whole_pages_go() {
    // No smaller ones than this machine has: its kernel gives back none.
    for page_bytes in
        [4 << 10, 16 << 10, 64 << 10].into_iter().filter(|&bytes| bytes >= page_bytes())
    {
        whole_pages_go(&on(page_bytes, page_bytes / 2));
    }
}

fn whole_pages_go(slabs: &Slabs) {
    let mut blocks = slabs.growing().slab(6).unwrap();
    blocks.sort_unstable_by_key(Block::addr);
    let (warm, cold, refusal) = slabs.populate(blocks);
    assert_eq!((warm.len(), cold.len(), refusal), (6, 0, None));
    let mut warm = warm;
    let mut idle = warm.split_off(1);
    let neighbour = idle.pop().unwrap();
    let (neighbour_addr, beside_addr) = (neighbour.addr(), idle[0].addr());
    let GivenBack { cold, warm, neighbours } = slabs.give_back(idle, vec![neighbour]);
    assert_eq!(
        warm.iter().map(Block::addr).collect::<Vec<_>>(),
        [beside_addr],
        "its page is the first block's too"
    );
    assert_eq!((cold.len(), neighbours.len(), neighbours[0].addr()), (3, 1, neighbour_addr));
}

#[test]
fn room_for_more_than_the_machine_has_is_refused() {
    slabs(64).check_room(0).unwrap();
    slabs(64).check_room(1).unwrap();
    slabs(1 << 30).check_room(usize::MAX).unwrap_err();
}
