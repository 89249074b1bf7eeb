//! The default window and chunk, on machines made of files.

use proptest::prelude::*;
use slipring_test_support::random_runs;

use super::*;
use crate::machine::fake::FakeMachine;
use crate::machine::fake::topologies;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A machine with these caches: (L2, L3) of each CPU, in KiB. 0 means not reported.
fn machine(name: &str, cpus: &[(usize, usize)]) -> Topology {
    let mut machine = FakeMachine::new(&format!("options-{name}"))
        .file("sys/devices/system/cpu/online", &format!("0-{}\n", cpus.len() - 1));
    for (cpu, &(l2, l3)) in cpus.iter().enumerate() {
        for (index, (level, kib)) in
            [(1, 48), (2, l2), (3, l3)].into_iter().filter(|(_, kib)| *kib > 0).enumerate()
        {
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

/// Window and chunk, in KiB, of a pool with small slices on that machine.
fn chosen(topology: &Topology, readers: Readers, options: &RingOptions) -> (usize, usize) {
    let options = RingOptions { max_slice_bytes: 512, ..options.clone() };
    let layout = options.layout_on(|| topology, readers).expect("the defaults fit");
    (layout.window_chunks() * layout.chunk_bytes() / KIB, layout.chunk_bytes() / KIB)
}

#[test]
fn the_window_follows_the_caches() {
    let pool = RingOptions { bytes: 1 << 30, ..RingOptions::default() };
    // (name, caches of each CPU in KiB, window and chunk with readers on other cores, window and
    // chunk with readers on the same core)
    let cases: [(&str, &[(usize, usize)], _, _); 7] = [
        ("server", &[(1024, 32768); 4], (4096, 256), (512, 128)),
        ("large-l2", &[(2048, 107_520); 2], (4096, 256), (1024, 256)),
        // Eight chunks of 256 KiB would be more than half of the cache, so chunks are smaller.
        ("small-l3", &[(256, 3072); 2], (1536, 128), (128, 32)),
        ("tiny-l3", &[(256, 512); 2], (256, 32), (128, 32)),
        // The smallest cache of any CPU counts: a lane may be moved there.
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
    let windows = |pool: RingOptions| {
        [Readers::OtherCores, Readers::OwnCore].map(|readers| chosen(&topology, readers, &pool).0)
    };
    let pool = RingOptions { bytes: 1 << 30, ..RingOptions::default() };
    for (lanes, window) in [(0, 4096), (1, 4096), (2, 4096), (4, 2048), (8, 1024)] {
        assert_eq!(
            windows(RingOptions { lanes_sharing_l3: lanes, ..pool.clone() }),
            [window, 512],
            "{lanes} lanes"
        );
    }
    assert_eq!(
        windows(RingOptions { bytes: MIB, ..pool.clone() }),
        [1024, 512],
        "no larger than the pool"
    );
    assert_eq!(windows(RingOptions { bytes: 64 * KIB, ..pool.clone() }), [64, 64]);
    assert_eq!(
        windows(RingOptions { window_bytes: Some(8 * MIB), ..pool.clone() }),
        [8192, 8192],
        "an explicit window wins"
    );
    let chunk = RingOptions { chunk_bytes: Some(MIB), ..pool };
    assert_eq!(windows(chunk), [8192, 2048], "at least eight chunks, or two");
}

#[test]
fn the_machine_is_read_only_when_it_is_needed() {
    let options = RingOptions { window_bytes: Some(MIB), ..RingOptions::default() };
    let read = || -> Topology { panic!("the caches were read without a need") };
    assert_eq!(
        options.layout_on(read, Readers::OwnCore).map(|layout| layout.window_chunks()).ok(),
        Some(4)
    );
}

/// The chunk of a pool with these options, and defaults for all others, on one machine.
fn default_chunk(
    topology: &Topology,
    readers: Readers,
    bytes: usize,
    max_slice_bytes: usize,
) -> usize {
    let options = RingOptions { bytes, max_slice_bytes, ..RingOptions::default() };
    options.layout_on(|| topology, readers).expect("the defaults fit").chunk_bytes()
}

#[test]
fn a_default_chunk_holds_two_of_the_largest_slices_with_their_line_where_the_pool_is_large_enough()
{
    for topology in topologies() {
        for readers in [Readers::OwnCore, Readers::OtherCores] {
            for max_slice_bytes in [1, 64, 4032, 4096, 32 * KIB, 100_000, 4 * MIB] {
                for bytes in [32 * KIB, 64 * KIB, MIB, 64 * MIB, 1 << 30] {
                    if bytes < 4 * max_slice_bytes.next_power_of_two() {
                        continue;
                    }
                    let chunk = default_chunk(&topology, readers, bytes, max_slice_bytes);
                    let holds_two = 2 * stride(max_slice_bytes) <= chunk;
                    assert!(
                        holds_two || bytes / (2 * chunk) < 4,
                        "{chunk} of {bytes} for {max_slice_bytes}"
                    );
                    assert!(
                        2 * max_slice_bytes <= chunk && chunk <= bytes / 2,
                        "{chunk} of {bytes}"
                    );
                }
            }
        }
    }
}

/// The default chunk by the size of the second level of cache: a quarter of half of it, unless the
/// slices or the pool need another size.
#[test]
fn the_default_chunk_follows_the_second_level_of_cache() {
    let cases = [
        (256, [(64 * KIB, 4096, 16), (32 * KIB, 4096, 8), (64 * KIB, 4032, 8), (MIB, 4096, 32)]),
        (512, [(64 * KIB, 4096, 16), (32 * KIB, 4096, 8), (64 * KIB, 4032, 8), (MIB, 4096, 64)]),
        (1024, [(64 * KIB, 4096, 16), (32 * KIB, 4096, 8), (64 * KIB, 4032, 8), (MIB, 4096, 128)]),
        (4096, [(64 * KIB, 4096, 16), (32 * KIB, 4096, 8), (64 * KIB, 4032, 8), (MIB, 4096, 128)]),
    ];
    for (l2_kib, pools) in cases {
        let topology = Topology::of(2, Some(l2_kib * KIB), Some(32 * MIB), 2);
        for (bytes, max_slice_bytes, chunk_kib) in pools {
            let chunk = default_chunk(&topology, Readers::OwnCore, bytes, max_slice_bytes);
            assert_eq!(
                chunk / KIB,
                chunk_kib,
                "{bytes} bytes, slices of {max_slice_bytes}, L2 of {l2_kib} KiB"
            );
        }
    }
}

#[test]
fn what_no_chunk_can_hold_is_an_error() {
    // Two of the largest slices fill the largest chunk, which has no line against aliasing.
    let options =
        RingOptions { bytes: 8 << 30, max_slice_bytes: 512 << 20, ..RingOptions::default() };
    for topology in topologies() {
        let layout = options.layout_on(|| &topology, Readers::OwnCore).expect("two slices a chunk");
        assert_eq!(
            (layout.chunk_bytes(), layout.chunks(), layout.aliases()),
            (CHUNK_BYTES_MAX, 8, false)
        );
    }
    let refused =
        RingOptions { bytes: usize::MAX, ..options }.layout_on(Topology::default, Readers::OwnCore);
    let RingError::Option { field, given, limit, .. } = refused.unwrap_err() else {
        panic!("an option was refused")
    };
    assert_eq!((field, given), ("bytes", usize::MAX));
    assert!(
        limit < given && limit > CHUNK_BYTES_MAX,
        "the limit is in bytes, as the given size is: {limit}"
    );
}

/// Any number, and often one at a power of two.
fn figure() -> impl Strategy<Value = usize> {
    let near = (0u32..64, 0usize..3)
        .prop_map(|(shift, off)| (1usize << shift).wrapping_add(off).wrapping_sub(1));
    prop_oneof![4 => near, 2 => any::<usize>(), 1 => Just(0), 1 => Just(usize::MAX)]
}

fn any_options() -> impl Strategy<Value = RingOptions> {
    let some = || proptest::option::of(figure());
    let pins = proptest::option::of(prop_oneof![any::<u32>(), 0u32..9]);
    (figure(), figure(), some(), some(), figure(), pins).prop_map(
        |(bytes, slice, chunk, window, lanes, pins)| RingOptions {
            bytes,
            max_slice_bytes: slice,
            chunk_bytes: chunk,
            window_bytes: window,
            lanes_sharing_l3: lanes,
            pinned_chunks_max: pins,
            ..RingOptions::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 64 } else { 20_000 },
        ..random_runs()
    })]

    /// Any options on any machine give a layout that is as documented, or an error with the field,
    /// the given value and the allowed one.
    #[test]
    fn options_give_a_layout_or_an_error_with_the_figures(
        options in any_options(),
        l2 in proptest::option::of(figure()),
        l3 in proptest::option::of(figure()),
        cpus in 1usize..4,
        other_cores: bool,
    ) {
        let readers = if other_cores { Readers::OtherCores } else { Readers::OwnCore };
        match options.layout_on(|| Topology::of(cpus, l2, l3, 2), readers) {
            Ok(layout) => {
                let (chunk, chunks) = (layout.chunk_bytes(), layout.chunks() as usize);
                prop_assert!(chunk.is_power_of_two());
                prop_assert!((CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk));
                prop_assert!(chunk >= 2 * options.max_slice_bytes);
                prop_assert_eq!(layout.max_slice_bytes(), options.max_slice_bytes);
                prop_assert!((2..=chunks).contains(&layout.window_chunks()));
                prop_assert!((layout.pinned_chunks_max() as usize) < chunks);
                prop_assert!(layout.pool_bytes() <= options.bytes);
                prop_assert!(options.bytes - layout.pool_bytes() < chunk);
                prop_assert!(options.chunk_bytes.is_none_or(|asked| asked == chunk));
            }
            Err(RingError::Option { field, given, must, limit }) => {
                let asked = match field {
                    "bytes" => options.bytes,
                    "max_slice_bytes" => options.max_slice_bytes,
                    "chunk_bytes" => options.chunk_bytes.expect("it was set"),
                    "window_bytes" => options.window_bytes.expect("it was set"),
                    "pinned_chunks_max" => options.pinned_chunks_max.expect("it was set") as usize,
                    _ => panic!("{field} is no field"),
                };
                prop_assert!(
                    given == asked && (given != limit || field == "chunk_bytes"),
                    "{}: {} {} {}", field, given, must, limit
                );
            }
            Err(other) => panic!("{other}"),
        }
    }
}
