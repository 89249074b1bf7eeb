//! The rows that answers have named, over all connections: no two requests may have the same one.
//!
//! Neighbouring ranges become one, so a service of its own keeps a load at about one range per
//! lane. Other clients' vectors leave gaps. Of more than [`RANGES_MAX`] ranges in a lane the lowest
//! are forgotten: rows grow, so those are the least likely to be named again.

use std::collections::BTreeMap;

use crate::client::WrongAnswer;
use crate::wire::frames::AnswerHead;

/// The most ranges of a lane that are kept: at most about 50 MB.
const RANGES_MAX: usize = 1 << 20;

/// Ranges of rows by lane, none of which touch: the first row, and the one behind the last.
#[derive(Debug, Default)]
pub(super) struct NamedRows(BTreeMap<u16, BTreeMap<u64, u64>>);

impl NamedRows {
    /// Adds the rows of an answer that accepts its request; an error if one was named before.
    pub(super) fn add(&mut self, head: &AnswerHead) -> Result<(), WrongAnswer> {
        let Some(place) = head.place.filter(|_| head.vectors > 0) else { return Ok(()) };
        let (first, end) = (place.first_row, place.first_row + u64::from(head.vectors));
        let ranges = self.0.entry(place.lane).or_default();
        let before = ranges.range(..end).next_back().map(|(first, end)| (*first, *end));
        if before.is_some_and(|(_, before_end)| before_end > first) {
            let (lane, vectors) = (place.lane, head.vectors);
            return Err(WrongAnswer::RowsTwice { lane, first_row: first, vectors });
        }
        let end = ranges.remove(&end).unwrap_or(end);
        match before {
            Some((before_first, before_end)) if before_end == first => {
                ranges.insert(before_first, end);
            }
            _ => {
                ranges.insert(first, end);
            }
        }
        if ranges.len() > RANGES_MAX {
            ranges.pop_first();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frames::{AnswerPlace, Status};

    fn answer(lane: u16, first_row: u64, vectors: u32) -> AnswerHead {
        let place = AnswerPlace { lane, first_row, ..AnswerPlace::default() };
        AnswerHead {
            status: Some(Status::Ok),
            vectors,
            scores: 0,
            sequence: 0,
            credits: 0,
            place: Some(place),
            bytes_total: 40,
        }
    }

    #[test]
    fn every_row_has_one_request_and_neighbours_are_one_range() {
        let mut rows = NamedRows::default();
        for (first, vectors) in [(0, 1), (10, 5), (5, 5), (1, 4), (20, 1), (15, 5)] {
            rows.add(&answer(0, first, vectors)).unwrap();
        }
        assert_eq!(rows.0[&0], BTreeMap::from([(0, 21)]));
        rows.add(&answer(0, 30, 10)).unwrap();
        for (first, vectors) in [(0, 1), (20, 1), (20, 2), (29, 2), (35, 1), (39, 1), (25, 100)] {
            let error = rows.add(&answer(0, first, vectors)).unwrap_err();
            assert!(matches!(error, WrongAnswer::RowsTwice { lane: 0, .. }), "{first}: {error}");
        }
        assert_eq!(rows.0[&0], BTreeMap::from([(0, 21), (30, 40)]));
        // Each lane has its own rows, and a refusal has none.
        rows.add(&answer(1, 0, 21)).unwrap();
        rows.add(&answer(0, 0, 0)).unwrap();
        rows.add(&answer(1, u64::MAX - 1, 1)).unwrap();
    }

    #[test]
    fn gaps_take_bounded_memory() {
        let mut rows = NamedRows::default();
        for gap in 0..RANGES_MAX as u64 + 10 {
            rows.add(&answer(0, gap * 2, 1)).unwrap();
        }
        assert_eq!(rows.0[&0].len(), RANGES_MAX);
        assert!(rows.add(&answer(0, RANGES_MAX as u64, 1)).is_err());
    }
}
