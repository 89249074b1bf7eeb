use super::*;
#[cfg(not(miri))]
use crate::machine::fake::FakeMachine;

/// Three neighbours. Half of the first is huge, and all of it is locked. The second is from the
/// reserved pool. The third belongs to something else.
const SMAPS: &str = "\
7f0000000000-7f0000400000 rw-p 00000000 00:00 0 
Size:               4096 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
Rss:                4096 kB
Pss:                4096 kB
Anonymous:          4096 kB
AnonHugePages:      2048 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:       0 kB
Locked:             4096 kB
THPeligible:           1
VmFlags: rd wr mr mw me lo dc ac dd hg 
7f0000400000-7f0000800000 rw-p 00000000 00:0f 1234                       /anon_hugepage (deleted)
Size:               4096 kB
KernelPageSize:     2048 kB
MMUPageSize:        2048 kB
Rss:                   0 kB
AnonHugePages:         0 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:    4096 kB
Locked:                0 kB
VmFlags: rd wr mr mw me dc de ht dd 
7f0000800000-7f0000801000 rw-p 00000000 00:00 0                          [stack]
Size:                  4 kB
KernelPageSize:        4 kB
Rss:                   4 kB
Locked:                0 kB
VmFlags: rd wr mr mw me gd ac 
";

const MIB: usize = 1 << 20;

fn range(first: usize, len: usize) -> Extent {
    Extent::new(first, len).unwrap()
}

#[test]
fn figures_are_those_of_the_range() {
    let base = 0x7f00_0000_0000;
    let pages =
        PagesGranted { small_bytes: 2 * MIB, thp_bytes: 2 * MIB, ..PagesGranted::default() };
    assert_eq!(
        granted(SMAPS, range(base, 4 * MIB)),
        Some(Granted { pages, locked_bytes: 4 * MIB })
    );
    let pages = PagesGranted { huge_2m_bytes: 4 * MIB, ..PagesGranted::default() };
    assert_eq!(
        granted(SMAPS, range(base + 4 * MIB, 4 * MIB)),
        Some(Granted { pages, locked_bytes: 4 * MIB })
    );
    let sum = granted(SMAPS, range(base, 8 * MIB)).unwrap();
    assert_eq!(
        (sum.pages.total_bytes(), sum.locked_bytes),
        (8 * MIB, 8 * MIB),
        "a range the kernel split"
    );
}

#[test]
fn a_mapping_that_reaches_out_of_the_range_does_not_count() {
    assert_eq!(granted(SMAPS, range(0x7f00_0000_0000, 2 * MIB)), None);
    assert_eq!(granted(SMAPS, range(0x1000, 4096)), None);
    assert_eq!(granted("", range(0x1000, 4096)), None);
    assert_eq!(granted("zz-yy rw-p\nRss: 4 kB\n9-1 rw-p\n", range(0x1000, 4096)), None);
}

#[test]
fn reserved_pages_of_1_gib_are_recognised_by_their_size() {
    let text = "40000000-80000000 rw-p 00000000 00:0f 1 /anon_hugepage (deleted)\nKernelPageSize:  1048576 kB\n\
                Private_Hugetlb: 1048576 kB\nLocked: 0 kB\n";
    let pages = PagesGranted { huge_1g_bytes: 1 << 30, ..PagesGranted::default() };
    assert_eq!(
        granted(text, range(1 << 30, 1 << 30)),
        Some(Granted { pages, locked_bytes: 1 << 30 })
    );
}

#[test]
fn bytes_are_counted_by_node() {
    let text = "\
7f0000000000 prefer:1 anon=1024 dirty=1024 active=0 N0=256 N1=768 kernelpagesize_kB=4
7f0000400000 bind:1 anon=2 dirty=2 N1=2 kernelpagesize_kB=2048
7f0000800000 default file=/usr/lib/x mapped=2 N0=2 kernelpagesize_kB=4
";
    let base = 0x7f00_0000_0000;
    assert_eq!(bytes_by_node(text, range(base, 4 * MIB)), vec![(0, MIB), (1, 3 * MIB)]);
    assert_eq!(bytes_by_node(text, range(base, 8 * MIB)), vec![(0, MIB), (1, 7 * MIB)]);
    assert_eq!(bytes_by_node(text, range(4096, 4096)), vec![]);
    assert_eq!(bytes_by_node("nonsense\n7f0000000000 Nx=1 N0=y\n", range(base, 4096)), vec![]);
}

#[cfg(not(miri))]
#[test]
fn the_cause_of_small_pages_is_named() {
    let enabled = "sys/kernel/mm/transparent_hugepage/enabled";
    let machine = FakeMachine::new("region-thp").file(enabled, "always madvise [never]\n");
    assert_eq!(small_pages_cause(None, &machine.roots()), SmallPagesCause::SwitchedOff);
    let errno = libc::EINVAL;
    assert_eq!(
        small_pages_cause(Some(errno), &machine.roots()),
        SmallPagesCause::Unsupported { errno }
    );
    let machine = machine
        .file(enabled, "always [madvise] never\n")
        .file("proc/self/status", "THP_enabled:\t0\n");
    assert_eq!(small_pages_cause(None, &machine.roots()), SmallPagesCause::SwitchedOffForProcess);
    let machine = machine.file("proc/self/status", "THP_enabled:\t1\n");
    assert_eq!(small_pages_cause(None, &machine.roots()), SmallPagesCause::Fragmented);
    let size = "sys/kernel/mm/transparent_hugepage/hpage_pmd_size";
    let machine = machine.file(size, "2097152\n");
    assert_eq!(small_pages_cause(None, &machine.roots()), SmallPagesCause::Fragmented);
    let larger = small_pages_cause(None, &machine.file(size, "33554432\n").roots());
    assert_eq!(larger, SmallPagesCause::Larger { huge_bytes: 32 * MIB });
    assert!(larger.to_string().contains("huge pages are of 32 MiB"), "{larger}");
}
