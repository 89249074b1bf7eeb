//! Where a run stands: the next operation, its entry and its size, from what was drawn before the
//! clock. The same sequence for every contender.

use crate::case::Drawn;

/// Which entry an operation replaces.
pub trait Entries<'a>: Copy {
    fn start(slots: usize, drawn: &'a Drawn) -> Self;

    /// The entry of operation `op`; operations come in turn.
    fn next(&mut self, op: u64) -> usize;
}

/// The oldest: 0, 1 ... slots - 1, 0.
#[derive(Clone, Copy)]
pub struct Oldest {
    entry: usize,
    slots: usize,
}

/// A first lap in order, then what was drawn.
#[derive(Clone, Copy)]
pub struct Listed<'a> {
    slots: u64,
    at: usize,
    entries: &'a [u32],
}

/// The position of a run.
#[derive(Clone, Copy)]
pub struct Position<'a, E> {
    pub op: u64,
    entries: E,
    size: usize,
    sizes: &'a [u32],
}

impl<'a> Entries<'a> for Oldest {
    fn start(slots: usize, _drawn: &'a Drawn) -> Self {
        Self { entry: 0, slots }
    }

    // Wraps by comparison, here and below: a division would cost as much as a contender.
    #[inline(always)]
    fn next(&mut self, _op: u64) -> usize {
        let entry = self.entry;
        self.entry = if entry + 1 == self.slots { 0 } else { entry + 1 };
        entry
    }
}

impl<'a> Entries<'a> for Listed<'a> {
    fn start(slots: usize, drawn: &'a Drawn) -> Self {
        let entries = drawn.entries.as_deref().expect("entries were drawn for this order");
        Self { slots: slots as u64, at: 0, entries }
    }

    #[inline(always)]
    fn next(&mut self, op: u64) -> usize {
        if op < self.slots {
            return op as usize;
        }
        let entry = self.entries[self.at] as usize;
        self.at = if self.at + 1 == self.entries.len() { 0 } else { self.at + 1 };
        entry
    }
}

impl<'a, E: Entries<'a>> Position<'a, E> {
    pub fn start(slots: usize, drawn: &'a Drawn) -> Self {
        Self { op: 0, entries: E::start(slots, drawn), size: 0, sizes: &drawn.sizes }
    }

    /// The operation, its entry and its bytes.
    #[inline(always)]
    pub fn next(&mut self) -> (u64, usize, usize) {
        let taken = (self.op, self.entries.next(self.op), self.sizes[self.size] as usize);
        self.op += 1;
        self.size = if self.size + 1 == self.sizes.len() { 0 } else { self.size + 1 };
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries<'a, E: Entries<'a>>(slots: usize, drawn: &'a Drawn) -> Vec<usize> {
        let mut position = Position::<E>::start(slots, drawn);
        (0..8).map(|_| position.next().1).collect()
    }

    #[test]
    fn entries_come_in_the_order_of_the_case() {
        let drawn = Drawn { sizes: vec![8, 16, 24], entries: Some(vec![2, 0, 2]) };
        assert_eq!(entries::<Oldest>(3, &drawn), [0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(entries::<Listed>(3, &drawn), [0, 1, 2, 2, 0, 2, 2, 0]);
    }
}
