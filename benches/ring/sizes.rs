//! The groups of `buffer_pool_bench`: by the size of an allocation, and by the size of the pool.

use criterion::Criterion;

use super::paths::{ENTRIES, F32_BYTES, VECTORS, both_paths, empty, fitting_bytes, pool};

/// 8 vectors of 128 `f32`: the allocation of the group over pool sizes.
const EIGHT_VECTORS_BYTES: usize = 8 * 128 * F32_BYTES;
/// The largest pool in a run that isn't timed, as in the tests.
const UNTIMED_POOL_BYTES_MAX: usize = 4 << 20;

/// Allocation sizes: vectors of 128 `f32`, in a pool that fits them.
pub fn alloc_sizes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("alloc_sizes");
    empty::<F32_BYTES>(&mut group);
    for vectors in VECTORS {
        let bytes = vectors * 128 * F32_BYTES;
        both_paths::<F32_BYTES>(
            &mut group,
            &format!("{vectors}x128"),
            ENTRIES,
            fitting_bytes(bytes),
            bytes,
        );
    }
    group.finish();
}

/// Pool sizes: 16 KiB to 1 GiB, doubling. The name of a case holds the number of entries.
pub fn pool_sizes(criterion: &mut Criterion, is_timed: bool) {
    let mut group = criterion.benchmark_group("pool_sizes");
    empty::<F32_BYTES>(&mut group);
    for shift in 14..=30 {
        let bytes: usize = 1 << shift;
        if bytes > UNTIMED_POOL_BYTES_MAX && !is_timed {
            break;
        }
        let entries = entries(bytes);
        let case = format!("{}/{entries}-entries", size(bytes));
        both_paths::<F32_BYTES>(&mut group, &case, entries, bytes, EIGHT_VECTORS_BYTES);
    }
    group.finish();
}

/// Half of the payloads that the pool holds, at least 4 and at most 1024, as in
/// `slipring-compare fixed-size`. A pool of 16 KiB holds four payloads, and an allocation comes
/// before the drop, so there it is the number that fits.
fn entries(pool_bytes: usize) -> usize {
    (pool_bytes / EIGHT_VECTORS_BYTES / 2).clamp(4, ENTRIES).min(entries_that_fit(pool_bytes))
}

/// The number of slices that a pool holds beside the one that is allocated before the oldest is
/// dropped. It is counted by trying, because only the pool knows where chunks end. It is one chunk
/// less than the pool holds, because the oldest slice is reclaimed with its whole chunk.
fn entries_that_fit(pool_bytes: usize) -> usize {
    let mut pool = pool(pool_bytes, EIGHT_VECTORS_BYTES);
    let mut held = Vec::new();
    while held.len() < 2 * ENTRIES
        && let Ok(grant) = pool.reserve(EIGHT_VECTORS_BYTES)
    {
        held.push(grant.commit_all());
    }
    let in_chunk = pool.stats().chunk_bytes / EIGHT_VECTORS_BYTES;
    let entries = held.len().saturating_sub(in_chunk).max(1);
    assert!(entries <= held.len(), "{entries} entries in a pool of {}", held.len());
    entries
}

fn size(bytes: usize) -> String {
    match bytes.ilog2() {
        30.. => format!("{}GiB", bytes >> 30),
        20.. => format!("{}MiB", bytes >> 20),
        _ => format!("{}KiB", bytes >> 10),
    }
}
