use super::*;
#[cfg(not(miri))]
use crate::machine::fake::FakeMachine;

#[cfg(not(miri))]
fn cache(
    machine: FakeMachine,
    cpu: usize,
    index: usize,
    level: &str,
    size: &str,
    shared: &str,
) -> FakeMachine {
    let folder = format!("sys/devices/system/cpu/cpu{cpu}/cache/index{index}");
    machine
        .file(&format!("{folder}/level"), level)
        .file(&format!("{folder}/size"), size)
        .file(&format!("{folder}/shared_cpu_list"), shared)
}

/// Four CPUs on two nodes, of which only the first has memory; CPUs 0 to 2 share a third level, CPU
/// 3 has none.
#[cfg(not(miri))]
fn four_cpus(name: &str) -> FakeMachine {
    let mut machine = FakeMachine::new(name)
        .file("sys/devices/system/cpu/online", "0-3\n")
        .file("sys/devices/system/node/online", "0-1\n")
        .file("sys/devices/system/node/has_memory", "0\n")
        .file("sys/devices/system/node/node0/cpulist", "0-2\n")
        .file("sys/devices/system/node/node1/cpulist", "3\n");
    for cpu in 0..4 {
        machine = cache(machine, cpu, 0, "1\n", "48K\n", &cpu.to_string());
        machine = cache(machine, cpu, 1, "2\n", "1024K\n", &cpu.to_string());
        if cpu < 3 {
            machine = cache(machine, cpu, 2, "3\n", "32768K\n", "0-2\n");
        }
    }
    machine
}

#[cfg(not(miri))]
#[test]
fn caches_and_nodes_are_read() {
    let machine = four_cpus("topology");
    let topology = Topology::read_within(&machine.roots());
    assert_eq!(topology.cpus().len(), 4);
    assert_eq!(topology.nodes(), &[0]);
    let expected = CpuTopology {
        cpu: 1,
        l2_bytes: Some(1 << 20),
        l3_bytes: Some(32 << 20),
        l3_cpus: vec![0, 1, 2],
        node: Some(0),
    };
    assert_eq!(topology.cpu(1), Some(&expected));
    assert_eq!(topology.cpu(3).map(|cpu| (cpu.l3_bytes, cpu.node)), Some((None, Some(1))));
    assert_eq!(topology.cpu(4), None);
    assert_eq!(node_of_cpu(&machine.roots(), 3), Some(1));
    assert_eq!(node_of_cpu(&machine.roots(), 4), None);
    let text = topology.to_string();
    assert!(text.contains("cpu 1: L2 1 MiB L3 32 MiB, L3 shared by cpus 0-2, node 0"), "{text}");
    assert!(text.contains("cpu 3: L2 1 MiB L3 unknown, L3 shared by cpus none, node 1"), "{text}");
}

#[cfg(not(miri))]
#[test]
fn lanes_share_a_third_level() {
    let topology = Topology::read_within(&four_cpus("topology-lanes").roots());
    assert_eq!(topology.lanes_sharing(0, &[0, 2, 3]), 2);
    assert_eq!(topology.lanes_sharing(3, &[0, 2, 3]), 1);
    assert_eq!(topology.lanes_sharing(1, &[]), 1);
    assert_eq!(topology.lanes_sharing(99, &[99]), 1, "a CPU nobody knows");
}

#[cfg(not(miri))]
#[test]
fn this_machine_is_readable_and_a_silent_one_is_empty() {
    assert!(!Topology::read().cpus().is_empty(), "Linux lists its CPUs");
    assert_eq!(
        Topology::read_within(&FakeMachine::new("topology-silent").roots()),
        Topology::default()
    );
}

#[cfg(miri)]
#[test]
fn under_miri_the_topology_is_empty() {
    assert_eq!(Topology::read(), Topology::default());
}

#[test]
fn sizes_have_units() {
    assert_eq!(cache_bytes("48K\n"), Some(48 << 10));
    assert_eq!(cache_bytes("2M"), Some(2 << 20));
    assert_eq!(cache_bytes("512"), Some(512));
    for text in ["", "\n", "K", "12G", "-1K", "18446744073709551615K"] {
        assert_eq!(cache_bytes(text), None, "{text:?}");
    }
}

#[test]
fn the_window_is_half_of_the_share_and_4_mib_at_most() {
    const MIB: usize = 1 << 20;
    assert_eq!(window_default_bytes(None, 1), 4 * MIB);
    assert_eq!(window_default_bytes(Some(32 * MIB), 1), 4 * MIB);
    assert_eq!(window_default_bytes(Some(32 * MIB), 4), 4 * MIB);
    assert_eq!(window_default_bytes(Some(32 * MIB), 8), 2 * MIB);
    assert_eq!(window_default_bytes(Some(4 * MIB), 1), 2 * MIB);
    assert_eq!(window_default_bytes(Some(4 * MIB), 0), 2 * MIB, "no lane counts as one");
    assert_eq!(window_default_bytes(Some(MIB), usize::MAX), 0);
    assert_eq!(window_own_core_default_bytes(None), MIB / 2);
    assert_eq!(window_own_core_default_bytes(Some(2 * MIB)), MIB);
    assert_eq!(window_own_core_default_bytes(Some(64 * MIB)), 4 * MIB);
}
