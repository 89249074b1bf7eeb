//! Placement: the NUMA node that a region is bound to, and the node that its pages are on.
//!
//! Promises to make no system call on a machine with one node. It doesn't move pages that have been
//! touched.

use super::error::RegionError;
use super::map::{Mapping, Tie};
use super::options::Numa;
use super::report::{Downgrade, bytes_by_node};
use crate::machine::kernel::{Roots, current_cpu};
use crate::machine::topology::{memory_nodes, node_of_cpu};

/// Where the pages should come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NumaPlacement {
    /// The nodes that have memory.
    nodes: Vec<u32>,
    /// The node to tie to, if there is a choice.
    tie: Option<(u32, Tie)>,
}

impl NumaPlacement {
    /// Decides for the calling thread, which should be pinned: the node of its CPU is the local
    /// one.
    pub(crate) fn choose(numa: Numa, roots: &Roots) -> Result<NumaPlacement, RegionError> {
        let nodes = memory_nodes(roots);
        let tie = match numa {
            Numa::Any => None,
            Numa::Local if nodes.len() > 1 => {
                let local = current_cpu().and_then(|cpu| node_of_cpu(roots, cpu));
                local.filter(|node| nodes.contains(node)).map(|node| (node, Tie::Preferred))
            }
            Numa::Local => None,
            Numa::Node(node) => {
                // Without NUMA in the kernel there is no list, and all memory is node 0.
                let exists = nodes.contains(&node) || (nodes.is_empty() && node == 0);
                if !exists {
                    let nodes = if nodes.is_empty() { vec![0] } else { nodes };
                    return Err(RegionError::NoSuchNode { node, nodes });
                }
                Some((node, Tie::Only)).filter(|_| nodes.len() > 1)
            }
        };
        assert!(tie.is_none() || nodes.len() > 1, "tied to the only node: {tie:?}");
        assert!(
            tie.is_none_or(|(node, _)| nodes.contains(&node)),
            "tied to a node without memory: {tie:?}"
        );
        Ok(NumaPlacement { nodes, tie })
    }

    /// The node that must hold everything, if one must.
    pub(crate) fn node_required(&self) -> Option<u32> {
        self.tie.filter(|(_, tie)| *tie == Tie::Only).map(|(node, _)| node)
    }

    /// Ties the mapping, before it is touched. A refusal is an error only where the node was named.
    pub(crate) fn apply(&self, mapping: &Mapping) -> Result<Option<Downgrade>, RegionError> {
        let Some((node, tie)) = self.tie else { return Ok(None) };
        match (mapping.bind(node, tie), tie) {
            (Ok(()), _) => Ok(None),
            (Err(errno), Tie::Preferred) => {
                Ok(Some(Downgrade::Unbound { cause: RegionError::Bind { node, errno } }))
            }
            (Err(errno), Tie::Only) => Err(RegionError::Bind { node, errno }),
        }
    }

    /// The node that holds most of the touched mapping, and a downgrade if some of it isn't on the
    /// requested node.
    pub(crate) fn read_back(
        &self,
        mapping: &Mapping,
        roots: &Roots,
    ) -> (Option<u32>, Option<Downgrade>) {
        if self.nodes.len() <= 1 {
            return (self.nodes.first().copied(), None);
        }
        let text = roots.read_proc("self/numa_maps").unwrap_or_default();
        let by_node = bytes_by_node(&text, mapping.addresses());
        let most = by_node.iter().max_by_key(|(_, bytes)| *bytes).map(|(node, _)| *node);
        let downgrade = self.tie.and_then(|(node, _)| {
            let elsewhere = by_node.iter().filter(|(other, _)| *other != node);
            let elsewhere_bytes =
                elsewhere.map(|(_, bytes)| bytes).sum::<usize>().min(mapping.len());
            (elsewhere_bytes > 0).then_some(Downgrade::Elsewhere { node, elsewhere_bytes })
        });
        (most, downgrade)
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::machine::fake::FakeMachine;
    use crate::machine::page_bytes;
    use crate::region::options::PageKind;

    /// Nodes 0 and 1; every CPU belongs to `local`.
    fn two_nodes(name: &str, local: u32) -> FakeMachine {
        FakeMachine::new(name)
            .file("sys/devices/system/node/online", "0-1\n")
            .file("sys/devices/system/node/has_memory", "0-1\n")
            .file(&format!("sys/devices/system/node/node{local}/cpulist"), "0-9999\n")
    }

    #[test]
    fn one_node_leaves_nothing_to_choose() {
        let machine =
            FakeMachine::new("placement-one").file("sys/devices/system/node/has_memory", "0\n");
        for numa in [Numa::Any, Numa::Local, Numa::Node(0)] {
            assert_eq!(NumaPlacement::choose(numa, &machine.roots()).unwrap().tie, None);
        }
        let silent = FakeMachine::new("placement-silent");
        assert_eq!(NumaPlacement::choose(Numa::Node(0), &silent.roots()).unwrap().tie, None);
    }

    #[test]
    fn a_node_that_is_not_there_is_an_error() {
        let machine = two_nodes("placement-missing", 0);
        let error = NumaPlacement::choose(Numa::Node(2), &machine.roots()).unwrap_err();
        assert_eq!(error, RegionError::NoSuchNode { node: 2, nodes: vec![0, 1] });
        assert!(error.to_string().contains("choose one of [0, 1]"), "{error}");
        // Where the kernel knows no nodes, all memory is on node 0.
        let error =
            NumaPlacement::choose(Numa::Node(1), &FakeMachine::new("placement-none").roots())
                .unwrap_err();
        assert_eq!(error, RegionError::NoSuchNode { node: 1, nodes: vec![0] });
    }

    #[test]
    fn two_nodes_are_distinguished() {
        let machine = two_nodes("placement-two", 1);
        assert_eq!(
            NumaPlacement::choose(Numa::Local, &machine.roots()).unwrap().tie,
            Some((1, Tie::Preferred))
        );
        let named = NumaPlacement::choose(Numa::Node(0), &machine.roots()).unwrap();
        assert_eq!((named.tie, named.node_required()), (Some((0, Tie::Only)), Some(0)));
        assert_eq!(NumaPlacement::choose(Numa::Any, &machine.roots()).unwrap().tie, None);
    }

    /// What the kernel refused, the node that it reports, and what it put on other nodes.
    type Outcome = (Option<Downgrade>, Option<u32>, Option<Downgrade>);

    /// Ties a real mapping to a node of the fake machine and touches it. The real machine has node
    /// 0 and no node 1.
    fn tied(machine: &FakeMachine, numa: Numa) -> Result<Outcome, RegionError> {
        let roots = machine.roots_with_real_proc();
        let placement = NumaPlacement::choose(numa, &roots)?;
        let mapping = Mapping::new(PageKind::Small, 64 << 10, page_bytes()).unwrap();
        let refused = placement.apply(&mapping)?;
        mapping.touch().unwrap();
        let (node, elsewhere) = placement.read_back(&mapping, &roots);
        Ok((refused, node, elsewhere))
    }

    #[test]
    fn the_kernel_binds_and_reports_the_nodes_of_pages() {
        if Roots::system()
            .read_sys("devices/system/node/has_memory")
            .is_none_or(|nodes| nodes.trim() != "0")
        {
            // On a machine with more nodes, or without NUMA, node 1 of the fake machines isn't
            // missing.
            return;
        }
        let local = two_nodes("placement-local", 0);
        if matches!(tied(&local, Numa::Node(0)), Err(RegionError::Bind { .. })) {
            // A container may forbid the call.
            return;
        }
        assert_eq!(tied(&local, Numa::Local), Ok((None, Some(0), None)));
        assert_eq!(tied(&local, Numa::Node(0)), Ok((None, Some(0), None)));
        let remote = two_nodes("placement-remote", 1);
        let cause = RegionError::Bind { node: 1, errno: libc::EINVAL };
        let elsewhere = Downgrade::Elsewhere { node: 1, elsewhere_bytes: 64 << 10 };
        assert_eq!(
            tied(&remote, Numa::Local),
            Ok((Some(Downgrade::Unbound { cause: cause.clone() }), Some(0), Some(elsewhere)))
        );
        assert_eq!(tied(&remote, Numa::Node(1)), Err(cause));
    }
}
