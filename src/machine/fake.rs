//! Machines for tests, so that no test depends on the machine that runs it: one made of files, and
//! topologies as values with all sizes of caches.

#[cfg(not(miri))]
use std::fs;
#[cfg(not(miri))]
use std::path::PathBuf;

#[cfg(not(miri))]
use super::kernel::{Roots, page_bytes};
use super::topology::Topology;

/// A folder that replaces `/proc` and `/sys`. It is removed when this is dropped.
#[cfg(not(miri))]
pub(crate) struct FakeMachine {
    folder: PathBuf,
    page_bytes: usize,
}

#[cfg(not(miri))]
impl FakeMachine {
    /// An empty machine. `name` is unique among the tests, which run side by side.
    pub(crate) fn new(name: &str) -> FakeMachine {
        let folder = std::env::temp_dir().join(format!("slipring-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        FakeMachine { folder, page_bytes: page_bytes() }
    }

    /// Writes one file, `proc/...` or `sys/...`.
    pub(crate) fn file(self, path: &str, text: &str) -> FakeMachine {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Sets the size of base pages. The machine that runs the test must be able to map them, so
    /// they are no smaller than its own.
    pub(crate) fn pages_of(mut self, page_bytes: usize) -> FakeMachine {
        self.page_bytes = page_bytes;
        self
    }

    pub(crate) fn roots(&self) -> Roots {
        let folder = |name: &str| self.folder.join(name);
        Roots { proc_dir: folder("proc"), sys_dir: folder("sys"), page_bytes: self.page_bytes }
    }

    /// The machine's `/sys` beside the real `/proc`.
    pub(crate) fn roots_with_real_proc(&self) -> Roots {
        Roots { proc_dir: "/proc".into(), ..self.roots() }
    }

    pub(crate) fn sys(&self, path: &str) -> PathBuf {
        self.folder.join("sys").join(path)
    }
}

#[cfg(not(miri))]
impl Drop for FakeMachine {
    fn drop(&mut self) {
        // A folder that stays is no reason to fail a test that passed.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

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
/// The number of CPUs, and how many of them share a third level.
const CPUS: [(usize, usize); 6] = [(1, 1), (2, 2), (4, 1), (16, 8), (128, 128), (256, 16)];

/// All combinations; under Miri, some of them.
pub(crate) fn topologies() -> Vec<Topology> {
    let mut all = vec![Topology::default()];
    for (cpus, sharing) in CPUS {
        for l2_bytes in L2_BYTES {
            all.extend(L3_BYTES.map(|l3_bytes| Topology::of(cpus, l2_bytes, l3_bytes, sharing)));
        }
    }
    if cfg!(miri) { all.into_iter().step_by(37).collect() } else { all }
}
