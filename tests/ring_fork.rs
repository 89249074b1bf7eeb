//! A forked child has a copy of a ring pool at the parent's addresses, filled with zeros. It may
//! use and drop that pool, and touches nothing else.

use slipring::region::Pages;
use slipring::ring::{RingOptions, RingPool};
use slipring_test_support::in_child;

const BYTES: usize = 4 << 20;

fn pool(pages: Pages) -> RingPool {
    let options =
        RingOptions { bytes: BYTES, max_slice_bytes: 4096, pages, ..RingOptions::default() };
    RingPool::new(&options).expect("a small pool")
}

/// Reserved huge pages, if the machine has some, can't be wiped on fork: they need another way.
const PAGES: [Pages; 3] = [Pages::Small, Pages::PreferThp, Pages::Prefer2M];

#[test]
fn a_child_reads_zeros_and_writes_its_own() {
    for pages in PAGES {
        let mut pool = pool(pages);
        let slice = pool.copy_in(&[7; 4096]).unwrap();
        let (handle, mut token) =
            (slice.retain().unwrap(), pool.reserve(4096).unwrap().into_token());
        token.fill(7);
        let other = pool.copy_in(&[7; 100]).unwrap();
        let pushed = pool.push(other).unwrap();
        let status = in_child(|| {
            assert!(slice.iter().chain(handle.iter()).chain(token.iter()).all(|&byte| byte == 0));
            assert_eq!(pool.view(&pushed), Some(&[0; 100][..]));
            token.fill(9);
            let mine = pool.copy_in(&[8; 4096]).expect("there is room");
            assert!(mine.iter().all(|&byte| byte == 8) && token.iter().all(|&byte| byte == 9));
        });
        assert_eq!(status, 0, "{pages}: the child's checks failed");
        assert!(
            slice.iter().chain(handle.iter()).chain(token.iter()).all(|&byte| byte == 7),
            "{pages}"
        );
        assert_eq!(pool.view(&pushed), Some(&[7; 100][..]));
    }
}

#[test]
fn what_a_child_maps_stays_mapped_when_the_pool_is_dropped() {
    for pages in PAGES {
        let mut pool = pool(pages);
        let (slice, second) = (pool.copy_in(&[7; 64]).unwrap(), pool.copy_in(&[7; 64]).unwrap());
        let handle = second.retain().unwrap();
        let status = in_child(|| {
            // As large as the pool, and smaller: the next mapping goes into the first hole that is
            // large enough.
            let mine: Vec<Vec<u8>> =
                [BYTES, BYTES / 2, BYTES / 4].map(|bytes| vec![5; bytes - 4096]).into();
            drop((slice, second, pool, handle));
            assert!(mine.iter().flatten().all(|&byte| byte == 5));
        });
        assert_eq!(status, 0, "{pages}: the child's memory was unmapped with the parent's pool");
    }
}

#[test]
fn a_child_makes_pools_of_its_own() {
    let parents = pool(Pages::Small);
    let status = in_child(|| {
        let mut mine = pool(Pages::Small);
        let slice = mine.copy_in(&[3; 100]).unwrap();
        drop(parents);
        assert!(slice.iter().all(|&byte| byte == 3));
        // The same in a child of the child.
        let status = in_child(|| assert!(slice.iter().all(|&byte| byte == 0)));
        assert_eq!(status, 0);
    });
    assert_eq!(status, 0, "the child's checks failed");
}
