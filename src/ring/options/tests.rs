//! Window and chunk by default, on machines made of files.

use super::*;
use crate::region::fake::FakeMachine;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A machine with these caches, (L2, L3) a CPU, in KiB; 0: not reported.
fn machine(name: &str, cpus: &[(usize, usize)]) -> Topology {
    let mut machine = FakeMachine::new(&format!("options-{name}"))
        .file("sys/devices/system/cpu/online", &format!("0-{}\n", cpus.len() - 1));
    for (cpu, &(l2, l3)) in cpus.iter().enumerate() {
        for (index, (level, kib)) in [(1, 48), (2, l2), (3, l3)].into_iter().filter(|(_, kib)| *kib > 0).enumerate() {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}/cache/index{index}");
            machine = machine
                .file(&format!("{folder}/level"), &format!("{level}\n"))
                .file(&format!("{folder}/type"), "Unified\n")
                .file(&format!("{folder}/size"), &format!("{kib}K\n"))
                .file(&format!("{folder}/shared_cpu_list"), &format!("0-{}\n", cpus.len() - 1));
        }
    }
    Topology::read_within(&machine.roots())
}

/// Window and chunk, in KiB, of a pool with small slices on such a machine.
fn chosen(topology: &Topology, readers: Readers, options: &PoolOptions) -> (usize, usize) {
    let options = PoolOptions { max_slice_bytes: 512, ..options.clone() };
    let layout = options.layout_on(|| topology.clone(), readers).expect("the defaults fit");
    (layout.window_chunks() * layout.chunk_bytes() / KIB, layout.chunk_bytes() / KIB)
}

#[test]
fn the_window_follows_the_caches() {
    let pool = PoolOptions { bytes: 1 << 30, ..PoolOptions::default() };
    // (name, caches a CPU in KiB, window and chunk with readers on other cores, the same on the own core)
    let cases: [(&str, &[(usize, usize)], _, _); 7] = [
        ("server", &[(1024, 32768); 4], (4096, 256), (512, 128)),
        ("large-l2", &[(2048, 107_520); 2], (4096, 256), (1024, 256)),
        // Eight chunks of 256 KiB would be more than half of it, so chunks are smaller.
        ("small-l3", &[(256, 3072); 2], (1536, 128), (128, 32)),
        ("tiny-l3", &[(256, 512); 2], (256, 32), (128, 32)),
        // The smallest counts, wherever it is: a lane may be moved there.
        ("hybrid", &[(2048, 24576), (2048, 24576), (512, 4096)], (2048, 256), (256, 64)),
        ("no-l3", &[(1024, 0); 2], (4096, 256), (512, 128)),
        ("silent", &[(0, 0); 2], (4096, 256), (512, 128)),
    ];
    for (name, caches, other_cores, own_core) in cases {
        let topology = machine(name, caches);
        assert_eq!(topology.cpus().len(), caches.len(), "{name}");
        assert_eq!(chosen(&topology, Readers::OtherCores, &pool), other_cores, "{name}");
        assert_eq!(chosen(&topology, Readers::OwnCore, &pool), own_core, "{name}");
    }
}

#[test]
fn lanes_on_one_cache_share_it_and_small_pools_bound_it() {
    let topology = machine("shared", &[(1024, 16384); 8]);
    let windows =
        |pool: PoolOptions| [Readers::OtherCores, Readers::OwnCore].map(|readers| chosen(&topology, readers, &pool).0);
    let pool = PoolOptions { bytes: 1 << 30, ..PoolOptions::default() };
    for (lanes, window) in [(0, 4096), (1, 4096), (2, 4096), (4, 2048), (8, 1024)] {
        assert_eq!(windows(PoolOptions { lanes_sharing_l3: lanes, ..pool.clone() }), [window, 512], "{lanes} lanes");
    }
    assert_eq!(windows(PoolOptions { bytes: MIB, ..pool.clone() }), [1024, 512], "no larger than the pool");
    assert_eq!(windows(PoolOptions { bytes: 64 * KIB, ..pool.clone() }), [64, 64]);
    assert_eq!(
        windows(PoolOptions { window_bytes: Some(8 * MIB), ..pool.clone() }),
        [8192, 8192],
        "what is asked wins"
    );
    let chunk = PoolOptions { chunk_bytes: Some(MIB), ..pool };
    assert_eq!(windows(chunk), [8192, 2048], "at least eight chunks, or two");
}

#[test]
fn the_machine_is_read_only_when_it_is_needed() {
    let options = PoolOptions { window_bytes: Some(MIB), ..PoolOptions::default() };
    let read = || -> Topology { panic!("nobody asked for the caches") };
    assert_eq!(options.layout_on(read, Readers::OwnCore).map(|layout| layout.window_chunks()).ok(), Some(4));
}

#[test]
fn a_default_chunk_holds_two_of_the_largest_slices_also_with_their_line_against_aliases() {
    let chunk = |bytes, max_slice_bytes| {
        let options = PoolOptions { bytes, max_slice_bytes, ..PoolOptions::default() };
        options.layout(Readers::OwnCore).unwrap().chunk_bytes()
    };
    assert_eq!(
        [chunk(64 << 10, 4096), chunk(32 << 10, 4096)],
        [16 << 10, 8 << 10],
        "four chunks are left, or it stays"
    );
    assert_eq!([chunk(64 << 10, 4032), chunk(1 << 20, 4096)], [8 << 10, 128 << 10]);
}
