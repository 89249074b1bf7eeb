//! The machine's caches and NUMA nodes, as far as a lane needs them.
//!
//! Promises that what the kernel doesn't report is None or absent, never an error. Reading opens
//! several files per CPU, so do it at start. A topology lists all CPUs that are online; which of
//! them the process may use is in the mask of CPUs (`CpuMask`).

use std::fmt;

use super::format::{ByteSize, CpuList, parse_ids};
use super::kernel::Roots;

/// The largest default for a window, in bytes: in a sweep of windows, larger ones gained nothing.
const WINDOW_DEFAULT_BYTES_MAX: usize = 4 << 20;

/// The default where everything is read on the core that writes, if its cache is unknown: half of a
/// second level of 1 MiB.
const WINDOW_OWN_CORE_DEFAULT_BYTES: usize = 512 << 10;

/// The kernel lists fewer caches per CPU than this. It bounds the walk over them.
const CACHES_MAX: usize = 16;

/// The CPUs that are online, with their caches, and the NUMA nodes that have memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    cpus: Vec<CpuTopology>,
    nodes: Vec<u32>,
}

/// The caches and the node of one CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuTopology {
    /// The CPU's id.
    pub(crate) cpu: usize,
    /// Bytes of its second-level cache.
    pub(crate) l2_bytes: Option<usize>,
    /// Bytes of its third-level cache, which it shares with `l3_cpus`.
    pub(crate) l3_bytes: Option<usize>,
    /// The CPUs that share the third level, this one included, rising.
    pub(crate) l3_cpus: Vec<usize>,
    /// Its NUMA node.
    pub(crate) node: Option<u32>,
}

impl Topology {
    /// Reads the machine.
    pub fn read() -> Topology {
        Topology::read_within(&Roots::system())
    }

    pub(crate) fn read_within(roots: &Roots) -> Topology {
        let online = roots.read_sys("devices/system/cpu/online").and_then(|text| parse_ids(&text));
        let mut cpus: Vec<CpuTopology> =
            online.unwrap_or_default().iter().map(|cpu| caches(roots, *cpu)).collect();
        for (node, members) in cpus_by_node(roots) {
            for cpu in cpus.iter_mut().filter(|cpu| members.contains(&cpu.cpu)) {
                cpu.node = Some(node);
            }
        }
        assert!(cpus.windows(2).all(|pair| pair[0].cpu < pair[1].cpu), "a CPU is listed twice");
        let nodes = memory_nodes(roots);
        assert!(nodes.windows(2).all(|pair| pair[0] < pair[1]), "a node is listed twice");
        Topology { cpus, nodes }
    }

    /// A machine for tests: `cpus` CPUs with caches of these sizes. `sharing` of them share a third
    /// level.
    #[cfg(test)]
    pub(crate) fn of(
        cpus: usize,
        l2_bytes: Option<usize>,
        l3_bytes: Option<usize>,
        sharing: usize,
    ) -> Topology {
        let one = |cpu: usize| {
            let first = cpu / sharing * sharing;
            let l3_cpus = if l3_bytes.is_some() {
                (first..cpus.min(first + sharing)).collect()
            } else {
                Vec::new()
            };
            CpuTopology { cpu, l2_bytes, l3_bytes, l3_cpus, node: Some(0) }
        };
        Topology { cpus: (0..cpus).map(one).collect(), nodes: vec![0] }
    }

    /// The CPUs that are online, rising.
    #[cfg(test)]
    pub(crate) fn cpus(&self) -> &[CpuTopology] {
        &self.cpus
    }

    /// What is known of one CPU.
    pub(crate) fn cpu(&self, cpu: usize) -> Option<&CpuTopology> {
        self.cpus.iter().find(|known| known.cpu == cpu)
    }

    /// Bytes of the smallest second-level cache; None where no CPU reports one.
    pub fn l2_bytes_min(&self) -> Option<usize> {
        self.cpus.iter().filter_map(|known| known.l2_bytes).min()
    }

    /// Bytes of the smallest third-level cache; None where no CPU reports one.
    pub fn l3_bytes_min(&self) -> Option<usize> {
        self.cpus.iter().filter_map(|known| known.l3_bytes).min()
    }

    /// The NUMA nodes that have memory, rising; empty where the kernel doesn't report them.
    #[cfg(test)]
    pub(crate) fn nodes(&self) -> &[u32] {
        &self.nodes
    }

    /// The number of `lane_cpus` that share the third-level cache of `cpu`, itself included; at
    /// least 1. [`window_default_bytes`] divides by it.
    pub fn lanes_sharing(&self, cpu: usize, lane_cpus: &[usize]) -> usize {
        let shared = self.cpu(cpu).map_or(&[][..], |known| &known.l3_cpus);
        let lanes = lane_cpus.iter().filter(|lane| **lane == cpu || shared.contains(lane)).count();
        lanes.max(1)
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for known in &self.cpus {
            write!(f, "cpu {}:", known.cpu)?;
            for (level, bytes) in [("L2", known.l2_bytes), ("L3", known.l3_bytes)] {
                match bytes {
                    Some(bytes) => write!(f, " {level} {}", ByteSize(bytes))?,
                    None => write!(f, " {level} unknown")?,
                }
            }
            write!(f, ", L3 shared by cpus {}", CpuList(&known.l3_cpus))?;
            match known.node {
                Some(node) => writeln!(f, ", node {node}")?,
                None => writeln!(f, ", node unknown")?,
            }
        }
        write!(f, "nodes with memory: {}", self.nodes.len())
    }
}

/// The default window of a ring pool, in bytes: the memory that is in rotation. It is half of the
/// lane's share of the third-level cache, so that both the window and what is read beside it stay
/// there. It is at most 4 MiB, which is also the default where the cache is unknown. The ring pool
/// fits it to its chunks.
pub fn window_default_bytes(l3_bytes: Option<usize>, lanes_sharing: usize) -> usize {
    let Some(l3_bytes) = l3_bytes else { return WINDOW_DEFAULT_BYTES_MAX };
    let shares = lanes_sharing.max(1).saturating_mul(2);
    assert!(shares >= 2, "a lane's share is more than half");
    (l3_bytes / shares).min(WINDOW_DEFAULT_BYTES_MAX)
}

/// The default window where everything is read on the core that writes: half of that core's
/// second-level cache, which no other core uses. If a second core read, it would have to fetch the
/// lines from there, and then a larger window is better.
///
/// Measured with one thread: where vectors are written whole, such a window is faster than a larger
/// one. Where little of each vector is touched, the difference shows only while other cores work,
/// and then it is large.
pub(crate) fn window_own_core_default_bytes(l2_bytes: Option<usize>) -> usize {
    let window_bytes = l2_bytes.map_or(WINDOW_OWN_CORE_DEFAULT_BYTES, |l2_bytes| l2_bytes / 2);
    window_bytes.min(WINDOW_DEFAULT_BYTES_MAX)
}

/// The nodes that have memory, rising; empty without NUMA.
pub(crate) fn memory_nodes(roots: &Roots) -> Vec<u32> {
    let text = roots
        .read_sys("devices/system/node/has_memory")
        .or_else(|| roots.read_sys("devices/system/node/online"));
    node_ids(text)
}

/// The node of a CPU.
pub(crate) fn node_of_cpu(roots: &Roots, cpu: usize) -> Option<u32> {
    cpus_by_node(roots)
        .into_iter()
        .find(|(_, members)| members.contains(&cpu))
        .map(|(node, _)| node)
}

fn cpus_by_node(roots: &Roots) -> Vec<(u32, Vec<usize>)> {
    let nodes = node_ids(roots.read_sys("devices/system/node/online"));
    let members =
        |node: u32| parse_ids(&roots.read_sys(&format!("devices/system/node/node{node}/cpulist"))?);
    nodes.into_iter().filter_map(|node| Some((node, members(node)?))).collect()
}

fn node_ids(text: Option<String>) -> Vec<u32> {
    let ids = text.and_then(|text| parse_ids(&text)).unwrap_or_default();
    ids.into_iter().filter_map(|id| u32::try_from(id).ok()).collect()
}

fn caches(roots: &Roots, cpu: usize) -> CpuTopology {
    let mut known = CpuTopology { cpu, ..CpuTopology::default() };
    for index in 0..CACHES_MAX {
        let file = |name: &str| {
            roots.read_sys(&format!("devices/system/cpu/cpu{cpu}/cache/index{index}/{name}"))
        };
        let Some(level) = file("level") else { break };
        // Where a level is split into two caches, the other one holds the data.
        if file("type").is_some_and(|kind| kind.trim() == "Instruction") {
            continue;
        }
        let bytes = file("size").and_then(|text| cache_bytes(&text));
        match level.trim() {
            "2" => known.l2_bytes = bytes,
            "3" => {
                known.l3_bytes = bytes;
                known.l3_cpus =
                    file("shared_cpu_list").and_then(|text| parse_ids(&text)).unwrap_or_default();
            }
            _ => {}
        }
    }
    known
}

/// The bytes of a text like `32768K`.
fn cache_bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let (digits, unit_bytes) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    digits.parse::<usize>().ok()?.checked_mul(unit_bytes)
}

#[cfg(test)]
mod tests {
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

    /// Four CPUs on two nodes. Only the first node has memory. CPUs 0 to 2 share a third level;
    /// CPU 3 has none.
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
        assert!(
            text.contains("cpu 1: L2 1 MiB L3 32 MiB, L3 shared by cpus 0-2, node 0"),
            "{text}"
        );
        assert!(
            text.contains("cpu 3: L2 1 MiB L3 unknown, L3 shared by cpus none, node 1"),
            "{text}"
        );
    }

    #[cfg(not(miri))]
    #[test]
    fn lanes_share_a_third_level() {
        let topology = Topology::read_within(&four_cpus("topology-lanes").roots());
        assert_eq!(topology.lanes_sharing(0, &[0, 2, 3]), 2);
        assert_eq!(topology.lanes_sharing(3, &[0, 2, 3]), 1);
        assert_eq!(topology.lanes_sharing(1, &[]), 1);
        assert_eq!(topology.lanes_sharing(99, &[99]), 1, "an unknown CPU");
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
}
