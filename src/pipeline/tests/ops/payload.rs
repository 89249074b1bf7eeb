//! What the model's slices are filled with, and what a stage records of an event that it is shown.

use crate::pipeline::{ColumnError, ColumnReader, ColumnWriter, View};
use crate::ring::Sequence;

/// The metadata of an event: its sequence, the serial number of its bytes, and their length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) sequence: Sequence,
    pub(super) serial: u64,
    pub(super) len: usize,
}

/// Bytes of one serial number. No two serial numbers share a pattern, and each byte depends on its
/// address, so any part of them differs from bytes that were written later or elsewhere.
fn pattern(serial: u64, bytes: &[u8]) -> [u8; 8] {
    let mut pattern = serial.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    pattern.rotate_left(bytes.as_ptr().addr() % 8);
    pattern
}

pub(super) fn fill(bytes: &mut [u8], serial: u64) {
    let pattern = pattern(serial, bytes);
    let mut done = bytes.len().min(8);
    bytes[..done].copy_from_slice(&pattern[..done]);
    // Few long copies, because Miri needs one step per copy, however long.
    while done < bytes.len() {
        let more = done.min(bytes.len() - done);
        bytes.copy_within(..more, done);
        done += more;
    }
}

/// Whether the bytes are still those of `serial`.
pub(super) fn shows(bytes: &[u8], serial: u64) -> bool {
    let first = bytes.len().min(8);
    bytes[..first] == pattern(serial, bytes)[..first]
        && bytes[first..] == bytes[..bytes.len() - first]
}

#[track_caller]
pub(super) fn assert_shows(bytes: &[u8], serial: u64, len: usize) {
    assert_eq!(bytes.len(), len, "the length of {serial} changed");
    assert!(shows(bytes, serial), "the bytes of {serial} changed: {:?}", &bytes[..len.min(16)]);
}

/// The value of a row whose event wasn't processed.
const UNPROCESSED: u64 = u64::MAX;

/// A stage's ends of the lane's columns: it writes its own, and reads all.
pub(super) struct Columns {
    pub(super) stage: usize,
    pub(super) own: ColumnWriter<u64>,
    pub(super) all: Vec<ColumnReader<u64>>,
}

/// What a stage saw of an event. It is checked outside of the handler, where a failed assertion
/// would be one more failed stage.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) sequence: Sequence,
    pub(super) tag: Tag,
    shows: bool,
    len: usize,
    rows: Vec<Result<u64, ColumnError>>,
}

impl Seen {
    /// Reads the event, and writes its row.
    pub(super) fn look(view: &View<'_, Tag>, columns: &mut Columns, processed: bool) -> Self {
        let tag = *view.meta();
        let row = columns.own.row(view).expect("the stage's own column");
        row[0] = if processed { value(columns.stage, &tag) } else { UNPROCESSED };
        let rows = columns.all.iter().map(|column| column.row(view).map(|row| row[0])).collect();
        Self {
            sequence: view.sequence(),
            tag,
            shows: shows(view.bytes(), tag.serial),
            len: view.bytes().len(),
            rows,
        }
    }

    /// Checks the event's bytes, its metadata and its rows. `layers` are those of all stages,
    /// `died_at` the first sequences that they didn't process. A row that was read before its
    /// stage's death was known may still be there.
    pub(super) fn check(
        &self,
        stage: usize,
        layers: &[usize],
        died_at: &[Option<Sequence>],
        threads: bool,
    ) {
        assert_eq!(
            (self.sequence, self.len),
            (self.tag.sequence, self.tag.len),
            "stage {stage} saw {self:?}"
        );
        assert!(self.shows, "the bytes of an event changed: stage {stage} saw {self:?}");
        for (other, row) in self.rows.iter().enumerate() {
            if threads && layers[other] < layers[stage] && *row == Ok(value(other, &self.tag)) {
                continue;
            }
            let expected = if layers[other] >= layers[stage] {
                Err(ColumnError::WrongStage)
            } else if died_at[other].is_some_and(|at| self.sequence >= at) {
                Err(ColumnError::NotWritten)
            } else {
                Ok(value(other, &self.tag))
            };
            assert_eq!(*row, expected, "column of stage {other}: stage {stage} saw {self:?}");
        }
    }
}

/// The value that a stage writes for an event.
fn value(stage: usize, tag: &Tag) -> u64 {
    (tag.serial << 8) | stage as u64
}
