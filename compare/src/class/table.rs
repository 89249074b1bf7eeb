//! The wire table, which every rival with classes has: 2, 4, 8, 16, 32 and 64 KiB.

/// The bytes of each class.
pub const BYTES: [usize; 6] = [2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];

pub const LARGEST_BYTES: usize = BYTES[BYTES.len() - 1];

/// The smallest class that holds so many bytes, if one does.
#[inline(always)]
pub fn class_of(bytes: usize) -> Option<usize> {
    // The classes are powers of two, so the length of what is above the smallest one's bits is the
    // class.
    let class = bytes.saturating_sub(1) >> BYTES[0].ilog2();
    let class = (usize::BITS - class.leading_zeros()) as usize;
    (class < BYTES.len()).then_some(class)
}

/// One pool a class.
pub fn each<T>(of: impl FnMut(usize) -> T) -> [T; BYTES.len()] {
    BYTES.map(of)
}

/// A new buffer of a class: initialised, and on pages of its own only if the allocator does so.
#[cold]
pub fn fresh(class: usize) -> Box<[u8]> {
    vec![0; BYTES[class]].into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_class_that_fits() {
        let naive = |bytes| BYTES.iter().position(|&class_bytes| bytes <= class_bytes);
        for near in BYTES {
            for bytes in near - 1..=near + 1 {
                assert_eq!(class_of(bytes), naive(bytes), "{bytes} B");
            }
        }
        assert_eq!((class_of(0), class_of(1), class_of(usize::MAX)), (Some(0), Some(0), None));
        assert!((0..BYTES.len()).all(|class| fresh(class).len() == BYTES[class]));
    }
}
