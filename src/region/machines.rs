//! Machines as values, for tests. Tests of what depends on caches, cores or pages run on all of
//! these machines, and don't depend on the one that runs them.

use super::topology::Topology;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Base pages of x86-64, of Apple's cores, and of some aarch64 kernels for servers.
pub(crate) const PAGE_BYTES: [usize; 3] = [4 * KIB, 16 * KIB, 64 * KIB];

const L2_BYTES: [Option<usize>; 7] = [
    None,
    Some(256 * KIB),
    Some(512 * KIB),
    Some(MIB),
    Some(1280 * KIB),
    Some(2 * MIB),
    Some(4 * MIB),
];
const L3_BYTES: [Option<usize>; 8] = [
    None,
    Some(2 * MIB),
    Some(3 * MIB),
    Some(4 * MIB),
    Some(16 * MIB),
    Some(32 * MIB),
    Some(96 * MIB),
    Some(300 * MIB),
];
/// CPUs, and how many of them share a third level.
const CPUS: [(usize, usize); 6] = [(1, 1), (2, 2), (4, 1), (16, 8), (128, 128), (256, 16)];

/// Every one of them. Under Miri, some.
pub(crate) fn topologies() -> Vec<Topology> {
    let mut all = vec![Topology::default()];
    for (cpus, sharing) in CPUS {
        for l2_bytes in L2_BYTES {
            all.extend(L3_BYTES.map(|l3_bytes| Topology::of(cpus, l2_bytes, l3_bytes, sharing)));
        }
    }
    if cfg!(miri) { all.into_iter().step_by(37).collect() } else { all }
}
