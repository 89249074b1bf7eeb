//! [`Number`]: distinguishes a pool from all others in the process, and says where a thread looks
//! for the pool's bins.
//!
//! Promises that no number is used twice, and that up to [`NEAR_POOLS`] pools alive at a time have
//! a place each. A further pool shares a place: a thread that alternates between two pools in one
//! place searches a list each time it switches.
#![forbid(unsafe_code)]

use crate::sync::{AtomicU64, Ordering};

/// The number of pools whose bins a thread finds without a search; each thread has that many
/// entries.
pub(crate) const NEAR_POOLS: usize = 32;

/// The places that are taken, one bit each. There is no lock, because a fork could leave it locked
/// in the child forever.
#[derive(Debug)]
struct Places(AtomicU64);

static PLACES: Places = Places(AtomicU64::new(0));
static LAST: AtomicU64 = AtomicU64::new(0);

/// A pool's number, and its place until this is dropped.
#[derive(Debug)]
pub(crate) struct Number {
    id: u64,
    has_place: bool,
}

impl Number {
    pub(crate) fn new() -> Self {
        // Numbers begin at 1, so none is 0. Making 2^59 pools would take longer than the machine
        // lasts.
        let serial = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let place = PLACES.take();
        let at = place.unwrap_or(serial % NEAR_POOLS as u64);
        Self { id: serial * NEAR_POOLS as u64 + at, has_place: place.is_some() }
    }

    /// For a pool whose bins no thread looks for: all places stay free for others.
    pub(crate) fn without_place() -> Self {
        let serial = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        Self { id: serial * NEAR_POOLS as u64 + serial % NEAR_POOLS as u64, has_place: false }
    }

    #[cfg(test)]
    pub(crate) fn has_place(&self) -> bool {
        self.has_place
    }

    /// Never 0.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

/// Where a thread looks for the bins of the pool with this number.
#[inline]
pub(crate) fn place(id: u64) -> usize {
    id as usize % NEAR_POOLS
}

impl Places {
    fn take(&self) -> Option<u64> {
        let with_lowest = |taken: u64| {
            let free = taken.trailing_ones();
            (free < NEAR_POOLS as u32).then(|| taken | 1 << free)
        };
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_lowest).ok()?;
        Some(before.trailing_ones().into())
    }

    fn give_back(&self, at: usize) {
        self.0.fetch_and(!(1 << at), Ordering::Relaxed);
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        if self.has_place {
            PLACES.give_back(place(self.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_once_and_again_when_they_are_free() {
        let places = Places(AtomicU64::new(0));
        let all: Vec<Option<u64>> = (0..=NEAR_POOLS).map(|_| places.take()).collect();
        assert!((0..NEAR_POOLS).all(|at| all[at] == Some(at as u64)) && all[NEAR_POOLS].is_none());
        places.give_back(7);
        assert_eq!([places.take(), places.take()], [Some(7), None]);
    }

    #[test]
    fn a_number_leads_to_its_place() {
        let numbers: Vec<Number> = (0..2 * NEAR_POOLS).map(|_| Number::new()).collect();
        let mut ids: Vec<u64> = numbers.iter().map(Number::id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert!(ids.len() == numbers.len() && ids[0] > 0, "a number was used twice, or is 0");
        let mut places: Vec<usize> =
            numbers.iter().filter(|at| at.has_place).map(|at| place(at.id())).collect();
        let count = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), count, "two living pools have one place");
    }

    #[test]
    fn a_number_without_a_place_leaves_the_places_to_others() {
        let (without, next) = (Number::without_place(), Number::new());
        assert!(!without.has_place() && without.id() > 0 && without.id() != next.id());
    }
}
