//! Checks that an answer is the one that its request should get.

use crate::wire::frames::{AnswerHead, Mode, Status};

use super::Fault;
use super::source::Source;
use super::tally::label;

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// Its first row; the others follow, starting over after the last one.
    pub(super) row: u32,
    pub(super) vectors: u32,
    /// When it was sent, or meant to be, since the start.
    pub(super) intended_ns: u64,
    pub(super) measured: bool,
}

/// Checks the answer to request number `request` with this many vectors by its header alone, so
/// that a wrong count can't make the client wait for scores.
pub(crate) fn check_head(
    mode: Mode,
    head: &AnswerHead,
    vectors: u32,
    request: u64,
) -> Result<(), Fault> {
    let expected = if head.status == Some(Status::Ok) { vectors } else { 0 };
    if head.vectors != expected {
        return Err(Fault::WrongCount { expected: vectors, got: head.vectors });
    }
    // A server that has lost the frame boundaries doesn't know the sequence: it answers 0 and
    // closes.
    let lost = head.sequence == 0 && head.status.is_some_and(may_lose_framing);
    if mode == Mode::Header && head.sequence != request && !lost {
        return Err(Fault::WrongSequence { got: head.sequence });
    }
    Ok(())
}

fn may_lose_framing(status: Status) -> bool {
    matches!(
        status,
        // Busy, where the unfinished frame that has waited longest makes room for others.
        Status::Busy
            | Status::TooManyVectors
            | Status::WrongDimension
            | Status::BadMagic
            | Status::BadVersion
            | Status::BadFlags
            | Status::ShuttingDown
    )
}

/// With `--verify`: good vectors are accepted with the right scores, others are refused. Returns
/// the number of scores compared.
pub(super) fn check_scores(
    source: &Source,
    head: &AnswerHead,
    pending: &Pending,
    scores: &[u8],
) -> Result<u64, Fault> {
    let rows = || source.expected(pending.row as usize, pending.vectors as usize);
    let finite = rows().all(|row| row.finite);
    if head.status != Some(Status::Ok) {
        let excused = matches!(head.status, Some(Status::Busy | Status::ShuttingDown));
        return if finite && !excused { Err(Fault::Refused(label(head.status))) } else { Ok(0) };
    }
    if !finite {
        return Err(Fault::Accepted);
    }
    for (vector, (row, bytes)) in rows().zip(scores.as_chunks::<4>().0).enumerate() {
        let got = f32::from_le_bytes(*bytes);
        if !row.accepts(got) {
            return Err(Fault::WrongScore { vector, expected: row.score(), got });
        }
    }
    Ok(u64::from(head.vectors))
}
