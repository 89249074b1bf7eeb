#![cfg(not(miri))]

use super::*;
use crate::region::fake::FakeMachine;
use crate::region::options::PageKind;
use crate::region::page_bytes;
use crate::region::touch::touch;

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
        assert_eq!(Placement::choose(numa, &machine.roots()).unwrap().tie, None);
    }
    let silent = FakeMachine::new("placement-silent");
    assert_eq!(Placement::choose(Numa::Node(0), &silent.roots()).unwrap().tie, None);
}

#[test]
fn a_node_that_is_not_there_is_an_error() {
    let machine = two_nodes("placement-missing", 0);
    let error = Placement::choose(Numa::Node(2), &machine.roots()).unwrap_err();
    assert_eq!(error, RegionError::NoSuchNode { node: 2, nodes: vec![0, 1] });
    assert!(error.to_string().contains("choose one of [0, 1]"), "{error}");
    // Where the kernel knows no nodes, all memory is on node 0.
    let error =
        Placement::choose(Numa::Node(1), &FakeMachine::new("placement-none").roots()).unwrap_err();
    assert_eq!(error, RegionError::NoSuchNode { node: 1, nodes: vec![0] });
}

#[test]
fn two_nodes_are_told_apart() {
    let machine = two_nodes("placement-two", 1);
    assert_eq!(
        Placement::choose(Numa::Local, &machine.roots()).unwrap().tie,
        Some((1, Tie::Preferred))
    );
    let named = Placement::choose(Numa::Node(0), &machine.roots()).unwrap();
    assert_eq!((named.tie, named.node_required()), (Some((0, Tie::Only)), Some(0)));
    assert_eq!(Placement::choose(Numa::Any, &machine.roots()).unwrap().tie, None);
}

/// What the kernel refused, the node it named, and what it put elsewhere.
type Outcome = (Option<Downgrade>, Option<u32>, Option<Downgrade>);

/// Ties a real mapping to a node of the fake machine and touches it: the real one has node 0 and no
/// node 1.
fn tied(machine: &FakeMachine, numa: Numa) -> Result<Outcome, RegionError> {
    let roots = machine.roots_with_real_proc();
    let placement = Placement::choose(numa, &roots)?;
    let mapping = Mapping::new(PageKind::Small, 64 << 10, page_bytes()).unwrap();
    let refused = placement.apply(&mapping)?;
    touch(&mapping).unwrap();
    let (node, elsewhere) = placement.read_back(&mapping, &roots);
    Ok((refused, node, elsewhere))
}

#[test]
fn the_kernel_binds_and_tells_where_pages_lie() {
    if Roots::system()
        .read_sys("devices/system/node/has_memory")
        .is_none_or(|nodes| nodes.trim() != "0")
    {
        // On a machine with more nodes, or without NUMA, these fakes don't stand for a missing
        // node.
        return;
    }
    let home = two_nodes("placement-home", 0);
    if matches!(tied(&home, Numa::Node(0)), Err(RegionError::Bind { .. })) {
        // A container may forbid the call altogether.
        return;
    }
    assert_eq!(tied(&home, Numa::Local), Ok((None, Some(0), None)));
    assert_eq!(tied(&home, Numa::Node(0)), Ok((None, Some(0), None)));
    let away = two_nodes("placement-away", 1);
    let cause = RegionError::Bind { node: 1, errno: libc::EINVAL };
    let elsewhere = Downgrade::Elsewhere { node: 1, elsewhere_bytes: 64 << 10 };
    assert_eq!(
        tied(&away, Numa::Local),
        Ok((Some(Downgrade::Unbound { cause: cause.clone() }), Some(0), Some(elsewhere)))
    );
    assert_eq!(tied(&away, Numa::Node(1)), Err(cause));
}
