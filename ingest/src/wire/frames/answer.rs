//! Answers: the status of a request and its scores, as the server writes them and a client reads
//! them.

use std::fmt;
use std::ops::Range;

use super::layout::{
    CREDITS_AT, F32_BYTES, MAGIC, Mode, N_AT, SEQUENCE_AT, STATUS_AT, VECTORS_MAX, VERSION,
    VERSION_AT, u16_at, u32_at, u64_at,
};

/// The outcome that an answer carries. In count mode the client can only distinguish `Ok` from all
/// others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// Received: the vectors are published in a lane.
    Ok = 0,
    /// The request carried no vector.
    ZeroVectors = 1,
    /// More vectors than the server's `max-vectors` allows. Framing is lost.
    TooManyVectors = 2,
    /// Another dimension than the server's. Framing is lost only if the payload is longer than a
    /// legal one.
    WrongDimension = 3,
    /// A component is NaN or infinite.
    NotFinite = 4,
    /// The frame doesn't start with "SR". Framing is lost.
    BadMagic = 5,
    /// A version that this server doesn't speak. Framing is lost.
    BadVersion = 6,
    /// A flag that this version doesn't know. Framing is lost.
    BadFlags = 7,
    /// The connection has its limit of requests in flight; send again later. Header mode only.
    Busy = 8,
    /// The server is stopping and accepts no more requests.
    ShuttingDown = 9,
    /// The server has failed: a stage or the sink stopped.
    Failed = 10,
}

impl Status {
    /// All of them, in the order of their numbers.
    pub const ALL: [Status; 11] = [
        Status::Ok,
        Status::ZeroVectors,
        Status::TooManyVectors,
        Status::WrongDimension,
        Status::NotFinite,
        Status::BadMagic,
        Status::BadVersion,
        Status::BadFlags,
        Status::Busy,
        Status::ShuttingDown,
        Status::Failed,
    ];

    /// The status with this number on the wire; None if the number is unknown.
    pub fn from_wire(number: u8) -> Option<Status> {
        Status::ALL.get(usize::from(number)).copied()
    }

    /// A name for counters and reports: lower case, words joined by a hyphen.
    pub const fn label(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::ZeroVectors => "zero-vectors",
            Status::TooManyVectors => "too-many-vectors",
            Status::WrongDimension => "wrong-dimension",
            Status::NotFinite => "not-finite",
            Status::BadMagic => "bad-magic",
            Status::BadVersion => "bad-version",
            Status::BadFlags => "bad-flags",
            Status::Busy => "busy",
            Status::ShuttingDown => "shutting-down",
            Status::Failed => "failed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Bytes of an answer with `scores` scores. A refusal has none.
pub const fn answer_bytes(mode: Mode, scores: usize) -> usize {
    mode.header_bytes() + scores * F32_BYTES
}

/// Appends one answer to `out`: exactly `answer_bytes(mode, scores.len())` bytes. Only header mode
/// has fields for the status, sequence and credits.
///
/// # Panics
/// As [`write_answer`].
pub fn encode_answer(
    mode: Mode,
    status: Status,
    sequence: u64,
    credits: u16,
    scores: &[f32],
    out: &mut Vec<u8>,
) {
    let at = out.len();
    out.resize(at + answer_bytes(mode, scores.len()), 0);
    write_answer(mode, status, sequence, credits, scores, &mut out[at..]);
}

/// As [`encode_answer`], into a buffer that is exactly as long as the answer.
///
/// # Panics
/// If a refusal comes with scores, if there are more than 65535 scores, or if `out` has another
/// length. All are errors of the server itself.
#[inline]
pub fn write_answer(
    mode: Mode,
    status: Status,
    sequence: u64,
    credits: u16,
    scores: &[f32],
    out: &mut [u8],
) {
    assert_eq!(out.len(), answer_bytes(mode, scores.len()), "`out` is as long as the answer");
    assert!(scores.len() <= VECTORS_MAX as usize, "{} scores don't fit one answer", scores.len());
    assert!(
        status == Status::Ok || scores.is_empty(),
        "a refusal ({status}) has no scores, got {}",
        scores.len()
    );
    let (head, score_bytes) = out.split_at_mut(mode.header_bytes());
    match mode {
        Mode::Count => head.copy_from_slice(&(scores.len() as u32).to_le_bytes()),
        Mode::Header => {
            head[..MAGIC.len()].copy_from_slice(&MAGIC);
            (head[VERSION_AT], head[STATUS_AT]) = (VERSION, status as u8);
            head[N_AT..CREDITS_AT].copy_from_slice(&(scores.len() as u16).to_le_bytes());
            head[CREDITS_AT..SEQUENCE_AT].copy_from_slice(&credits.to_le_bytes());
            head[SEQUENCE_AT..].copy_from_slice(&sequence.to_le_bytes());
        }
    }
    let (fields, _) = score_bytes.as_chunks_mut::<F32_BYTES>();
    fields.iter_mut().zip(scores).for_each(|(field, score)| *field = score.to_le_bytes());
}

/// The header of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerHead {
    /// The outcome of the request. None for a refusal in count mode, which carries no reason.
    pub status: Option<Status>,
    /// Number of scores that follow: one per vector, none in a refusal.
    pub vectors: u32,
    /// The request's own number; 0 in count mode and after lost framing.
    pub sequence: u64,
    /// Requests that the connection may still have in flight; 0 in count mode.
    pub credits: u16,
    /// Bytes of the whole answer: header and scores.
    pub bytes_total: usize,
}

/// Bytes that aren't an answer. Nothing after them can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// The answer doesn't start with "SR".
    Magic([u8; 2]),
    /// A version that this build doesn't read.
    Version(u8),
    /// A status that this build doesn't know.
    Status(u8),
    /// More scores than any request has vectors.
    Count(u32),
}

/// The header of the answer at the front of `bytes`; None if the header isn't complete yet. The
/// scores may still be missing.
pub fn answer_head(mode: Mode, bytes: &[u8]) -> Result<Option<AnswerHead>, AnswerError> {
    if bytes.len() < mode.header_bytes() {
        return Ok(None);
    }
    let head = match mode {
        Mode::Count => {
            let vectors = u32_at(bytes, 0);
            if vectors > VECTORS_MAX {
                return Err(AnswerError::Count(vectors));
            }
            let status = if vectors == 0 { None } else { Some(Status::Ok) };
            AnswerHead {
                status,
                vectors,
                sequence: 0,
                credits: 0,
                bytes_total: answer_bytes(mode, vectors as usize),
            }
        }
        Mode::Header => {
            if bytes[..MAGIC.len()] != MAGIC {
                return Err(AnswerError::Magic([bytes[0], bytes[1]]));
            }
            if bytes[VERSION_AT] != VERSION {
                return Err(AnswerError::Version(bytes[VERSION_AT]));
            }
            let status =
                Status::from_wire(bytes[STATUS_AT]).ok_or(AnswerError::Status(bytes[STATUS_AT]))?;
            let vectors = u32::from(u16_at(bytes, N_AT));
            AnswerHead {
                status: Some(status),
                vectors,
                sequence: u64_at(bytes, SEQUENCE_AT),
                credits: u16_at(bytes, CREDITS_AT),
                bytes_total: answer_bytes(mode, vectors as usize),
            }
        }
    };
    Ok(Some(head))
}

/// The complete answer at the front of `bytes`, and the range of its scores; None if the answer
/// isn't complete yet.
pub fn decode_answer(
    mode: Mode,
    bytes: &[u8],
) -> Result<Option<(AnswerHead, Range<usize>)>, AnswerError> {
    let head = answer_head(mode, bytes)?.filter(|head| bytes.len() >= head.bytes_total);
    Ok(head.map(|head| (head, mode.header_bytes()..head.bytes_total)))
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnswerError::Magic(bytes) => {
                write!(f, "an answer starts with bytes {bytes:?}, not with \"SR\"")
            }
            AnswerError::Version(version) => {
                write!(f, "an answer has version {version}, this build reads {VERSION}")
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
