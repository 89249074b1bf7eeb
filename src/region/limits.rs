//! The limits that would refuse a region, or get the process killed for it. All are checked before
//! the first page is mapped.
//!
//! Promises an error with the figures for each known limit. The check reserves nothing: other
//! processes may use the memory before it is touched. A limit that can't be read is ignored here.

use super::error::RegionError;
use super::options::PageKind;
use crate::machine::cgroup;
use crate::machine::kernel::{Roots, field_bytes, field_word, soft_limit};

/// The bit of CAP_IPC_LOCK in a capability set: a process that has it may lock without a limit.
const CAP_IPC_LOCK: u32 = 14;

/// What one attempt at mapping needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub(crate) kind: PageKind,
    /// The length for mmap, including guards and room for alignment.
    pub(crate) address_bytes: usize,
    /// The resident length: a multiple of the page kind.
    pub(crate) resident_bytes: usize,
    /// Bytes of a base page.
    pub(crate) page_bytes: usize,
    /// The node that must hold all of it, if one must.
    pub(crate) node: Option<u32>,
}

impl Need {
    /// Bytes charged to the cgroup: the pages and their page tables, with one entry of 8 bytes per
    /// 4 KiB. (A huge page has a spare table, for the case that it is split.)
    fn charged_bytes(&self) -> usize {
        self.resident_bytes.saturating_add(self.resident_bytes / 512)
    }

    fn pages(&self) -> usize {
        self.resident_bytes / self.kind.bytes(self.page_bytes)
    }
}

/// Checks the need against every limit except the one on locking.
pub(crate) fn check(need: &Need, roots: &Roots) -> Result<(), RegionError> {
    assert!(
        need.resident_bytes > 0 && need.address_bytes >= need.resident_bytes,
        "less mapped than used: {need:?}"
    );
    check_address_space(need, roots)?;
    if need.kind.is_reserved() {
        return check_huge_pages(need, roots);
    }
    check_cgroup(need, roots)?;
    check_machine(need, roots)?;
    check_node(need, roots)
}

fn check_address_space(need: &Need, roots: &Roots) -> Result<(), RegionError> {
    let limits = roots.read_proc("self/limits").unwrap_or_default();
    let Some(limit_bytes) = soft_limit(&limits, "Max address space") else { return Ok(()) };
    let status = roots.read_proc("self/status").unwrap_or_default();
    let used_bytes = field_bytes(&status, "VmSize:").unwrap_or(0);
    if need.address_bytes > limit_bytes.saturating_sub(used_bytes) {
        return Err(RegionError::AddressSpace {
            asked_bytes: need.address_bytes,
            limit_bytes,
            used_bytes,
        });
    }
    Ok(())
}

fn check_cgroup(need: &Need, roots: &Roots) -> Result<(), RegionError> {
    assert!(!need.kind.is_reserved(), "reserved pages aren't charged to the cgroup");
    let Some(level) = cgroup::tightest(roots) else { return Ok(()) };
    let asked_bytes = need.charged_bytes();
    if asked_bytes > level.room_bytes() {
        let (limit_bytes, used_bytes) = (level.limit_bytes, level.used_bytes);
        return Err(RegionError::Cgroup { file: level.file, asked_bytes, limit_bytes, used_bytes });
    }
    Ok(())
}

fn check_machine(need: &Need, roots: &Roots) -> Result<(), RegionError> {
    let meminfo = roots.read_proc("meminfo").unwrap_or_default();
    let Some(available_bytes) = field_bytes(&meminfo, "MemAvailable:") else { return Ok(()) };
    let asked_bytes = need.charged_bytes();
    assert!(asked_bytes >= need.resident_bytes, "charged for less than is resident: {need:?}");
    if asked_bytes > available_bytes {
        return Err(RegionError::Memory { asked_bytes, available_bytes });
    }
    Ok(())
}

/// Checks the node. If it can't hold a range that is bound to it, the out-of-memory killer comes,
/// even while other nodes have memory.
fn check_node(need: &Need, roots: &Roots) -> Result<(), RegionError> {
    let Some(node) = need.node else { return Ok(()) };
    let meminfo =
        roots.read_sys(&format!("devices/system/node/node{node}/meminfo")).unwrap_or_default();
    // The lines start with `Node 0 `, unlike those of /proc/meminfo.
    let prefix = format!("Node {node} ");
    let plain: String = meminfo
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix))
        .flat_map(|l| [l, "\n"])
        .collect();
    let Some(free_bytes) = field_bytes(&plain, "MemFree:") else { return Ok(()) };
    let cache_bytes = ["Inactive(file):", "Active(file):"]
        .iter()
        .filter_map(|name| field_bytes(&plain, name))
        .sum();
    let available_bytes = free_bytes.saturating_add(cache_bytes);
    if need.resident_bytes > available_bytes {
        return Err(RegionError::NodeMemory {
            node,
            asked_bytes: need.resident_bytes,
            available_bytes,
        });
    }
    Ok(())
}

fn check_huge_pages(need: &Need, roots: &Roots) -> Result<(), RegionError> {
    assert!(need.kind.is_reserved(), "{} have no pool", need.kind);
    let (kind, needed_pages) = (need.kind, need.pages());
    let pool = format!("hugepages/hugepages-{}kB", kind.bytes(need.page_bytes) >> 10);
    let machine = |name: &str| roots.sys_number(&format!("kernel/mm/{pool}/{name}"));
    let Some(free) = machine("free_hugepages") else {
        // Without a readable /sys there is nothing to check, and mmap itself decides.
        let hidden = roots.read_sys("kernel/mm/transparent_hugepage/enabled").is_none()
            && roots.read_proc("meminfo").is_none();
        return if hidden { Ok(()) } else { Err(RegionError::NoHugePages { kind }) };
    };
    let reserved = machine("resv_hugepages").unwrap_or(0);
    // Pages beyond the pool's size that mmap may still add, where the administrator allows any.
    let surplus_most = machine("nr_overcommit_hugepages").unwrap_or(0);
    let surplus = surplus_most.saturating_sub(machine("surplus_hugepages").unwrap_or(0));
    let free_pages = free.saturating_sub(reserved).saturating_add(surplus);
    if needed_pages > free_pages {
        return Err(RegionError::HugePages { kind, node: None, needed_pages, free_pages });
    }
    // The kernel reserves pages for the machine, not for a node. Touching more than the node has
    // would be SIGBUS.
    if let Some(node) = need.node {
        let free_pages =
            roots.sys_number(&format!("devices/system/node/node{node}/{pool}/free_hugepages"));
        if let Some(free_pages) = free_pages.filter(|free| needed_pages > *free) {
            return Err(RegionError::HugePages {
                kind,
                node: Some(node),
                needed_pages,
                free_pages,
            });
        }
    }
    Ok(())
}

/// Checks whether `asked_bytes` more may be locked.
pub(crate) fn check_lock(asked_bytes: usize, roots: &Roots) -> Result<(), RegionError> {
    assert!(asked_bytes > 0, "nothing is to be locked");
    let status = roots.read_proc("self/status").unwrap_or_default();
    let limits = roots.read_proc("self/limits").unwrap_or_default();
    let Some(limit_bytes) = soft_limit(&limits, "Max locked memory") else { return Ok(()) };
    if may_lock_without_limit(&status) {
        return Ok(());
    }
    let used_bytes = field_bytes(&status, "VmLck:").unwrap_or(0);
    if asked_bytes > limit_bytes.saturating_sub(used_bytes) {
        return Err(RegionError::LockedMemory { asked_bytes, limit_bytes, used_bytes });
    }
    Ok(())
}

/// Whether the process has CAP_IPC_LOCK. Root has it, except where it was removed, as in
/// containers.
fn may_lock_without_limit(status: &str) -> bool {
    let set = field_word(status, "CapEff:").and_then(|word| u64::from_str_radix(word, 16).ok());
    set.is_some_and(|set| set & (1 << CAP_IPC_LOCK) != 0)
}

#[cfg(test)]
mod tests;
