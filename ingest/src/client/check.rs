//! The check that an answer belongs to its request.

use crate::wire::frames::{AnswerError, AnswerHead, Mode, Status};

/// An answer against the rules of the protocol.
#[derive(Debug, thiserror::Error)]
pub enum WrongAnswer {
    /// Bytes that aren't an answer.
    #[error("{0}")]
    Unreadable(#[from] AnswerError),
    /// An answer with another count than its request.
    #[error("the answer has {got} scores for {expected} vectors")]
    Count {
        /// Vectors of the request.
        expected: u32,
        /// Scores of the answer.
        got: u32,
    },
    /// An answer to another request: the order is broken.
    #[error("the answer carries sequence {got}: an answer is missing or out of order")]
    Sequence {
        /// Sequence of the answer.
        got: u64,
    },
    /// Scores that weren't asked for, or none where they were.
    #[error("the answer has {got} scores, {expected} were asked for")]
    Scores {
        /// Scores that the request asked for.
        expected: u32,
        /// Scores of the answer.
        got: u32,
    },
    /// Another lane than that of the connection.
    #[error("the answer names lane {got}, the hello's answer lane {expected}")]
    Lane {
        /// The lane of the connection.
        expected: u16,
        /// The lane of the answer.
        got: u16,
    },
    /// A row that an earlier answer has already named, or that precedes it.
    #[error("the answer names row {got}, the rows before {least} were answered already")]
    Row {
        /// The least row that is possible.
        least: u64,
        /// The row of the answer.
        got: u64,
    },
}

/// The answer that a request must get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpectedAnswer {
    /// Vectors of the request.
    pub(crate) vectors: u32,
    /// Its own number.
    pub(crate) sequence: u64,
    /// Whether it asked for scores; always, but in header mode.
    pub(crate) scores: bool,
}

/// Checks the answer to a request by its header alone, so that a wrong count can't make the client
/// wait for scores.
pub(super) fn check_head(
    mode: Mode,
    head: &AnswerHead,
    request: &ExpectedAnswer,
) -> Result<(), WrongAnswer> {
    let vectors = if head.status == Some(Status::Ok) { request.vectors } else { 0 };
    if head.vectors != vectors {
        return Err(WrongAnswer::Count { expected: request.vectors, got: head.vectors });
    }
    let scores = if request.scores { vectors } else { 0 };
    if head.scores != scores {
        return Err(WrongAnswer::Scores { expected: scores, got: head.scores });
    }
    // A server that has lost the frame boundaries doesn't know the sequence: it answers 0 and
    // closes.
    let lost = head.sequence == 0 && head.status.is_some_and(may_lose_framing);
    if mode != Mode::Count && head.sequence != request.sequence && !lost {
        return Err(WrongAnswer::Sequence { got: head.sequence });
    }
    Ok(())
}

/// The rows that the answers of one connection may still name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RowsAhead {
    pub(super) lane: u16,
    least: u64,
}

impl RowsAhead {
    /// The rows behind those of an answer. Other connections of the lane may have had some between.
    pub(super) fn pass(&mut self, head: &AnswerHead) -> Result<(), WrongAnswer> {
        let Some(place) = head.place.filter(|_| head.status == Some(Status::Ok)) else {
            return Ok(());
        };
        if place.lane != self.lane {
            return Err(WrongAnswer::Lane { expected: self.lane, got: place.lane });
        }
        if place.first_row < self.least {
            return Err(WrongAnswer::Row { least: self.least, got: place.first_row });
        }
        self.least = place.first_row.saturating_add(u64::from(head.vectors));
        Ok(())
    }
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
            | Status::BadKind
            | Status::HelloMissing
            | Status::IdsMissing
            | Status::NoSuchColumns
            | Status::ReservedNotZero
            | Status::ShuttingDown
    )
}
