//! The buffer pool of the suite: small, so that an object beyond its largest class is small too.

use slipring::class::{AtLimit, ClassOptions, ClassPool, ClassTable, Limit};

/// The largest class.
pub const POOLED_MOST: usize = 4 << 20;

/// Classes of 1, 2 and 4 MiB with 16 buffers each; what is more is allocated.
pub fn small_pool() -> ClassPool {
    ClassPool::new(&ClassOptions {
        table: ClassTable::new(&[1 << 20, 2 << 20, POOLED_MOST]).unwrap(),
        limit: Limit::buffers(16),
        at_limit: AtLimit::Fresh,
        cache_bytes: 0,
        shrink_after: None,
        ..ClassOptions::default()
    })
    .unwrap()
}

/// Nobody has a buffer, of a class or not.
#[track_caller]
pub fn assert_all_back(pool: &ClassPool, place: &str) {
    let stats = pool.stats();
    for class in &stats.classes {
        assert_eq!(class.in_use, 0, "{place}, class of {} bytes: {class:?}", class.class_bytes);
    }
    assert_eq!(stats.direct.in_use, 0, "{place}, direct buffers");
}
