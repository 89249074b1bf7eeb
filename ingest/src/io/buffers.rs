//! Buffers of one size that go round: carry buffers and outputs. None is allocated while one lies here.

/// A free list with a bound on all buffers that exist.
#[derive(Debug)]
pub(super) struct Buffers {
    free: Vec<Vec<u8>>,
    buffer_bytes: usize,
    made: usize,
    made_max: usize,
}

impl Buffers {
    /// Buffers of `buffer_bytes`, as many as fit into `all_bytes_max`, but one at least.
    pub(super) fn new(buffer_bytes: usize, all_bytes_max: usize) -> Self {
        assert!(buffer_bytes > 0);
        Self { free: Vec::new(), buffer_bytes, made: 0, made_max: (all_bytes_max / buffer_bytes).max(1) }
    }

    pub(super) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Bytes of all that exist.
    pub(super) fn made_bytes(&self) -> usize {
        self.made * self.buffer_bytes
    }

    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Frees one that nobody uses; false if all are in use.
    pub(super) fn let_go(&mut self) -> bool {
        let gone = self.free.pop().is_some();
        self.made -= usize::from(gone);
        gone
    }

    /// An empty buffer, or none once the bound is reached.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let Some(buffer) = self.free.pop() else {
            if self.made == self.made_max {
                return None;
            }
            self.made += 1;
            // Room for all that exist: giving back never allocates.
            self.free.reserve(self.made);
            return Some(Vec::with_capacity(self.buffer_bytes));
        };
        debug_assert!(buffer.is_empty() && buffer.capacity() >= self.buffer_bytes);
        Some(buffer)
    }

    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        debug_assert!(buffer.capacity() == self.buffer_bytes, "a buffer of this list never grows");
        debug_assert!(self.free.len() < self.made);
        buffer.clear();
        self.free.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_go_round_and_are_bounded() {
        let mut buffers = Buffers::new(100, 250);
        let (one, two) = (buffers.take().unwrap(), buffers.take().unwrap());
        assert!(buffers.take().is_none(), "two of 100 bytes fit into 250");
        let at = one.as_ptr();
        buffers.give(one);
        let again = buffers.take().unwrap();
        assert_eq!(again.as_ptr(), at);
        buffers.give(two);
        assert_eq!(Buffers::new(100, 0).take().unwrap().capacity(), 100);
    }
}
