//! Size classes: the sizes that a pool has, and the class that a length belongs to.
//!
//! Promises the smallest class that fits, found without a search through all of them. It owns no
//! memory.
#![forbid(unsafe_code)]

use super::error::ClassError;

/// The largest number of classes in a table.
pub(crate) const CLASSES_MAX: usize = 16;
/// The unit of class sizes: a cache line, so that every buffer starts on one.
pub(crate) const CLASS_UNIT_BYTES: usize = 64;
/// The largest class.
pub(crate) const CLASS_BYTES_MAX: usize = 1 << 30;

/// The sizes of a pool's buffers, ascending.
///
/// Waste: a buffer of `len` bytes takes its class's size. In a table whose sizes double, that is
/// less than twice `len` for all but the smallest class; in [`ClassTable::object`], whose sizes
/// grow fourfold, less than four times.
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
    /// Padded with a size that holds everything, so that a search ends.
    sizes: [usize; CLASSES_MAX + 1],
    classes: usize,
    /// The first class that may fit a length whose last byte's index has this bit as its highest;
    /// the index 0 goes with 1.
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
            // The smallest length whose last byte's index has this top bit. Without one, the index
            // 0, it is with 1.
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

    /// As [`ClassTable::class_of`]; the number of classes if none fits.
    #[inline]
    pub(crate) fn fit(&self, len: usize) -> usize {
        let top = (len.saturating_sub(1) | 1).ilog2();
        let mut class = usize::from(self.first[top as usize]);
        // The search passes only classes within one power of two: none in a table whose sizes
        // double. The last entry is followed by a size that holds every length.
        while self.sizes[class] < len {
            class += 1;
        }
        debug_assert!(class <= self.classes, "the size behind the last class holds {len}");
        debug_assert!(
            class == 0 || self.sizes[class - 1] < len,
            "class {class} isn't the smallest for {len}"
        );
        class
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use slipring_test_support::random_runs;

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
