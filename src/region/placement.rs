//! Placement: the NUMA node that a region is bound to, and the node that its pages are on.
//!
//! Promises to make no system call on a machine with one node. It doesn't move pages that were
//! touched before.

use super::error::RegionError;
use super::kernel::Roots;
use super::map::{self, Mapping, Tie};
use super::options::Numa;
use super::report::Downgrade;
use super::smaps::bytes_by_node;
use super::topology::{memory_nodes, node_of_cpu};

/// Where the pages should come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The nodes that have memory.
    nodes: Vec<u32>,
    /// The node to tie to, if there is a choice.
    tie: Option<(u32, Tie)>,
}

impl Placement {
    /// Decides for the calling thread, which should be pinned: its CPU's node is the local one.
    pub(crate) fn choose(numa: Numa, roots: &Roots) -> Result<Placement, RegionError> {
        let nodes = memory_nodes(roots);
        let tie = match numa {
            Numa::Any => None,
            Numa::Local if nodes.len() > 1 => {
                let local = map::current_cpu().and_then(|cpu| node_of_cpu(roots, cpu));
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
        Ok(Placement { nodes, tie })
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

    /// The node that holds most of the touched mapping, and what isn't on the wanted one.
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

#[cfg(test)]
mod tests;
