//! Carry buffers: what waits outside of the pool. One bound on the bytes of both sizes.
//!
//! An unfinished frame takes a small one. A connection that reaches a cap in the middle of a receive may have all of that waiting: a large one.

use super::buffers::Buffers;

/// Both sizes; one is enough where the largest frame is as large as a receive.
#[derive(Debug)]
pub(super) struct Carries {
    small: Buffers,
    large: Buffers,
    all_bytes_max: usize,
}

impl Carries {
    /// Small ones of `frame_bytes`, large ones of `receive_bytes`, together of `all_bytes_max`, but one of each at least.
    pub(super) fn new(frame_bytes: usize, receive_bytes: usize, all_bytes_max: usize) -> Self {
        assert!(frame_bytes <= receive_bytes, "a receive holds the largest frame");
        let of = |bytes| Buffers::new(bytes, all_bytes_max);
        Self { small: of(frame_bytes), large: of(receive_bytes), all_bytes_max }
    }

    /// An empty buffer for `len` bytes of a receive, or none: free ones of the other size are let go first.
    pub(super) fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        debug_assert!(len <= self.large.buffer_bytes(), "{len} bytes are more than a receive");
        let (wanted, other) = if len <= self.small.buffer_bytes() {
            (&mut self.small, &mut self.large)
        } else {
            (&mut self.large, &mut self.small)
        };
        while !wanted.has_free()
            && wanted.made_bytes() > 0
            && wanted.made_bytes() + other.made_bytes() + wanted.buffer_bytes() > self.all_bytes_max
        {
            if !other.let_go() {
                return None;
            }
        }
        wanted.take()
    }

    /// Takes a buffer back.
    pub(super) fn give(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() == self.small.buffer_bytes() { self.small.give(buffer) } else { self.large.give(buffer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sizes_share_one_bound() {
        let mut carries = Carries::new(100, 400, 1000);
        let large = carries.take(101).unwrap();
        assert_eq!(large.capacity(), 400);
        let small: Vec<Vec<u8>> = std::iter::from_fn(|| carries.take(100)).collect();
        assert_eq!((small.len(), carries.take(400)), (6, None));
        // Free ones of the other size make room.
        small.into_iter().for_each(|buffer| carries.give(buffer));
        let second = carries.take(400).unwrap();
        assert_eq!((second.capacity(), carries.take(400)), (400, None));
        let small: Vec<Vec<u8>> = std::iter::from_fn(|| carries.take(1)).collect();
        assert_eq!(small.len(), 2);
        carries.give(large);
        assert_eq!(std::iter::from_fn(|| carries.take(1)).count(), 4);
    }

    #[test]
    fn there_is_one_of_each_whatever_the_bound() {
        let mut carries = Carries::new(100, 400, 0);
        let (small, large) = (carries.take(1).unwrap(), carries.take(400).unwrap());
        assert_eq!((carries.take(1), carries.take(400)), (None, None));
        carries.give(small);
        carries.give(large);
        assert!(carries.take(300).is_some() && carries.take(1).is_some());
    }

    #[test]
    fn frames_as_large_as_a_receive_need_one_size() {
        let mut carries = Carries::new(400, 400, 800);
        assert_eq!(std::iter::from_fn(|| carries.take(400)).count(), 2);
    }
}
