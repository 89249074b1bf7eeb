//! What a connection is told about what is stored: the highest of its own sequences such that it,
//! and every accepted request before it on the connection, is on the disk.
//!
//! A connection keeps a few marks: the rows of requests, with the sequence of the last of them.
//! When there are too many, the newest mark covers further requests too, so what is said may be
//! less than what is stored, and never more. Once a request of it is lost, a connection is told
//! nothing new.
//!
//! An idle connection is told by a watermark. The lane's list has each connection that has marks,
//! by a row that the disk must have passed before it is worth a look.

use std::collections::VecDeque;
use std::ops::Range;

use crate::stage::ConnId;

/// Marks of a connection.
const MARKS_MAX: usize = 8;

/// The rows that a lane's disk has, at one moment.
#[derive(Debug)]
pub(super) struct DurableRows {
    /// The row before which every row is on the disk, or lost.
    pub(super) through: u64,
    /// All rows that are lost. Those before `through` are in it.
    pub(super) lost: Vec<Range<u64>>,
}

impl DurableRows {
    /// Whether one of these rows, which the watermark has passed, is lost.
    #[inline]
    pub(super) fn is_lost(&self, rows: &Range<u64>) -> bool {
        self.lost.iter().any(|lost| lost.start < rows.end && rows.start < lost.end)
    }
}

/// Requests of a connection whose rows aren't stored yet, as far as is known.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    first_row: u64,
    row_end: u64,
    /// The sequence of the last of them.
    sequence: u64,
}

/// What is known about a connection's requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StoredMarks {
    marks: [Mark; MARKS_MAX],
    len: u8,
    /// Whether it is in the lane's list.
    is_listed: bool,
    /// Whether a watermark is due, once everything is sent.
    pub(super) is_due: bool,
    /// A request of it is lost.
    is_stopped: bool,
    through: u64,
    /// What it was told last.
    pub(super) said: u64,
}

impl StoredMarks {
    /// A request was accepted, as these rows.
    #[inline]
    fn add(&mut self, rows: &Range<u64>, sequence: u64) {
        let len = usize::from(self.len);
        if len < MARKS_MAX {
            let (first_row, row_end) = (rows.start, rows.end);
            self.marks[len] = Mark { first_row, row_end, sequence };
            self.len += 1;
        } else {
            let newest = &mut self.marks[MARKS_MAX - 1];
            // A repeat has earlier rows, or none that aren't stored.
            if rows.start < rows.end {
                newest.first_row = newest.first_row.min(rows.start);
                newest.row_end = newest.row_end.max(rows.end);
            }
            newest.sequence = newest.sequence.max(sequence);
        }
    }

    /// Through which sequence everything is stored, by the last look at the disk.
    #[inline]
    pub(super) fn through(&mut self, disk: &DurableRows) -> u64 {
        if self.len > 0 && self.marks[0].row_end <= disk.through {
            self.pass(disk);
        }
        self.through
    }

    /// The disk has passed the rows of at least one mark.
    fn pass(&mut self, disk: &DurableRows) {
        let marks = &self.marks[..usize::from(self.len)];
        let passed = marks.iter().take_while(|mark| mark.row_end <= disk.through).count();
        for mark in &marks[..passed] {
            self.is_stopped |= disk.is_lost(&(mark.first_row..mark.row_end));
            if !self.is_stopped {
                self.through = self.through.max(mark.sequence);
            }
        }
        self.marks.copy_within(passed.., 0);
        self.len -= passed as u8;
    }

    /// The answer to this request is sent, because it is stored.
    pub(super) fn set_through(&mut self, sequence: u64) {
        self.through = self.through.max(sequence);
    }

    /// Through which sequence everything is stored, of a connection whose next request is lost.
    pub(super) fn before_lost(&self) -> u64 {
        self.through
    }

    /// The row behind the last one that isn't known to be stored.
    fn row_end(&self) -> Option<u64> {
        let last = self.marks[..usize::from(self.len)].last();
        last.map(|mark| mark.row_end)
    }
}

/// The connections of a lane that have marks.
#[derive(Debug, Default)]
pub(super) struct MarkedConns {
    /// In the order of rows.
    by_row: VecDeque<(u64, ConnId)>,
}

impl MarkedConns {
    pub(super) fn is_empty(&self) -> bool {
        self.by_row.is_empty()
    }

    /// A request was accepted, as these rows. Returns what the connection is told with its answer.
    #[inline]
    pub(super) fn note(
        &mut self,
        (id, marks): (ConnId, &mut StoredMarks),
        rows: &Range<u64>,
        sequence: u64,
        disk: &DurableRows,
    ) -> u64 {
        marks.add(rows, sequence);
        if !marks.is_listed {
            marks.is_listed = true;
            self.by_row.push_back((rows.end, id));
        }
        marks.said = marks.through(disk);
        marks.said
    }

    /// Takes out the first connection of which the disk has passed a row.
    pub(super) fn pop(&mut self, disk: &DurableRows) -> Option<ConnId> {
        self.by_row.pop_front_if(|(row, _)| *row <= disk.through).map(|(_, id)| id)
    }

    /// Looks at a connection that was taken out: it is listed again if it has later rows, and told
    /// by a watermark if it has none and was told less.
    pub(super) fn look(&mut self, id: ConnId, marks: &mut StoredMarks, disk: &DurableRows) {
        let through = marks.through(disk);
        let back = self.by_row.back().map_or(0, |(row, _)| *row);
        marks.is_listed = match marks.row_end() {
            Some(row) => {
                self.by_row.push_back((row.max(back), id));
                true
            }
            None => {
                marks.is_due = through != marks.said;
                false
            }
        };
    }
}
