//! How a class pool is made: its sizes ([`ClassTable`]), its limits and its other options
//! ([`ClassOptions`]), and what they are refused for ([`ClassError`]).
//!
//! - A length belongs to the smallest class that fits, which is found without a search through all
//!   classes.
//! - Every option has a default, and all are checked in one place.
//!
//! It owns no memory.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use crate::machine::format::ByteSize;
use crate::region::{Numa, Pages, RegionError};

/// The largest number of classes in a table.
pub(crate) const CLASSES_MAX: usize = 16;
/// The unit of class sizes: a cache line, so that every buffer starts on one.
pub(crate) const CLASS_UNIT_BYTES: usize = 64;
/// The largest class.
pub(crate) const CLASS_BYTES_MAX: usize = 1 << 30;
/// The most buffers of a class that one thread keeps: a power of two, so that an index into its bin
/// is masked rather than compared.
pub(crate) const BIN_SLOTS: usize = 32;

/// The options of a class pool. Every field has a default;
/// [`ClassPool::new`](super::ClassPool::new) checks them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassOptions {
    /// The sizes. Default [`ClassTable::wire`].
    pub table: ClassTable,
    /// The most memory that each class may hold, in use or not. Default [`Limit::NONE`].
    pub limit: Limit,
    /// What `get` does when a class is at its limit. Default [`AtLimit::Wait`].
    pub at_limit: AtLimit,
    /// Whether a buffer's whole capacity is zeroed when it is dropped. Default false: the next
    /// owner finds old bytes, except after [`zero_on_drop`](super::PooledBuf::zero_on_drop).
    pub zero_on_return: bool,
    /// The most bytes of each class that one thread keeps for itself; 0 for none. A class of which
    /// fewer than two buffers fit isn't kept. Default 2 MiB, and never more than 32 buffers: with
    /// the wire table, up to 4 MiB for a thread that uses all classes. All of it returns to the
    /// pool when a getter is at the limit, when the pool shrinks, and when the thread ends.
    pub cache_bytes: usize,
    /// How long a buffer isn't needed before it gives its pages back; None for never. Default 10 s.
    /// This requires calls of [`ClassPool::tick`](super::ClassPool::tick), or a
    /// [`Ticker`](super::Ticker).
    pub shrink_after: Option<Duration>,
    /// [`Pages::Small`], the default, or [`Pages::PreferThp`]. Reserved huge pages are refused,
    /// because they can't be given back in parts.
    pub pages: Pages,
    /// The NUMA node of every buffer. Default [`Numa::Local`]: the node of the thread whose get
    /// maps the memory. A buffer stays on its node, wherever it is dropped.
    pub numa: Numa,
    /// Whether core dumps contain the buffers' bytes. Default false.
    pub dump: bool,
}

impl Default for ClassOptions {
    fn default() -> Self {
        Self {
            table: ClassTable::wire(),
            limit: Limit::NONE,
            at_limit: AtLimit::Wait,
            zero_on_return: false,
            cache_bytes: 2 << 20,
            shrink_after: Some(Duration::from_secs(10)),
            pages: Pages::Small,
            numa: Numa::Local,
            dump: false,
        }
    }
}

/// A bound on each class: the class is at its limit when either field is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Buffers of the class.
    pub buffers: usize,
    /// Bytes of the class's buffers, counting whole capacities.
    pub bytes: usize,
}

impl Limit {
    /// No limit other than the machine's memory.
    pub const NONE: Limit = Limit { buffers: usize::MAX, bytes: usize::MAX };

    /// At most this many buffers of each class.
    #[must_use]
    pub const fn buffers(buffers: usize) -> Self {
        Self { buffers, ..Self::NONE }
    }

    /// The number of buffers of `class_bytes` that may exist.
    pub(crate) fn of(self, class_bytes: usize) -> usize {
        self.buffers.min(self.bytes / class_bytes)
    }
}

/// What a `get` does when its class is at the limit and no buffer is free (see
/// [`GetError::Exhausted`](super::GetError::Exhausted)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtLimit {
    /// Waits until a buffer comes back, in order of arrival.
    #[default]
    Wait,
    /// Returns [`GetError::Exhausted`](super::GetError::Exhausted).
    Refuse,
    /// Allocates a direct buffer, which goes back to the system's allocator when it is dropped. It
    /// is counted as fresh.
    Fresh,
}

impl ClassOptions {
    pub(crate) fn check(&self) -> Result<(), ClassError> {
        for &class_bytes in self.table.sizes() {
            if self.limit.of(class_bytes) == 0 {
                return Err(ClassError::LimitBelowOne { limit: self.limit, class_bytes });
            }
        }
        if self.shrink_after == Some(Duration::ZERO) {
            return Err(ClassError::ShrinkAfterZero);
        }
        if !matches!(self.pages, Pages::Small | Pages::PreferThp) {
            return Err(ClassError::Pages { pages: self.pages });
        }
        Ok(())
    }

    /// The number of buffers of a class that one thread keeps: none, or two to [`BIN_SLOTS`].
    pub(crate) fn kept(&self, class_bytes: usize) -> u32 {
        let kept = (self.cache_bytes / class_bytes).min(BIN_SLOTS);
        if kept < 2 { 0 } else { kept as u32 }
    }
}

/// The sizes of a pool's buffers, ascending.
///
/// Waste: a buffer of `len` bytes occupies its class's size. In a table whose sizes double, that is
/// less than twice `len` for all but the smallest class. In [`ClassTable::object`], whose sizes
/// grow fourfold, it is less than four times `len`.
///
/// ```
/// use slipring::class::ClassTable;
///
/// let table = ClassTable::wire();
/// assert_eq!(table.class_of(5000).map(|class| table.sizes()[class]), Some(8 << 10));
/// assert_eq!(table.class_of(65537), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassTable {
    /// Padded with a size that holds every length, so that a search ends.
    sizes: [usize; CLASSES_MAX + 1],
    classes: usize,
    /// By the highest set bit of `len - 1`: the first class that may fit. Lengths 0 and 1 share the
    /// entry of 2.
    first: [u8; usize::BITS as usize],
}

impl ClassTable {
    /// For requests, answers and messages: 2, 4, 8, 16, 32 and 64 KiB.
    #[must_use]
    pub fn wire() -> Self {
        Self::build(&[2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10])
    }

    /// For objects: 1, 4, 16, 64 and 256 MiB.
    #[must_use]
    pub fn object() -> Self {
        Self::build(&[1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20])
    }

    /// Custom sizes, in bytes: 1 to 16 of them, ascending, each a multiple of 64 and at most 1 GiB.
    ///
    /// # Errors
    /// [`ClassError`] names the size that breaks a rule.
    pub fn new(sizes: &[usize]) -> Result<Self, ClassError> {
        if sizes.is_empty() || sizes.len() > CLASSES_MAX {
            return Err(ClassError::TableLength { classes: sizes.len() });
        }
        for (class, &bytes) in sizes.iter().enumerate() {
            if bytes == 0 || bytes > CLASS_BYTES_MAX || !bytes.is_multiple_of(CLASS_UNIT_BYTES) {
                return Err(ClassError::ClassBytes { class, bytes });
            }
            if class > 0 && bytes <= sizes[class - 1] {
                return Err(ClassError::TableOrder {
                    class,
                    bytes,
                    before_bytes: sizes[class - 1],
                });
            }
        }
        Ok(Self::build(sizes))
    }

    fn build(from: &[usize]) -> Self {
        assert!(
            !from.is_empty() && from.len() <= CLASSES_MAX && from.is_sorted(),
            "not a table: {from:?}"
        );
        let mut sizes = [usize::MAX; CLASSES_MAX + 1];
        sizes[..from.len()].copy_from_slice(from);
        let mut first = [0; usize::BITS as usize];
        for (top, first) in first.iter_mut().enumerate() {
            // The smallest length of this entry: see `first`.
            let least = if top == 0 { 0 } else { (1_usize << top).saturating_add(1) };
            *first = from.iter().filter(|&&bytes| bytes < least).count() as u8;
        }
        Self { sizes, classes: from.len(), first }
    }

    /// The classes' sizes in bytes.
    #[must_use]
    pub fn sizes(&self) -> &[usize] {
        &self.sizes[..self.classes]
    }

    /// The smallest class that holds `len` bytes; None if the largest doesn't.
    #[must_use]
    #[inline]
    pub fn class_of(&self, len: usize) -> Option<usize> {
        let class = self.fit(len);
        (class < self.classes).then_some(class)
    }

    /// As [`ClassTable::class_of`], with the number of classes if none fits.
    #[inline]
    pub(crate) fn fit(&self, len: usize) -> usize {
        let top = (len.saturating_sub(1) | 1).ilog2();
        let mut class = usize::from(self.first[top as usize]);
        // The search passes classes within one power of two only, so none in a table whose sizes
        // double. It ends at the padding, which holds every length.
        while self.sizes[class] < len {
            class += 1;
        }
        debug_assert!(class <= self.classes, "the size after the last class holds {len}");
        debug_assert!(
            class == 0 || self.sizes[class - 1] < len,
            "class {class} isn't the smallest for {len}"
        );
        class
    }
}

/// Errors of making or warming up a pool.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassError {
    /// A table has no class, or too many.
    TableLength {
        /// The number of classes.
        classes: usize,
    },
    /// A size is invalid.
    ClassBytes {
        /// The index in the table.
        class: usize,
        /// Its size.
        bytes: usize,
    },
    /// The sizes don't ascend.
    TableOrder {
        /// The index in the table.
        class: usize,
        /// Its size.
        bytes: usize,
        /// The size before it.
        before_bytes: usize,
    },
    /// The limit allows no buffer of a class.
    LimitBelowOne {
        /// The limit.
        limit: Limit,
        /// The class.
        class_bytes: usize,
    },
    /// `shrink_after` is zero.
    ShrinkAfterZero,
    /// Pages of this kind can't be given back in parts.
    Pages {
        /// The requested page kind.
        pages: Pages,
    },
    /// There is no memory, or a limit forbids it.
    Region(RegionError),
    /// The calling process was forked from the pool's own.
    Forked,
}

impl fmt::Display for ClassError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableLength { classes } => {
                write!(f, "a table of {classes} classes: give 1 to {CLASSES_MAX} sizes")
            }
            Self::ClassBytes { class, bytes } => write!(
                f,
                "size {class} of the table is {bytes} bytes: give a multiple of {CLASS_UNIT_BYTES} up to {}",
                ByteSize(CLASS_BYTES_MAX)
            ),
            Self::TableOrder { class, bytes, before_bytes } => write!(
                f,
                "size {class} of the table is {bytes} bytes, the one before {before_bytes}: sort the sizes and leave duplicates out"
            ),
            Self::LimitBelowOne { limit: Limit { buffers, bytes }, class_bytes } => write!(
                f,
                "`limit` ({buffers} buffers, {}) holds no buffer of the class of {}: raise it, or leave the class out",
                ByteSize(*bytes),
                ByteSize(*class_bytes)
            ),
            Self::ShrinkAfterZero => {
                write!(f, "`shrink_after` is 0: give a time, or none to keep all memory")
            }
            Self::Pages { pages } => {
                write!(
                    f,
                    "`pages` is {pages}, which can't be given back in parts: give 4k or prefer-thp"
                )
            }
            Self::Region(cause) => write!(f, "no memory for a class: {cause}"),
            Self::Forked => write!(f, "{FORKED}"),
        }
    }
}

impl std::error::Error for ClassError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Region(cause) => Some(cause),
            _ => None,
        }
    }
}

/// Why a pool of the parent's refuses in a forked child.
pub(super) const FORKED: &str =
    "this process was forked from the one that made the pool: make a pool after the fork";

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use slipring_test_support::random_runs;

    #[test]
    fn limits_that_hold_no_buffer_are_refused() {
        let with = |limit| ClassOptions { limit, ..ClassOptions::default() }.check();
        assert_eq!(with(Limit::NONE), Ok(()));
        assert_eq!(with(Limit { bytes: 64 << 10, ..Limit::NONE }), Ok(()));
        let limit = Limit { bytes: (64 << 10) - 1, ..Limit::NONE };
        assert_eq!(with(limit), Err(ClassError::LimitBelowOne { limit, class_bytes: 64 << 10 }));
        let limit = Limit::buffers(0);
        assert_eq!(with(limit), Err(ClassError::LimitBelowOne { limit, class_bytes: 2 << 10 }));
    }

    #[test]
    fn fields_that_make_no_sense_are_refused() {
        let options =
            ClassOptions { shrink_after: Some(Duration::ZERO), ..ClassOptions::default() };
        assert_eq!(options.check(), Err(ClassError::ShrinkAfterZero));
        for pages in [Pages::Prefer2M, Pages::Prefer1G, Pages::Require2M, Pages::Require1G] {
            let options = ClassOptions { pages, ..ClassOptions::default() };
            assert_eq!(options.check(), Err(ClassError::Pages { pages }));
        }
    }

    #[test]
    fn a_thread_keeps_none_or_some() {
        let options = ClassOptions { cache_bytes: 2 << 20, ..ClassOptions::default() };
        assert_eq!(
            [2 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20].map(|bytes| options.kept(bytes)),
            [32, 32, 16, 8, 2]
        );
        assert_eq!([(1 << 20) + 64, 4 << 20].map(|bytes| options.kept(bytes)), [0, 0]);
        assert_eq!(ClassOptions { cache_bytes: 0, ..options }.kept(64), 0);
    }

    fn naive(sizes: &[usize], len: usize) -> Option<usize> {
        sizes.iter().position(|&bytes| bytes >= len)
    }

    #[test]
    fn edges_of_every_class() {
        for table in [
            ClassTable::wire(),
            ClassTable::object(),
            ClassTable::new(&[64, 128, 192, 4160]).unwrap(),
        ] {
            for &bytes in table.sizes() {
                for len in [0, 1, bytes - 1, bytes, bytes + 1, usize::MAX - 1, usize::MAX] {
                    assert_eq!(
                        table.class_of(len),
                        naive(table.sizes(), len),
                        "{len} in {:?}",
                        table.sizes()
                    );
                }
            }
        }
    }

    #[test]
    fn a_table_that_is_none_is_refused_by_its_size() {
        let refused = |sizes: &[usize]| ClassTable::new(sizes).unwrap_err();
        assert!(matches!(refused(&[]), ClassError::TableLength { classes: 0 }));
        assert!(matches!(refused(&[64; 17]), ClassError::TableLength { classes: 17 }));
        assert!(matches!(
            refused(&[128, 64]),
            ClassError::TableOrder { class: 1, bytes: 64, before_bytes: 128 }
        ));
        assert!(
            matches!(refused(&[64, 64]), ClassError::TableOrder { class: 1, .. }),
            "a duplicate"
        );
        for bytes in [0, 1, 100, usize::MAX, (1 << 30) + 64] {
            assert!(
                matches!(refused(&[bytes]), ClassError::ClassBytes { class: 0, .. }),
                "{bytes}"
            );
        }
    }

    proptest! {
        #![proptest_config(random_runs())]

        #[test]
        fn as_a_search_through_all(units in prop::collection::btree_set(1_usize..3000, 1..16), len in 0_usize..300_000) {
            let sizes: Vec<usize> = units.into_iter().map(|units| units * CLASS_UNIT_BYTES).collect();
            prop_assert_eq!(ClassTable::new(&sizes).unwrap().class_of(len), naive(&sizes, len));
        }
    }
}
