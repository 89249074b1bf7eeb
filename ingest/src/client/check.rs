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
}

/// Checks the answer to the request with this sequence and number of vectors by its header alone,
/// so that a wrong count can't make the client wait for scores.
pub(super) fn check_head(
    mode: Mode,
    head: &AnswerHead,
    vectors: u32,
    sequence: u64,
) -> Result<(), WrongAnswer> {
    let expected = if head.status == Some(Status::Ok) { vectors } else { 0 };
    if head.vectors != expected {
        return Err(WrongAnswer::Count { expected: vectors, got: head.vectors });
    }
    // A server that has lost the frame boundaries doesn't know the sequence: it answers 0 and
    // closes.
    let lost = head.sequence == 0 && head.status.is_some_and(may_lose_framing);
    if mode == Mode::Header && head.sequence != sequence && !lost {
        return Err(WrongAnswer::Sequence { got: head.sequence });
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
