use super::*;
#[cfg(not(miri))]
use crate::machine::fake::FakeMachine;

#[cfg(not(miri))]
const MIB: usize = 1 << 20;

#[cfg(not(miri))]
fn need(kind: PageKind, resident_bytes: usize) -> Need {
    Need {
        kind,
        address_bytes: resident_bytes + 2 * 4096,
        resident_bytes,
        page_bytes: 4096,
        node: None,
    }
}

#[cfg(not(miri))]
fn limits_file(address: &str, locked: &str) -> String {
    format!(
        "Max locked memory         {locked}      {locked}      bytes\nMax address space         {address}   {address}  bytes\n"
    )
}

#[test]
fn the_capability_to_lock_is_bit_14() {
    assert!(may_lock_without_limit("CapEff:\t000001fffeffffff\n"));
    assert!(may_lock_without_limit("CapEff:\t0000000000004000\n"));
    assert!(
        !may_lock_without_limit("CapEff:\t00000000a80425fb\n"),
        "the set of a container's root"
    );
    assert!(!may_lock_without_limit("CapEff:\tnonsense\n"));
    assert!(!may_lock_without_limit(""));
}

#[cfg(not(miri))]
#[test]
fn a_machine_that_tells_nothing_limits_nothing() {
    let machine = FakeMachine::new("limits-silent");
    for kind in [PageKind::Small, PageKind::Thp, PageKind::Huge2M] {
        assert_eq!(check(&need(kind, 64 * MIB), &machine.roots()), Ok(()));
    }
    assert_eq!(check_lock(64 * MIB, &machine.roots()), Ok(()));
}

#[cfg(not(miri))]
#[test]
fn address_space_counts_what_is_in_use_and_the_guards() {
    let machine = FakeMachine::new("limits-as")
        .file("proc/self/limits", &limits_file("67117056", "unlimited"))
        .file("proc/self/status", "VmSize:\t    4 kB\n");
    // 64 MiB and 8 KiB are allowed and 4 KiB of them in use: the guards don't fit.
    let error = check(&need(PageKind::Small, 64 * MIB), &machine.roots()).unwrap_err();
    assert_eq!(
        error,
        RegionError::AddressSpace {
            asked_bytes: 64 * MIB + 8192,
            limit_bytes: 67_117_056,
            used_bytes: 4096
        }
    );
    assert!(
        error.to_string().contains("RLIMIT_AS") && error.to_string().contains("ulimit -v"),
        "{error}"
    );
    assert_eq!(check(&need(PageKind::Small, 64 * MIB - 4096), &machine.roots()), Ok(()));
}

#[cfg(not(miri))]
#[test]
fn a_cgroup_is_charged_for_page_tables_too() {
    let machine = FakeMachine::new("limits-cgroup")
        .file("proc/self/cgroup", "0::/app\n")
        .file("sys/fs/cgroup/app/memory.max", &format!("{}\n", 64 * MIB))
        .file("sys/fs/cgroup/app/memory.current", "0\n");
    let error = check(&need(PageKind::Thp, 64 * MIB), &machine.roots()).unwrap_err();
    let RegionError::Cgroup { file, asked_bytes, limit_bytes, used_bytes } = &error else {
        panic!("{error}")
    };
    assert_eq!(*file, machine.sys("fs/cgroup/app/memory.max"));
    assert_eq!((*asked_bytes, *limit_bytes, *used_bytes), (64 * MIB + 128 * 1024, 64 * MIB, 0));
    assert!(error.to_string().contains("memory.max allows 64 MiB"), "{error}");
    assert_eq!(check(&need(PageKind::Thp, 62 * MIB), &machine.roots()), Ok(()));
}

#[cfg(not(miri))]
#[test]
fn the_machine_must_have_it_available() {
    let machine = FakeMachine::new("limits-available")
        .file("proc/meminfo", "MemFree: 9 kB\nMemAvailable:   65536 kB\n");
    let error = check(&need(PageKind::Small, 64 * MIB), &machine.roots()).unwrap_err();
    assert_eq!(
        error,
        RegionError::Memory { asked_bytes: 64 * MIB + 128 * 1024, available_bytes: 64 * MIB }
    );
    assert!(error.to_string().contains("MemAvailable"), "{error}");
    assert_eq!(check(&need(PageKind::Small, 32 * MIB), &machine.roots()), Ok(()));
}

#[cfg(not(miri))]
fn pool(name: &str, free: &str, reserved: &str, overcommit: &str) -> FakeMachine {
    let folder = "sys/kernel/mm/hugepages/hugepages-2048kB";
    FakeMachine::new(name)
        .file(&format!("{folder}/free_hugepages"), free)
        .file(&format!("{folder}/resv_hugepages"), reserved)
        .file(&format!("{folder}/nr_overcommit_hugepages"), overcommit)
        .file(&format!("{folder}/surplus_hugepages"), "1\n")
}

#[cfg(not(miri))]
#[test]
fn reserved_huge_pages_must_be_free() {
    let machine = pool("limits-pool", "8\n", "3\n", "0\n");
    assert_eq!(check(&need(PageKind::Huge2M, 10 * MIB), &machine.roots()), Ok(()));
    let error = check(&need(PageKind::Huge2M, 12 * MIB), &machine.roots()).unwrap_err();
    assert_eq!(
        error,
        RegionError::HugePages {
            kind: PageKind::Huge2M,
            node: None,
            needed_pages: 6,
            free_pages: 5
        }
    );
    let text = error.to_string();
    assert!(text.contains("6 reserved 2 MiB pages needed, 5 free"), "{text}");
    assert!(
        text.contains("echo 6 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
        "{text}"
    );
    let machine = pool("limits-surplus", "8\n", "3\n", "2\n");
    assert_eq!(
        check(&need(PageKind::Huge2M, 12 * MIB), &machine.roots()),
        Ok(()),
        "one surplus page may be made"
    );
    let no_pool =
        check(&need(PageKind::Huge1G, 1 << 30), &machine.file("proc/meminfo", "").roots())
            .unwrap_err();
    assert_eq!(no_pool, RegionError::NoHugePages { kind: PageKind::Huge1G });
    assert!(no_pool.to_string().contains("hugepages-1048576kB"), "{no_pool}");
}

#[cfg(not(miri))]
#[test]
fn a_named_node_must_hold_it_alone() {
    let node = "sys/devices/system/node/node1";
    let machine = pool("limits-node", "8\n", "0\n", "0\n")
        .file(&format!("{node}/hugepages/hugepages-2048kB/free_hugepages"), "2\n")
        .file(&format!("{node}/meminfo"), "Node 1 MemTotal: 9999999 kB\nNode 1 MemFree:    8192 kB\nNode 1 Active(file):  1024 kB\nNode 1 Inactive(file): 1024 kB\n");
    let on_node =
        |kind, bytes| check(&Need { node: Some(1), ..need(kind, bytes) }, &machine.roots());
    assert_eq!(on_node(PageKind::Huge2M, 4 * MIB), Ok(()));
    let error = on_node(PageKind::Huge2M, 6 * MIB).unwrap_err();
    assert_eq!(
        error,
        RegionError::HugePages {
            kind: PageKind::Huge2M,
            node: Some(1),
            needed_pages: 3,
            free_pages: 2
        }
    );
    assert!(error.to_string().contains("node1/hugepages"), "{error}");
    assert_eq!(on_node(PageKind::Small, 10 * MIB), Ok(()));
    let error = on_node(PageKind::Small, 11 * MIB).unwrap_err();
    assert_eq!(
        error,
        RegionError::NodeMemory { node: 1, asked_bytes: 11 * MIB, available_bytes: 10 * MIB }
    );
}

#[cfg(not(miri))]
#[test]
fn locking_counts_what_is_locked_unless_the_capability_is_there() {
    let limits = limits_file("unlimited", "8388608");
    let plain = FakeMachine::new("limits-lock")
        .file("proc/self/limits", &limits)
        .file("proc/self/status", "VmLck:\t    1024 kB\nCapEff:\t0000000000000000\n");
    assert_eq!(check_lock(7 * MIB, &plain.roots()), Ok(()));
    let error = check_lock(8 * MIB, &plain.roots()).unwrap_err();
    assert_eq!(
        error,
        RegionError::LockedMemory { asked_bytes: 8 * MIB, limit_bytes: 8 * MIB, used_bytes: MIB }
    );
    assert!(error.to_string().contains("RLIMIT_MEMLOCK allows 8 MiB"), "{error}");
    let able = plain.file("proc/self/status", "VmLck:\t    1024 kB\nCapEff:\t0000000000004000\n");
    assert_eq!(check_lock(800 * MIB, &able.roots()), Ok(()));
}
