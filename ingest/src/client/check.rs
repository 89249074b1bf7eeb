//! The check that an answer belongs to its request.

use crate::wire::frames::{AnswerError, AnswerHead, AnswerPlace, Mode, Status};

/// An answer against the rules of the protocol.
#[derive(Debug, thiserror::Error)]
pub enum WrongAnswer {
    /// Bytes that aren't an answer.
    #[error("{0}")]
    Unreadable(#[from] AnswerError),
    /// An answer with another count than its request.
    #[error("the answer accepts {got} vectors instead of {expected}")]
    Count {
        /// Vectors of the request; 0 in a refusal.
        expected: u32,
        /// Vectors that the answer accepts.
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
    /// Rows behind the last one that a lane can have.
    #[error("the answer names {vectors} rows from {first_row} on: a lane has no such rows")]
    NoSuchRows {
        /// The first one.
        first_row: u64,
        /// Their number.
        vectors: u32,
    },
    /// Rows that an answer on another connection has named.
    #[error(
        "the answer names {vectors} rows from {first_row} on in lane {lane}: an answer on another \
        connection has named some of them"
    )]
    RowsTwice {
        /// The lane.
        lane: u16,
        /// The first one.
        first_row: u64,
        /// Their number.
        vectors: u32,
    },
    /// A refusal with a row, which would be that of a vector that isn't there.
    #[error("the answer is a refusal ({status}) and names row {got}: a refusal has row 0")]
    RowRefused {
        /// The status of the answer.
        status: Status,
        /// The row of the answer.
        got: u64,
    },
    /// A vector at fault that the request doesn't have, or where none is at fault.
    #[error(
        "the answer ({status}) has the detail {got}: only not-finite has one, the index of one of \
        the request's {vectors} vectors"
    )]
    Detail {
        /// The status of the answer.
        status: Status,
        /// Vectors of the request.
        vectors: u32,
        /// The detail of the answer.
        got: u32,
    },
    /// A request is stored that was never sent.
    #[error("the server says that requests are stored through {got}, {sent} is the last one sent")]
    StoredAhead {
        /// The last one that was sent.
        sent: u64,
        /// What is said.
        got: u64,
    },
    /// Less is stored than before, or a watermark that says nothing new.
    #[error("the server says that requests are stored through {got}, after it has said {before}")]
    StoredBack {
        /// What was said before.
        before: u64,
        /// What is said now.
        got: u64,
    },
    /// An answer after one that closes the connection.
    #[error("the answer comes after a refusal ({refusal}) that closes the connection")]
    AfterLast {
        /// The refusal.
        refusal: &'static str,
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
        return Err(WrongAnswer::Count { expected: vectors, got: head.vectors });
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
    match (head.place, head.status) {
        (Some(place), Some(status)) => check_place(&place, status, request.vectors),
        _ => Ok(()),
    }
}

/// What header mode says besides: a refusal has no row, and only not-finite names a vector.
fn check_place(place: &AnswerPlace, status: Status, vectors: u32) -> Result<(), WrongAnswer> {
    let AnswerPlace { first_row, detail, .. } = *place;
    if status != Status::Ok && first_row != 0 {
        return Err(WrongAnswer::RowRefused { status, got: first_row });
    }
    let details = if status == Status::NotFinite { vectors } else { 1 };
    if detail >= details {
        return Err(WrongAnswer::Detail { status, vectors, got: detail });
    }
    Ok(())
}

/// The refusal in an answer after which the server closes the connection. One that could be either
/// says so by sequence 0, which the first request has too: its answer closes nothing.
pub(super) fn closing_refusal(head: &AnswerHead, request: &ExpectedAnswer) -> Option<&'static str> {
    let status = head.status.filter(|status| may_lose_framing(*status))?;
    let lives_on = matches!(
        status,
        Status::Busy | Status::WrongDimension | Status::IdsMissing | Status::NoSuchColumns
    );
    (!lives_on || head.sequence != request.sequence).then(|| status.label())
}

/// The rows that the answers of one connection may still name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RowsAhead {
    pub(super) lane: u16,
    /// The connection is a producer's: what it repeats has the lane and the rows of the first time.
    pub(super) may_repeat: bool,
    least: u64,
}

impl RowsAhead {
    /// The rows behind those of an answer. Other connections of the lane may have had some between.
    pub(super) fn pass(&mut self, head: &AnswerHead) -> Result<(), WrongAnswer> {
        let Some(place) = head.place.filter(|_| head.status == Some(Status::Ok)) else {
            return Ok(());
        };
        if place.lane != self.lane && !self.may_repeat {
            return Err(WrongAnswer::Lane { expected: self.lane, got: place.lane });
        }
        if place.first_row < self.least && !self.may_repeat {
            return Err(WrongAnswer::Row { least: self.least, got: place.first_row });
        }
        self.least = place
            .first_row
            .checked_add(u64::from(head.vectors))
            .ok_or(WrongAnswer::NoSuchRows { first_row: place.first_row, vectors: head.vectors })?;
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
