//! The group over small slices: 1 to 64 vectors of dimension 16, the pool fitting.

use criterion::Criterion;

use super::paths::{ENTRIES, F32_BYTES, VECTORS, both_paths, empty, fitting_bytes};

pub fn alloc_touch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("alloc_touch");
    empty::<8>(&mut group);
    for vectors in VECTORS {
        let bytes = vectors * 16 * F32_BYTES;
        both_paths::<8>(&mut group, &format!("{vectors}x16"), ENTRIES, fitting_bytes(bytes), bytes);
    }
    group.finish();
}
