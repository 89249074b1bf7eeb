//! The machine's caches and NUMA nodes, as far as a lane needs them.
//!
//! Promises that what the kernel doesn't report is None or absent, never an error. Reading opens
//! several files per CPU, so do it at start. It doesn't know which CPUs the process may use: that
//! is the pinning's mask.

use std::fmt;

use super::format::{CpuList, HumanBytes, parse_ids};
use super::kernel::Roots;

/// The window's default is never larger than this, in bytes: past it a sweep of windows gained
/// nothing.
const WINDOW_DEFAULT_BYTES_MAX: usize = 4 << 20;

/// The default where all is read on the core that writes and its cache is unknown: half of a second
/// level of 1 MiB.
const WINDOW_OWN_CORE_DEFAULT_BYTES: usize = 512 << 10;

/// No CPU has more entries of cache than this in the files read here; it bounds a walk over them.
const CACHES_MAX: usize = 16;

/// What is known of each CPU that is online, and the nodes that have memory.
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
    /// Its second level of cache, in bytes.
    pub(crate) l2_bytes: Option<usize>,
    /// Its third level of cache, in bytes, which it shares with `l3_cpus`.
    pub(crate) l3_bytes: Option<usize>,
    /// The CPUs that share the third level, itself included, rising.
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

    /// A machine for tests: so many CPUs with caches of these sizes, of which so many share a third
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

    /// The smallest second level of cache that a CPU reports, in bytes; None where none does.
    pub fn l2_bytes_min(&self) -> Option<usize> {
        self.cpus.iter().filter_map(|known| known.l2_bytes).min()
    }

    /// The smallest third level of cache that a CPU reports, in bytes; None where none does.
    pub fn l3_bytes_min(&self) -> Option<usize> {
        self.cpus.iter().filter_map(|known| known.l3_bytes).min()
    }

    /// The NUMA nodes that have memory, rising; empty where the kernel doesn't tell.
    #[cfg(test)]
    pub(crate) fn nodes(&self) -> &[u32] {
        &self.nodes
    }

    /// How many of the lanes' CPUs share the third level of cache of `cpu`, itself included; at
    /// least 1. It is what [`window_default_bytes`] divides by.
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
                    Some(bytes) => write!(f, " {level} {}", HumanBytes(bytes))?,
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

/// How many bytes of the pool should be in rotation: half of a lane's share of the third level of
/// cache, so that the window and what is read beside it both stay there, and 4 MiB at most, which
/// is also the answer where the cache is unknown. The ring pool fits the figure to its chunks.
pub fn window_default_bytes(l3_bytes: Option<usize>, lanes_sharing: usize) -> usize {
    let Some(l3_bytes) = l3_bytes else { return WINDOW_DEFAULT_BYTES_MAX };
    let shares = lanes_sharing.max(1).saturating_mul(2);
    assert!(shares >= 2, "a lane's share is more than half");
    (l3_bytes / shares).min(WINDOW_DEFAULT_BYTES_MAX)
}

/// The same where everything is read on the core that writes: half of its second level of cache,
/// which nobody else uses. A second core's reads would have to fetch the lines from there, and then
/// a larger window is better.
///
/// Measured with 1 MiB of it, a 2 GiB pool, one thread: 1 to 8 vectors of 128 dimensions written
/// whole, 256 alive, took 21 ns in a window of 512 KiB, 24 in 1 MiB, 29 in 4 MiB. With 8 bytes of
/// 16-dimensional vectors touched, 1024 alive, all windows from 512 KiB to 4 MiB were within 3 %
/// while the other core was idle; while it worked, 4 MiB took up to twice as long as 512 KiB.
pub(crate) fn window_own_core_default_bytes(l2_bytes: Option<usize>) -> usize {
    let window_bytes = l2_bytes.map_or(WINDOW_OWN_CORE_DEFAULT_BYTES, |l2_bytes| l2_bytes / 2);
    window_bytes.min(WINDOW_DEFAULT_BYTES_MAX)
}

/// The nodes that have memory; empty without NUMA.
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
        // Where a level is split, data is in its other half.
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
mod tests;
