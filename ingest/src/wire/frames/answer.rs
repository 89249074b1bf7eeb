//! What a server sends: answers, each with the status of a request and its scores, and watermarks;
//! as the server writes them and a client reads them.

use std::fmt;
use std::ops::Range;

use super::layout::{
    ANSWER_HEADER_BYTES, COUNT_HEADER_BYTES, F32_BYTES, FLAG_SCORES_FOLLOW, HEADER1_BYTES, KIND_AT,
    KIND_REQUEST, KIND_WATERMARK, MAGIC, Mode, STATUS_AT, VECTORS_MAX, VERSION, VERSION_AT,
    VERSION1, answer_at, header1_at, u16_at, u32_at, u64_at,
};
use super::status::Status;

/// Bytes of an answer with `scores` scores. A refusal has none.
pub const fn answer_bytes(mode: Mode, scores: usize) -> usize {
    mode.answer_header_bytes() + scores * F32_BYTES
}

/// What an answer says. Each mode has fields for some of it: count mode for the scores alone,
/// version 1 for status, sequence, credits and scores.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// What became of the request.
    pub status: Status,
    /// Vectors accepted: those of the request, or 0 if it is refused.
    pub vectors: u32,
    /// The request's own number.
    pub sequence: u64,
    /// Requests that the connection may send now.
    pub credits: u16,
    /// The lane that the vectors are in.
    pub lane: u16,
    /// With `NotFinite`, the first vector at fault, counted from 0 in the request.
    pub detail: u32,
    /// The sequence in the lane of the request's first vector; 0 if it is refused.
    pub first_row: u64,
    /// The connection's highest sequence such that it, and every accepted request before it on the
    /// connection, is on the disk; 0 if there is none yet.
    pub stored_through: u64,
    /// One per vector, or none: in a refusal, and in header mode where they weren't asked for.
    pub scores: &'a [f32],
}

/// Appends one answer to `out`: exactly `answer_bytes(mode, scores.len())` bytes.
///
/// # Panics
/// As [`write_answer`].
pub fn encode_answer(mode: Mode, answer: &Answer<'_>, out: &mut Vec<u8>) {
    let at = out.len();
    out.resize(at + answer_bytes(mode, answer.scores.len()), 0);
    write_answer(mode, answer, &mut out[at..]);
}

/// As [`encode_answer`], into a buffer that is exactly as long as the answer.
///
/// # Panics
/// If a refusal comes with scores, if there are more than 65535 scores, or if `out` has another
/// length. All are errors of the server itself.
#[inline(always)]
pub fn write_answer(mode: Mode, answer: &Answer<'_>, out: &mut [u8]) {
    let Answer { status, scores, .. } = *answer;
    assert_eq!(out.len(), answer_bytes(mode, scores.len()), "`out` is as long as the answer");
    assert!(scores.len() <= VECTORS_MAX as usize, "{} scores don't fit one answer", scores.len());
    assert!(
        status == Status::Ok || scores.is_empty(),
        "a refusal ({status}) has no scores, got {}",
        scores.len()
    );
    let (head, score_bytes) = out.split_at_mut(mode.answer_header_bytes());
    match mode {
        Mode::Count => return write_count_answer(scores, out),
        Mode::Header1 => head.copy_from_slice(&header1(answer)),
        Mode::Header => head.copy_from_slice(&header(answer)),
    }
    write_scores(scores, score_bytes);
}

/// An answer of count mode, which has fields for the scores alone; into a buffer that is exactly as
/// long.
///
/// # Panics
/// If `out` has another length.
#[inline(always)]
pub fn write_count_answer(scores: &[f32], out: &mut [u8]) {
    assert_eq!(out.len(), answer_bytes(Mode::Count, scores.len()), "`out` is as long");
    let (head, score_bytes) = out.split_at_mut(COUNT_HEADER_BYTES);
    head.copy_from_slice(&(scores.len() as u32).to_le_bytes());
    write_scores(scores, score_bytes);
}

#[inline(always)]
fn write_scores(scores: &[f32], bytes: &mut [u8]) {
    let (fields, _) = bytes.as_chunks_mut::<F32_BYTES>();
    fields.iter_mut().zip(scores).for_each(|(field, score)| *field = score.to_le_bytes());
}

#[inline(always)]
fn header1(answer: &Answer<'_>) -> [u8; HEADER1_BYTES] {
    let Answer { status, credits, sequence, scores, .. } = *answer;
    let mut head = [0; HEADER1_BYTES];
    head[..MAGIC.len()].copy_from_slice(&MAGIC);
    (head[VERSION_AT], head[header1_at::STATUS]) = (VERSION1, status as u8);
    let mut put = |at: usize, value: &[u8]| head[at..at + value.len()].copy_from_slice(value);
    put(header1_at::N, &(scores.len() as u16).to_le_bytes());
    put(header1_at::CREDITS, &credits.to_le_bytes());
    put(header1_at::SEQUENCE, &sequence.to_le_bytes());
    head
}

#[inline(always)]
fn header(answer: &Answer<'_>) -> [u8; ANSWER_HEADER_BYTES] {
    let Answer { status, vectors, sequence, credits, lane, detail, first_row, .. } = *answer;
    let (scores, stored_through) = (answer.scores, answer.stored_through);
    assert!(vectors <= VECTORS_MAX, "{vectors} vectors don't fit one answer");
    let mut head = [0; ANSWER_HEADER_BYTES];
    head[..MAGIC.len()].copy_from_slice(&MAGIC);
    (head[VERSION_AT], head[KIND_AT], head[STATUS_AT]) = (VERSION, KIND_REQUEST, status as u8);
    head[answer_at::FLAGS] = if scores.is_empty() { 0 } else { FLAG_SCORES_FOLLOW };
    let mut put = |at: usize, value: &[u8]| head[at..at + value.len()].copy_from_slice(value);
    put(answer_at::N, &(vectors as u16).to_le_bytes());
    put(answer_at::CREDITS, &credits.to_le_bytes());
    put(answer_at::LANE, &lane.to_le_bytes());
    put(answer_at::DETAIL, &detail.to_le_bytes());
    put(answer_at::SEQUENCE, &sequence.to_le_bytes());
    put(answer_at::FIRST_ROW, &first_row.to_le_bytes());
    put(answer_at::STORED_THROUGH, &stored_through.to_le_bytes());
    head
}

/// What a server says to a connection of [`Mode::Header`] that it has nothing to answer: how far
/// its requests are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Requests that the connection may send now.
    pub credits: u16,
    /// The lane that the vectors are in.
    pub lane: u16,
    /// As in [`Answer::stored_through`].
    pub stored_through: u64,
}

/// Writes a watermark, which is laid out as an answer.
pub fn write_watermark(watermark: &Watermark, out: &mut [u8; ANSWER_HEADER_BYTES]) {
    let Watermark { credits, lane, stored_through } = *watermark;
    *out = header(&Answer { credits, lane, stored_through, ..Answer::default() });
    out[KIND_AT] = KIND_WATERMARK;
}

/// Changes what an answer of [`Mode::Header`] says about what is stored.
pub(crate) fn set_stored_through(answer: &mut [u8], stored_through: u64) {
    answer[answer_at::STORED_THROUGH..answer_at::STORED_THROUGH + 8]
        .copy_from_slice(&stored_through.to_le_bytes());
}

/// What is at the front of a server's bytes, behind its answer to the hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerEvent {
    /// The header of an answer. The scores may still be missing.
    Answer(AnswerHead),
    /// A watermark, [`ANSWER_HEADER_BYTES`] long, which answers nothing.
    Watermark(Watermark),
}

/// The header of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerHead {
    /// The outcome of the request. None for a refusal in count mode, which carries no reason.
    pub status: Option<Status>,
    /// Vectors accepted: those of the request, none in a refusal.
    pub vectors: u32,
    /// Number of scores that follow.
    pub scores: u32,
    /// The request's own number; 0 in count mode and after lost framing.
    pub sequence: u64,
    /// Requests that the connection may still have in flight; 0 in count mode.
    pub credits: u16,
    /// Where the vectors are; None in count mode and in version 1.
    pub place: Option<AnswerPlace>,
    /// Bytes of the whole answer: header and scores.
    pub bytes_total: usize,
}

/// Where the vectors of a request are, as header mode says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerPlace {
    /// The lane.
    pub lane: u16,
    /// The sequence of the request's first vector in its lane; 0 in a refusal.
    pub first_row: u64,
    /// With `NotFinite`, the first vector at fault, counted from 0 in the request.
    pub detail: u32,
    /// The connection's highest sequence such that it, and every accepted request before it on the
    /// connection, is on the disk; 0 if there is none yet.
    pub stored_through: u64,
}

/// Bytes that aren't an answer. Nothing after them can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// The answer doesn't start with "SR".
    Magic([u8; 2]),
    /// Another version than that of the requests.
    Version {
        /// The answer's version.
        got: u8,
        /// The version of the requests.
        reads: u8,
    },
    /// A kind of frame that isn't an answer to a request.
    Kind(u8),
    /// A hello that was answered as if it were no hello.
    NoHello(Status),
    /// A hello that was accepted, with a field that this build doesn't know.
    HelloField {
        /// The field.
        field: &'static str,
        /// Its value.
        got: u32,
        /// The value that this build knows.
        known: u32,
    },
    /// A status that this build doesn't know.
    Status(u8),
    /// A flag that this build doesn't know.
    Flags(u8),
    /// The flag for scores, in an answer that accepts no vectors.
    NoScores,
    /// More scores than any request has vectors.
    Count(u32),
}

/// What is at the front of `bytes`; None if its header isn't complete yet.
pub fn answer_event(mode: Mode, bytes: &[u8]) -> Result<Option<AnswerEvent>, AnswerError> {
    if bytes.len() < mode.answer_header_bytes() {
        // The answer of an older server, which is shorter, isn't waited for.
        if mode == Mode::Header && bytes.len() > VERSION_AT {
            check_version(bytes, VERSION)?;
        }
        return Ok(None);
    }
    match mode {
        Mode::Count => count_head(bytes).map(AnswerEvent::Answer),
        Mode::Header1 => header1_head(bytes).map(AnswerEvent::Answer),
        Mode::Header => header_event(bytes),
    }
    .map(Some)
}

/// Whether these bytes are a watermark's first ones, as far as they go; not if there are none.
pub(crate) fn may_be_watermark(mode: Mode, bytes: &[u8]) -> bool {
    const START: [u8; KIND_AT + 1] = [MAGIC[0], MAGIC[1], VERSION, KIND_WATERMARK];
    let start = &bytes[..bytes.len().min(START.len())];
    mode == Mode::Header && !start.is_empty() && START.starts_with(start)
}

fn count_head(bytes: &[u8]) -> Result<AnswerHead, AnswerError> {
    let vectors = u32_at(bytes, 0);
    if vectors > VECTORS_MAX {
        return Err(AnswerError::Count(vectors));
    }
    Ok(AnswerHead {
        status: (vectors > 0).then_some(Status::Ok),
        vectors,
        scores: vectors,
        sequence: 0,
        credits: 0,
        place: None,
        bytes_total: answer_bytes(Mode::Count, vectors as usize),
    })
}

fn header1_head(bytes: &[u8]) -> Result<AnswerHead, AnswerError> {
    check_version(bytes, VERSION1)?;
    let vectors = u32::from(u16_at(bytes, header1_at::N));
    Ok(AnswerHead {
        status: Some(status(bytes[header1_at::STATUS])?),
        vectors,
        scores: vectors,
        sequence: u64_at(bytes, header1_at::SEQUENCE),
        credits: u16_at(bytes, header1_at::CREDITS),
        place: None,
        bytes_total: answer_bytes(Mode::Header1, vectors as usize),
    })
}

fn header_event(bytes: &[u8]) -> Result<AnswerEvent, AnswerError> {
    check_version(bytes, VERSION)?;
    match bytes[KIND_AT] {
        KIND_REQUEST => header_head(bytes).map(AnswerEvent::Answer),
        // What else it may say one day isn't read.
        KIND_WATERMARK => Ok(AnswerEvent::Watermark(Watermark {
            credits: u16_at(bytes, answer_at::CREDITS),
            lane: u16_at(bytes, answer_at::LANE),
            stored_through: u64_at(bytes, answer_at::STORED_THROUGH),
        })),
        kind => Err(AnswerError::Kind(kind)),
    }
}

fn header_head(bytes: &[u8]) -> Result<AnswerHead, AnswerError> {
    let (vectors, flags) = (u32::from(u16_at(bytes, answer_at::N)), bytes[answer_at::FLAGS]);
    if flags & !FLAG_SCORES_FOLLOW != 0 {
        return Err(AnswerError::Flags(flags));
    }
    if flags == FLAG_SCORES_FOLLOW && vectors == 0 {
        return Err(AnswerError::NoScores);
    }
    let scores = if flags == FLAG_SCORES_FOLLOW { vectors } else { 0 };
    Ok(AnswerHead {
        status: Some(status(bytes[STATUS_AT])?),
        vectors,
        scores,
        sequence: u64_at(bytes, answer_at::SEQUENCE),
        credits: u16_at(bytes, answer_at::CREDITS),
        place: Some(AnswerPlace {
            lane: u16_at(bytes, answer_at::LANE),
            first_row: u64_at(bytes, answer_at::FIRST_ROW),
            detail: u32_at(bytes, answer_at::DETAIL),
            stored_through: u64_at(bytes, answer_at::STORED_THROUGH),
        }),
        bytes_total: answer_bytes(Mode::Header, scores as usize),
    })
}

fn check_version(bytes: &[u8], reads: u8) -> Result<(), AnswerError> {
    if bytes[..MAGIC.len()] != MAGIC {
        return Err(AnswerError::Magic([bytes[0], bytes[1]]));
    }
    let got = bytes[VERSION_AT];
    if got == reads { Ok(()) } else { Err(AnswerError::Version { got, reads }) }
}

fn status(number: u8) -> Result<Status, AnswerError> {
    Status::from_wire(number).ok_or(AnswerError::Status(number))
}

/// The complete answer at the front of `bytes`, and the range of its scores; None if the answer
/// isn't complete yet. A client that waits for answers alone: a watermark is an error.
pub fn decode_answer(
    mode: Mode,
    bytes: &[u8],
) -> Result<Option<(AnswerHead, Range<usize>)>, AnswerError> {
    let head = match answer_event(mode, bytes)? {
        Some(AnswerEvent::Answer(head)) if bytes.len() >= head.bytes_total => head,
        Some(AnswerEvent::Answer(_)) | None => return Ok(None),
        Some(AnswerEvent::Watermark(_)) => return Err(AnswerError::Kind(KIND_WATERMARK)),
    };
    Ok(Some((head, mode.answer_header_bytes()..head.bytes_total)))
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnswerError::Magic(bytes) => {
                write!(f, "an answer starts with bytes {bytes:?}, not with \"SR\"")
            }
            AnswerError::Version { got, reads } => {
                write!(f, "an answer has version {got}, this client speaks version {reads}")
            }
            AnswerError::Kind(kind) => {
                write!(f, "a frame of the server is of kind {kind}, not of kind {KIND_REQUEST}")
            }
            AnswerError::NoHello(status) => {
                write!(f, "the hello wasn't answered as one: {status}")
            }
            AnswerError::HelloField { field, got, known } => {
                write!(f, "the hello was accepted with {field} {got}, this client knows {known}")
            }
            AnswerError::Flags(flags) => {
                write!(f, "an answer has flags {flags:#x}, unknown to this build")
            }
            AnswerError::NoScores => {
                write!(f, "an answer accepts no vectors, and says that scores follow")
            }
            AnswerError::Status(status) => {
                write!(f, "an answer has status {status}, unknown to this build")
            }
            AnswerError::Count(vectors) => {
                write!(f, "an answer announces {vectors} scores, at most {VECTORS_MAX} are legal")
            }
        }
    }
}

impl std::error::Error for AnswerError {}
