//! Requests: [`front`] reads them for the server, [`encode_request`] writes them for a client.

use super::hello::{hello_refusal, producer_of};
use super::layout::{
    COUNT_HEADER_BYTES, F32_BYTES, FLAG_IDS, FLAG_SCORES, HEADER1_BYTES, ID_BYTES, KIND_AT,
    KIND_HELLO, KIND_REQUEST, Limits, MAGIC, Mode, REQUEST_HEADER_BYTES, VECTORS_MAX, VERSION,
    VERSION_AT, VERSION1, header1_at, put_f32s, request_at, u16_at, u32_at, u64_at,
};
use super::status::Status;

/// The result of [`front`], for bytes that start on a frame boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Fewer bytes than a header.
    Partial,
    /// The header is complete; the payload may still be missing.
    Frame(FrameHead),
    /// Framing is lost: answer with this status and sequence 0, then close the connection.
    Broken(Status),
}

/// What a frame is answered with, besides its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// A score per vector.
    #[default]
    Scores,
    /// Nothing.
    Plain,
    /// The server's own values: the frame is a hello.
    Hello,
}

/// A frame's header, checked against the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes before the payload.
    pub header_bytes: u32,
    /// Bytes of the payload: ids, if the server has a column for them, and vectors. At most
    /// [`Limits::payload_bytes_max`], and a multiple of 4.
    pub payload_bytes: u32,
    /// Vectors that the header announces.
    pub vectors: u32,
    /// The client's own number, returned in the answer; 0 in count mode. Of a hello, its
    /// producer.
    pub sequence: u64,
    /// If set, skip the payload and answer with this status. The connection continues, unless the
    /// frame is a hello.
    pub refusal: Option<Status>,
    /// What the frame is answered with.
    pub reply: Reply,
}

impl FrameHead {
    /// Bytes of the whole frame: header and payload.
    pub const fn frame_bytes(&self) -> usize {
        self.header_bytes as usize + self.payload_bytes as usize
    }
}

/// Reads the header at the front of `bytes` and nothing after it, so the cost doesn't depend on the
/// payload.
#[inline(always)]
pub fn front(mode: Mode, bytes: &[u8], limits: &Limits) -> Front {
    match mode {
        Mode::Count => count_front(bytes, limits),
        Mode::Header1 => header1_front(bytes, limits),
        Mode::Header => header_front(bytes, limits),
    }
}

#[inline(always)]
fn count_front(bytes: &[u8], limits: &Limits) -> Front {
    if bytes.len() < COUNT_HEADER_BYTES {
        return Front::Partial;
    }
    let vectors = u32_at(bytes, 0);
    let payload_bytes =
        (u64::from(vectors) * u64::from(limits.dim)).saturating_mul(F32_BYTES as u64);
    if vectors > limits.max_vectors || payload_bytes > limits.payload_bytes_max() {
        return Front::Broken(Status::TooManyVectors);
    }
    let refusal = if vectors == 0 { Some(Status::ZeroVectors) } else { no_ids(limits) };
    Front::Frame(FrameHead {
        header_bytes: COUNT_HEADER_BYTES as u32,
        payload_bytes: payload_bytes as u32,
        vectors,
        sequence: 0,
        refusal,
        reply: Reply::Scores,
    })
}

/// The refusal of a request without ids.
#[inline]
fn no_ids(limits: &Limits) -> Option<Status> {
    limits.columns.id.then_some(Status::IdsMissing)
}

#[inline(always)]
fn header1_front(bytes: &[u8], limits: &Limits) -> Front {
    let Some(bytes) = bytes.first_chunk::<HEADER1_BYTES>() else { return Front::Partial };
    if bytes[..MAGIC.len()] != MAGIC {
        return Front::Broken(Status::BadMagic);
    }
    if bytes[VERSION_AT] != VERSION1 {
        return Front::Broken(Status::BadVersion);
    }
    if bytes[header1_at::FLAGS] != 0 {
        return Front::Broken(Status::BadFlags);
    }
    let vectors = u32::from(u16_at(bytes, header1_at::N));
    let dim = u32::from(u16_at(bytes, header1_at::DIM));
    let Some(refusal) = refusal(vectors, dim, limits) else {
        return Front::Broken(Status::TooManyVectors);
    };
    let refusal = refusal.or_else(|| no_ids(limits));
    let payload_bytes = u64::from(vectors) * u64::from(dim) * F32_BYTES as u64;
    skippable(payload_bytes, refusal, limits, |payload_bytes| FrameHead {
        header_bytes: HEADER1_BYTES as u32,
        payload_bytes,
        vectors,
        sequence: u64_at(bytes, header1_at::SEQUENCE),
        refusal,
        reply: Reply::Scores,
    })
}

#[inline(always)]
fn header_front(bytes: &[u8], limits: &Limits) -> Front {
    let Some(head) = bytes.first_chunk::<REQUEST_HEADER_BYTES>() else { return Front::Partial };
    if head[..=KIND_AT] != REQUEST_START {
        return other_front(head, limits);
    }
    let flags = u16_at(head, request_at::FLAGS);
    if flags & !(FLAG_IDS | FLAG_SCORES) != 0 {
        return Front::Broken(Status::BadFlags);
    }
    if u32_at(head, request_at::RESERVED) != 0 {
        return Front::Broken(Status::ReservedNotZero);
    }
    let vectors = u32::from(u16_at(head, request_at::N));
    let dim = u32_at(head, request_at::DIM);
    let has_ids = flags & FLAG_IDS != 0;
    let Some(refusal) = refusal(vectors, dim, limits) else {
        return Front::Broken(Status::TooManyVectors);
    };
    let refusal = refusal.or_else(|| match has_ids {
        true => (!limits.columns.id).then_some(Status::NoSuchColumns),
        false => no_ids(limits),
    });
    let id_bytes = if has_ids { ID_BYTES as u64 } else { 0 };
    let payload_bytes = u64::from(vectors) * (u64::from(dim) * F32_BYTES as u64 + id_bytes);
    skippable(payload_bytes, refusal, limits, |payload_bytes| FrameHead {
        header_bytes: REQUEST_HEADER_BYTES as u32,
        payload_bytes,
        vectors,
        sequence: u64_at(head, request_at::SEQUENCE),
        refusal,
        reply: if flags & FLAG_SCORES != 0 { Reply::Scores } else { Reply::Plain },
    })
}

/// The first bytes of a request.
const REQUEST_START: [u8; KIND_AT + 1] = [MAGIC[0], MAGIC[1], VERSION, KIND_REQUEST];

/// A frame that isn't a request.
#[cold]
fn other_front(head: &[u8; REQUEST_HEADER_BYTES], limits: &Limits) -> Front {
    if head[..MAGIC.len()] != MAGIC {
        Front::Broken(Status::BadMagic)
    } else if head[VERSION_AT] != VERSION {
        Front::Broken(Status::BadVersion)
    } else if head[KIND_AT] != KIND_HELLO {
        Front::Broken(Status::BadKind)
    } else {
        hello_front(head, limits)
    }
}

/// A hello is a frame without vectors.
fn hello_front(bytes: &[u8], limits: &Limits) -> Front {
    Front::Frame(FrameHead {
        header_bytes: REQUEST_HEADER_BYTES as u32,
        payload_bytes: 0,
        vectors: 0,
        sequence: producer_of(bytes),
        refusal: hello_refusal(bytes, limits),
        reply: Reply::Hello,
    })
}

/// Why a frame is refused whose payload can be skipped; None if it has too many vectors, which
/// closes the connection in every mode, however short the payload is.
///
/// Zero vectors are checked first: they have no dimension that could be wrong. The dimension is
/// checked before the count, because a wrong dimension is a likely cause of a wrong count.
#[inline(always)]
fn refusal(vectors: u32, dim: u32, limits: &Limits) -> Option<Option<Status>> {
    if vectors == 0 {
        Some(Some(Status::ZeroVectors))
    } else if dim != limits.dim {
        Some(Some(Status::WrongDimension))
    } else if vectors > limits.max_vectors {
        None
    } else {
        Some(None)
    }
}

/// A payload up to the largest legal one can be skipped. A longer one could block the connection
/// forever. Without a refusal it can only be longer with limits that nobody checked.
#[inline(always)]
fn skippable(
    payload_bytes: u64,
    refusal: Option<Status>,
    limits: &Limits,
    head: impl FnOnce(u32) -> FrameHead,
) -> Front {
    if payload_bytes > limits.payload_bytes_max() {
        return Front::Broken(refusal.unwrap_or(Status::TooManyVectors));
    }
    Front::Frame(head(payload_bytes as u32))
}

/// Appends one request with all of `vectors` (rows of `dim`) to `out`. In header mode it asks for
/// scores and carries no ids. Count mode ignores `sequence`.
///
/// # Panics
/// If `dim` is 0 or above 65535, if `vectors` isn't whole rows of it, or if there are more rows
/// than 65535: the frame can't be expressed.
pub fn encode_request(mode: Mode, dim: u32, sequence: u64, vectors: &[f32], out: &mut Vec<u8>) {
    let head = RequestHead { dim, vectors: rows(dim, vectors), sequence, ids: false, scores: true };
    encode_request_head(mode, &head, out);
    put_f32s(vectors, out);
}

/// As [`encode_request`] in header mode, with an id for each vector. Asks for scores if `scores` is
/// set.
///
/// # Panics
/// As [`encode_request`], and if there aren't as many ids as vectors.
pub fn encode_request_with_ids(
    dim: u32,
    sequence: u64,
    ids: &[u64],
    vectors: &[f32],
    scores: bool,
    out: &mut Vec<u8>,
) {
    let head = RequestHead { dim, vectors: rows(dim, vectors), sequence, ids: true, scores };
    assert_eq!(ids.len(), head.vectors as usize, "one id for each vector");
    encode_request_head(Mode::Header, &head, out);
    ids.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
    put_f32s(vectors, out);
}

fn rows(dim: u32, vectors: &[f32]) -> u32 {
    assert!(dim > 0 && dim <= u32::from(u16::MAX), "dim is {dim}, must be 1 to 65535");
    assert!(
        vectors.len().is_multiple_of(dim as usize),
        "{} components aren't rows of {dim}",
        vectors.len()
    );
    let count = vectors.len() / dim as usize;
    assert!(count <= VECTORS_MAX as usize, "{count} vectors don't fit one frame");
    count as u32
}

/// The fields of a request's header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestHead {
    pub(crate) dim: u32,
    pub(crate) vectors: u32,
    /// The client's own number. Count mode has no field for it.
    pub(crate) sequence: u64,
    /// Whether ids precede the vectors, and whether scores are asked for. Only [`Mode::Header`] has
    /// flags for these.
    pub(crate) ids: bool,
    pub(crate) scores: bool,
}

/// Appends only the header of a request. The caller appends the rows itself, from memory that
/// already holds them in wire order.
///
/// # Panics
/// If `dim` or `vectors` doesn't fit the wire's u16, which [`Limits::check`] rules out.
pub(crate) fn encode_request_head(mode: Mode, head: &RequestHead, out: &mut Vec<u8>) {
    let RequestHead { dim, vectors, sequence, ids, scores } = *head;
    assert!(
        dim <= u32::from(u16::MAX) && vectors <= VECTORS_MAX,
        "{vectors} vectors of {dim} don't fit one frame"
    );
    out.reserve(mode.header_bytes());
    match mode {
        Mode::Count => out.extend_from_slice(&vectors.to_le_bytes()),
        Mode::Header1 => {
            out.extend_from_slice(&MAGIC);
            out.extend_from_slice(&[VERSION1, 0]);
            out.extend_from_slice(&(vectors as u16).to_le_bytes());
            out.extend_from_slice(&(dim as u16).to_le_bytes());
            out.extend_from_slice(&sequence.to_le_bytes());
        }
        Mode::Header => {
            let flags = (u16::from(ids) * FLAG_IDS) | (u16::from(scores) * FLAG_SCORES);
            out.extend_from_slice(&MAGIC);
            out.extend_from_slice(&[VERSION, KIND_REQUEST]);
            out.extend_from_slice(&flags.to_le_bytes());
            out.extend_from_slice(&(vectors as u16).to_le_bytes());
            out.extend_from_slice(&dim.to_le_bytes());
            out.extend_from_slice(&[0; request_at::SEQUENCE - request_at::RESERVED]);
            out.extend_from_slice(&sequence.to_le_bytes());
        }
    }
}
