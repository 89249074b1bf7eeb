//! What a region got: [`RegionReport`], and reading it back from the kernel after the touch, from
//! the texts of `/proc/self/smaps` and `/proc/self/numa_maps`.
//!
//! Reading back relies on the range being a line of its own in smaps. Its guards ensure that:
//! without them the kernel merges neighbours of the same kind, and adds their figures.

use std::fmt;

use super::error::RegionError;
use super::extent::Extent;
use super::options::PageKind;
use crate::machine::format::{ByteSize, Errno};
use crate::machine::kernel::{Roots, chosen, field_bytes, field_word};

/// What was granted. Its text has one line per fact, and one per downgrade with the likely cause
/// and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionReport {
    /// The bytes that were asked for.
    pub asked_bytes: usize,
    /// The bytes that are mapped and touched: the asked bytes, rounded up to the page kind.
    pub mapped_bytes: usize,
    /// The mapped bytes by page kind.
    pub pages: PagesGranted,
    /// The NUMA node that holds most of it; None where the kernel doesn't report it.
    pub node: Option<u32>,
    /// Bytes that can't be swapped out: locked pages, and reserved huge pages.
    pub locked_bytes: usize,
    /// How long touching every page took, in nanoseconds.
    pub touch_ns: u64,
    /// What was requested and not granted.
    pub downgrades: Vec<Downgrade>,
}

/// Bytes by page kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PagesGranted {
    /// In base pages.
    pub small_bytes: usize,
    /// In transparent huge pages.
    pub thp_bytes: usize,
    /// In reserved pages of 2 MiB.
    pub huge_2m_bytes: usize,
    /// In reserved pages of 1 GiB.
    pub huge_1g_bytes: usize,
}

impl PagesGranted {
    /// The sum.
    pub fn total_bytes(&self) -> usize {
        self.small_bytes + self.thp_bytes + self.huge_2m_bytes + self.huge_1g_bytes
    }

    fn by_kind(&self) -> [(PageKind, usize); 4] {
        [
            (PageKind::Small, self.small_bytes),
            (PageKind::Thp, self.thp_bytes),
            (PageKind::Huge2M, self.huge_2m_bytes),
            (PageKind::Huge1G, self.huge_1g_bytes),
        ]
    }
}

impl RegionReport {
    /// Asserts that no part is larger than the whole.
    pub(super) fn check(&self) {
        assert!(
            self.asked_bytes > 0 && self.mapped_bytes >= self.asked_bytes,
            "less mapped than asked: {self:?}"
        );
        assert!(
            self.pages.total_bytes() <= self.mapped_bytes,
            "more granted than mapped: {self:?}"
        );
        assert!(self.locked_bytes <= self.mapped_bytes, "more locked than mapped: {self:?}");
        self.downgrades.iter().for_each(|downgrade| downgrade.check(self.mapped_bytes));
    }
}

impl fmt::Display for RegionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "region: {} asked, {} mapped",
            ByteSize(self.asked_bytes),
            ByteSize(self.mapped_bytes)
        )?;
        write!(f, "pages:")?;
        let mut comma = "";
        for (kind, bytes) in self.pages.by_kind().into_iter().filter(|(_, bytes)| *bytes > 0) {
            write!(f, "{comma} {} in {kind}", ByteSize(bytes))?;
            comma = ",";
        }
        writeln!(f, "{}", if comma.is_empty() { " unknown" } else { "" })?;
        match self.node {
            Some(node) => writeln!(f, "node: {node}")?,
            None => writeln!(f, "node: unknown")?,
        }
        writeln!(f, "locked: {}", ByteSize(self.locked_bytes))?;
        write!(f, "touched: in {:.1} ms", self.touch_ns as f64 / 1e6)?;
        self.downgrades.iter().try_for_each(|downgrade| write!(f, "\ndowngrade: {downgrade}"))
    }
}

/// A request that wasn't granted, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Downgrade {
    /// The page kind `wanted` was refused, and the region has the next one.
    Pages {
        /// The kind that was tried.
        wanted: PageKind,
        /// What refused it.
        cause: RegionError,
    },
    /// Transparent huge pages were requested, and some or all of the region is in small pages.
    SmallPages {
        /// Bytes in small pages.
        small_bytes: usize,
        /// Bytes of the region.
        mapped_bytes: usize,
        /// The likely cause.
        cause: SmallPagesCause,
    },
    /// The pages aren't locked.
    Unlocked {
        /// What refused it.
        cause: RegionError,
    },
    /// The kernel refused to bind the range to the local node. The first touch still prefers it.
    Unbound {
        /// What refused it.
        cause: RegionError,
    },
    /// Part of the region is on other nodes.
    Elsewhere {
        /// The requested node.
        node: u32,
        /// Bytes that aren't on it.
        elsewhere_bytes: usize,
    },
    /// Core dumps will hold the region's bytes.
    Dumped {
        /// The kernel's error number.
        errno: i32,
    },
    /// A forked child will have the region's bytes, and share its pages until one side writes.
    Forked {
        /// The kernel's error number.
        errno: i32,
    },
    /// The pages were touched one by one.
    TouchedByLoop,
    /// What was granted couldn't be read back: the page kinds are unknown.
    Unread,
}

/// Why transparent huge pages weren't granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SmallPagesCause {
    /// They are switched off on this machine.
    SwitchedOff,
    /// They are switched off for this process.
    SwitchedOffForProcess,
    /// The kernel doesn't know the request.
    Unsupported {
        /// The kernel's error number.
        errno: i32,
    },
    /// The machine's huge pages are larger than 2 MiB, as they are where base pages are larger than
    /// 4 KiB. Only a region that contains all of one gets any.
    Larger {
        /// Bytes of a transparent huge page.
        huge_bytes: usize,
    },
    /// The kernel found no free run of 2 MiB.
    Fragmented,
}

impl Downgrade {
    fn check(&self, region_bytes: usize) {
        match self {
            Downgrade::Pages { cause, .. }
            | Downgrade::Unlocked { cause }
            | Downgrade::Unbound { cause } => cause.check(),
            Downgrade::SmallPages { small_bytes, mapped_bytes, .. } => {
                assert!(*small_bytes > 0, "a downgrade of nothing");
                assert!(
                    small_bytes <= mapped_bytes && *mapped_bytes == region_bytes,
                    "not this region: {self:?}"
                );
            }
            Downgrade::Elsewhere { elsewhere_bytes, .. } => {
                assert!(*elsewhere_bytes > 0, "a downgrade of nothing");
                assert!(*elsewhere_bytes <= region_bytes, "more elsewhere than mapped: {self:?}");
            }
            Downgrade::Dumped { errno } | Downgrade::Forked { errno } => {
                assert!(*errno > 0, "refused without a number")
            }
            Downgrade::TouchedByLoop | Downgrade::Unread => {}
        }
    }
}

impl fmt::Display for Downgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Downgrade::Pages { wanted, cause } => write!(f, "not in {wanted}: {cause}"),
            Downgrade::SmallPages { small_bytes, mapped_bytes, cause } => {
                write!(
                    f,
                    "{} of {} are in small pages: {cause}",
                    ByteSize(*small_bytes),
                    ByteSize(*mapped_bytes)
                )
            }
            Downgrade::Unlocked { cause } => write!(f, "not locked: {cause}"),
            Downgrade::Unbound { cause } => write!(f, "not bound: {cause}"),
            Downgrade::Elsewhere { node, elsewhere_bytes } => write!(
                f,
                "{} aren't on node {node}: it is likely full; free memory there or pin the lane to another node",
                ByteSize(*elsewhere_bytes)
            ),
            Downgrade::Dumped { errno } => {
                write!(
                    f,
                    "core dumps hold the region: {}; limit them with `ulimit -c`",
                    Errno(*errno)
                )
            }
            Downgrade::Forked { errno } => {
                write!(
                    f,
                    "forked children share the region: {}; don't fork after start",
                    Errno(*errno)
                )
            }
            Downgrade::TouchedByLoop => {
                write!(
                    f,
                    "touched page by page: MADV_POPULATE_WRITE is missing, it needs Linux 5.14"
                )
            }
            Downgrade::Unread => {
                write!(
                    f,
                    "page kinds unknown: /proc/self/smaps doesn't show the region; mount /proc to see them"
                )
            }
        }
    }
}

impl fmt::Display for SmallPagesCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SWITCH: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
        match self {
            SmallPagesCause::SwitchedOff => {
                write!(
                    f,
                    "transparent huge pages are switched off; as root: echo madvise > {SWITCH}"
                )
            }
            SmallPagesCause::SwitchedOffForProcess => {
                write!(
                    f,
                    "transparent huge pages are switched off for this process (PR_SET_THP_DISABLE) by its parent"
                )
            }
            SmallPagesCause::Unsupported { errno } => {
                write!(
                    f,
                    "this kernel has no transparent huge pages: {}; use 4k or prefer-2m",
                    Errno(*errno)
                )
            }
            SmallPagesCause::Larger { huge_bytes } => {
                write!(
                    f,
                    "this machine's transparent huge pages are of {}; use 4k, or a larger pool",
                    ByteSize(*huge_bytes)
                )
            }
            SmallPagesCause::Fragmented => {
                write!(
                    f,
                    "memory is likely fragmented; as root: echo 1 > /proc/sys/vm/compact_memory, or start earlier"
                )
            }
        }
    }
}

/// The likeliest cause of small pages where huge ones were requested.
pub(super) fn small_pages_cause(refusal: Option<i32>, roots: &Roots) -> SmallPagesCause {
    if let Some(errno) = refusal {
        return SmallPagesCause::Unsupported { errno };
    }
    let switch = roots.read_sys("kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let status = roots.read_proc("self/status").unwrap_or_default();
    match (chosen(&switch), field_word(&status, "THP_enabled:")) {
        (Some("never"), _) => SmallPagesCause::SwitchedOff,
        (_, Some("0")) => SmallPagesCause::SwitchedOffForProcess,
        _ => match roots.sys_number("kernel/mm/transparent_hugepage/hpage_pmd_size") {
            Some(huge_bytes) if huge_bytes > PageKind::Thp.bytes(roots.page_bytes) => {
                SmallPagesCause::Larger { huge_bytes }
            }
            _ => SmallPagesCause::Fragmented,
        },
    }
}

/// What the kernel granted to one range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) pages: PagesGranted,
    pub(crate) locked_bytes: usize,
}

/// The sum over all mappings of smaps inside `range`; None if there are none.
pub(crate) fn granted(smaps: &str, range: Extent) -> Option<Granted> {
    let mut sum = None;
    let mut rest = smaps;
    while let Some((span, body, next)) = next_mapping(rest) {
        assert!(next.len() < rest.len(), "smaps isn't getting shorter");
        if range.contains(span) {
            add_mapping(sum.get_or_insert_default(), body);
        }
        rest = next;
    }
    sum
}

/// The first mapping of the text: its addresses, its fields, and the text after it.
fn next_mapping(text: &str) -> Option<(Extent, &str, &str)> {
    let mut lines = text.split_inclusive('\n');
    let mut skipped = 0;
    let span = lines.find_map(|line| {
        skipped += line.len();
        header(line)
    })?;
    let body_len: usize = lines.take_while(|line| header(line).is_none()).map(str::len).sum();
    let (body, next) = text[skipped..].split_at(body_len);
    Some((span, body, next))
}

/// The addresses of a line like `7f0000000000-7f0000200000 rw-p 00000000 00:00 0`.
fn header(line: &str) -> Option<Extent> {
    let (first, end) = line.split_whitespace().next()?.split_once('-')?;
    let first = usize::from_str_radix(first, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Extent::new(first, end.checked_sub(first)?).ok()
}

fn add_mapping(sum: &mut Granted, body: &str) {
    let bytes = |name| field_bytes(body, name).unwrap_or(0);
    let reserved_bytes = bytes("Private_Hugetlb:") + bytes("Shared_Hugetlb:");
    if reserved_bytes > 0 {
        let page_bytes = bytes("KernelPageSize:");
        let huge_1g = page_bytes == PageKind::Huge1G.bytes(0);
        let kind =
            if huge_1g { &mut sum.pages.huge_1g_bytes } else { &mut sum.pages.huge_2m_bytes };
        *kind += reserved_bytes;
        sum.locked_bytes += reserved_bytes;
    }
    let thp_bytes = bytes("AnonHugePages:");
    sum.pages.thp_bytes += thp_bytes;
    sum.pages.small_bytes += bytes("Rss:").saturating_sub(thp_bytes);
    sum.locked_bytes += bytes("Locked:");
}

/// The bytes of `range` per node, from the text of numa_maps, rising by node.
pub(crate) fn bytes_by_node(numa_maps: &str, range: Extent) -> Vec<(u32, usize)> {
    let mut nodes: Vec<(u32, usize)> = Vec::new();
    for line in numa_maps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().and_then(|word| usize::from_str_radix(word, 16).ok());
        let inside = first
            .and_then(|first| Extent::new(first, 1).ok())
            .is_some_and(|first| range.overlaps(first));
        if !inside {
            continue;
        }
        let words: Vec<&str> = words.collect();
        let page_kib: Option<usize> =
            words.iter().find_map(|word| word.strip_prefix("kernelpagesize_kB=")?.parse().ok());
        for (node, pages) in words.iter().filter_map(|word| node_pages(word)) {
            let bytes = pages.saturating_mul(page_kib.unwrap_or(4)).saturating_mul(1024);
            match nodes.iter_mut().find(|(known, _)| *known == node) {
                Some((_, sum)) => *sum += bytes,
                None => nodes.push((node, bytes)),
            }
        }
    }
    nodes.sort_unstable();
    assert!(nodes.windows(2).all(|pair| pair[0].0 < pair[1].0), "a node is counted twice");
    nodes
}

/// The node and page count of a word like `N0=512`.
fn node_pages(word: &str) -> Option<(u32, usize)> {
    let (node, pages) = word.strip_prefix('N')?.split_once('=')?;
    Some((node.parse().ok()?, pages.parse().ok()?))
}

#[cfg(test)]
mod tests;
