//! Why a region couldn't be mapped: [`RegionError`], with the limit, the figures and the fix.

use std::fmt;
use std::path::PathBuf;

use super::options::PageKind;
use crate::machine::format::{ByteSize, Errno};

/// Why a region wasn't mapped. The text of every variant names the limit, the figure that was asked
/// for, the figure that is allowed, and what to change. Figures are bytes or pages, as their names
/// say. `used_bytes` counts against `limit_bytes`. `errno` is the kernel's error number.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the fields have the same few names in every variant, explained once above"
)]
pub enum RegionError {
    /// `bytes` is zero.
    ZeroBytes,
    /// `bytes`, rounded up to whole pages, exceeds the largest possible allocation.
    TooLarge { asked_bytes: usize },
    /// A memory limit of the process's cgroup or of a cgroup above it. Populating memory beyond it
    /// would end in SIGKILL.
    Cgroup { file: PathBuf, asked_bytes: usize, limit_bytes: usize, used_bytes: usize },
    /// The machine doesn't have that much memory available.
    Memory { asked_bytes: usize, available_bytes: usize },
    /// The process's limit of address space, RLIMIT_AS.
    AddressSpace { asked_bytes: usize, limit_bytes: usize, used_bytes: usize },
    /// The process's limit of locked memory, RLIMIT_MEMLOCK.
    LockedMemory { asked_bytes: usize, limit_bytes: usize, used_bytes: usize },
    /// The kernel's reserved pool of this page kind is too small or in use. `node` is set if one
    /// node was asked for.
    HugePages { kind: PageKind, node: Option<u32>, needed_pages: usize, free_pages: usize },
    /// This kernel or CPU has no reserved pages of this kind.
    NoHugePages { kind: PageKind },
    /// `numa` names a node without memory, or no node at all.
    NoSuchNode { node: u32, nodes: Vec<u32> },
    /// The node that `numa` names can't hold the region.
    NodeMemory { node: u32, asked_bytes: usize, available_bytes: usize },
    /// The kernel refused to map.
    Map { kind: PageKind, mapped_bytes: usize, errno: i32 },
    /// The kernel refused to bind the range to a node.
    Bind { node: u32, errno: i32 },
    /// The kernel couldn't supply the pages.
    Populate { kind: PageKind, mapped_bytes: usize, errno: i32 },
    /// The kernel refused to lock the pages.
    LockRefused { asked_bytes: usize, errno: i32 },
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use RegionError as E;
        match self {
            E::ZeroBytes => {
                f.write_str("bytes: 0 were asked for, the least is 1; set the region's size")
            }
            E::TooLarge { asked_bytes } => {
                let most = isize::MAX;
                write!(f, "bytes: {asked_bytes} were asked for, the most is {most}; ask for less")
            }
            E::Cgroup { file, asked_bytes, limit_bytes, used_bytes } => {
                let bytes = [*asked_bytes, *limit_bytes, *used_bytes];
                fmt_limit(f, "bytes", &file.display(), bytes, "raise it or ask for less")
            }
            E::AddressSpace { asked_bytes, limit_bytes, used_bytes } => {
                let bytes = [*asked_bytes, *limit_bytes, *used_bytes];
                fmt_limit(f, "bytes", &"RLIMIT_AS", bytes, "raise it (`ulimit -v`) or ask for less")
            }
            E::LockedMemory { asked_bytes, limit_bytes, used_bytes } => {
                let bytes = [*asked_bytes, *limit_bytes, *used_bytes];
                let fix = "raise it (`ulimit -l`, LimitMEMLOCK= in a unit) or grant CAP_IPC_LOCK";
                fmt_limit(f, "lock", &"RLIMIT_MEMLOCK", bytes, fix)
            }
            E::Memory { asked_bytes, available_bytes } => {
                let (asked, available) = (ByteSize(*asked_bytes), ByteSize(*available_bytes));
                write!(f, "bytes: {asked} needed, {available} available (MemAvailable); ")?;
                write!(f, "free memory or ask for less")
            }
            E::HugePages { kind, node, needed_pages, free_pages } => {
                let (place, file) = (OnNode(*node), pool_file(*kind, *node));
                write!(f, "pages: {needed_pages} {kind} needed, {free_pages} free{place}; ")?;
                write!(f, "reserve them, as root: echo {needed_pages} > {file}, or use prefer-thp")
            }
            E::NoHugePages { kind } => {
                let file = pool_file(*kind, None);
                write!(f, "pages: this machine has no {kind} (no {file}); use prefer-thp")
            }
            E::NoSuchNode { node, nodes } => {
                let fix = format_args!("choose one of {nodes:?}");
                write!(f, "numa: node {node} has no memory or doesn't exist; {fix}")
            }
            E::NodeMemory { node, asked_bytes, available_bytes } => {
                let (asked, available) = (ByteSize(*asked_bytes), ByteSize(*available_bytes));
                write!(f, "numa: {asked} needed, {available} available on node {node}; ")?;
                write!(f, "ask for less, or use Numa::Local")
            }
            E::Map { kind, mapped_bytes, errno } => {
                let (size, errno) = (ByteSize(*mapped_bytes), Errno(*errno));
                write!(f, "bytes: mapping {size} of {kind} was refused: {errno}; ask for less, ")?;
                write!(f, "or raise RLIMIT_DATA, vm.max_map_count or vm.overcommit_ratio")
            }
            E::Bind { node, errno } => {
                write!(f, "numa: binding to node {node} was refused: {}; ", Errno(*errno))?;
                write!(f, "allow mbind (a container needs CAP_SYS_NICE for it) or use Numa::Any")
            }
            E::Populate { kind, mapped_bytes, errno } => {
                let (size, errno) = (ByteSize(*mapped_bytes), Errno(*errno));
                write!(f, "bytes: no memory for {size} of {kind}: {errno}; ask for less, or ")?;
                write!(f, "raise the limit of the cgroup's memory or hugetlb controller")
            }
            E::LockRefused { asked_bytes, errno } => {
                let (size, errno) = (ByteSize(*asked_bytes), Errno(*errno));
                write!(f, "lock: locking {size} was refused: {errno}; ")?;
                write!(f, "raise RLIMIT_MEMLOCK (`ulimit -l`) or grant CAP_IPC_LOCK")
            }
        }
    }
}

impl RegionError {
    /// Asserts that the figures explain the refusal. Swapped or stale figures would lead the reader
    /// to the wrong fix.
    pub(super) fn check(&self) {
        use RegionError as E;
        match self {
            E::Cgroup { asked_bytes: asked, limit_bytes: limit, used_bytes: used, .. }
            | E::AddressSpace { asked_bytes: asked, limit_bytes: limit, used_bytes: used }
            | E::LockedMemory { asked_bytes: asked, limit_bytes: limit, used_bytes: used } => {
                assert!(asked.saturating_add(*used) > *limit, "refused what fits: {self:?}");
            }
            E::Memory { asked_bytes, available_bytes }
            | E::NodeMemory { asked_bytes, available_bytes, .. } => {
                assert!(asked_bytes > available_bytes, "refused what is there: {self:?}");
            }
            E::HugePages { kind, needed_pages, free_pages, .. } => {
                assert!(kind.is_reserved(), "{kind} have no pool");
                assert!(needed_pages > free_pages, "refused free pages: {self:?}");
            }
            E::NoHugePages { kind } => assert!(kind.is_reserved(), "{kind} have no pool"),
            E::NoSuchNode { node, nodes } => assert!(!nodes.contains(node), "node {node} is there"),
            E::Map { errno, .. } | E::Populate { errno, .. } => {
                assert!(*errno > 0, "refused without a number: {self:?}");
            }
            E::Bind { errno, .. } => assert!(*errno > 0, "refused without a number: {self:?}"),
            E::LockRefused { asked_bytes, errno } => {
                assert!(
                    *asked_bytes > 0 && *errno > 0,
                    "nothing was locked or nothing refused: {self:?}"
                );
            }
            E::ZeroBytes => {}
            E::TooLarge { asked_bytes } => {
                assert!(*asked_bytes > 0, "zero bytes are too few, not too many")
            }
        }
    }
}

/// Writes the sentence about a limit that is partly used. `bytes` are the bytes asked for, the
/// limit, and the bytes in use.
fn fmt_limit(
    f: &mut fmt::Formatter<'_>,
    field: &str,
    limit: &dyn fmt::Display,
    bytes: [usize; 3],
    fix: &str,
) -> fmt::Result {
    let [asked, most, used] = bytes;
    let (asked, most, used) = (ByteSize(asked), ByteSize(most), ByteSize(used));
    write!(
        f,
        "{field}: {asked} needed, but {limit} allows {most}, of which {used} are in use; {fix}"
    )
}

impl std::error::Error for RegionError {}

/// " on node 3", or nothing.
struct OnNode(Option<u32>);

impl fmt::Display for OnNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |node| write!(f, " on node {node}"))
    }
}

/// The file that reserves pages of a kind.
fn pool_file(kind: PageKind, node: Option<u32>) -> String {
    let kib = kind.bytes(0) >> 10;
    let folder = node
        .map_or("/sys/kernel/mm".to_owned(), |node| format!("/sys/devices/system/node/node{node}"));
    format!("{folder}/hugepages/hugepages-{kib}kB/nr_hugepages")
}
