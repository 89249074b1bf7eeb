//! A message of a stream: its metadata, and where its body is.

use arrow_ipc::{Message, MetadataVersion, root_as_message};

use super::error::ArrowError;

/// The first bytes of a stream, and of every message in it.
pub(in crate::vectors) const CONTINUATION: &[u8] = &[0xff; 4];
/// What messages begin at a multiple of.
const MESSAGE_ALIGNMENT: usize = 8;
/// The most bytes in which the end of a schema without a length is looked for.
const BARE_SCHEMA_BYTES_MAX: usize = 16 << 20;
/// Bytes of a length.
const LENGTH_BYTES: usize = 4;

/// What is at a position of a stream.
pub(super) enum StreamStep<'a> {
    /// Too few bytes to say: at least this many are needed.
    More(u64),
    Message(ArrowMessage<'a>),
    /// The mark of the stream's end, of this many bytes.
    EndMark(u64),
}

/// A message.
pub(super) struct ArrowMessage<'a> {
    pub(super) head: Message<'a>,
    /// The flatbuffer that the head is in.
    pub(super) metadata: &'a [u8],
    /// Bytes before the body.
    pub(super) body_at: usize,
    /// Bytes of the message, with its body, of which not all may be there yet.
    pub(super) bytes: u64,
}

/// What is at byte `at` of an image, which has `left` bytes from there on. These are the first.
pub(super) fn message_at(bytes: &[u8], at: u64, left: u64) -> Result<StreamStep<'_>, ArrowError> {
    let cut_off = || ArrowError::CutOff { at, bytes: at.saturating_add(left) };
    let damaged = |why: String| ArrowError::Damaged { at, why };
    let more = |needed: usize| {
        let needed = needed as u64;
        if needed > left { Err(cut_off()) } else { Ok(StreamStep::More(needed)) }
    };
    let mut head_bytes = LENGTH_BYTES;
    if bytes.starts_with(CONTINUATION) {
        head_bytes += CONTINUATION.len();
    }
    let Some((head, after)) = bytes.split_at_checked(head_bytes) else { return more(head_bytes) };
    let Some(length) = head.last_chunk::<LENGTH_BYTES>() else { return more(head_bytes) };
    let length = i32::from_le_bytes(*length);
    if length == 0 {
        return Ok(StreamStep::EndMark(head_bytes as u64));
    }
    let length = usize::try_from(length).map_err(|_| damaged(format!("its length is {length}")))?;
    let body_at = head_bytes + length;
    let Some(metadata) = after.get(..length) else { return more(body_at) };
    let head = root_as_message(metadata).map_err(|error| damaged(error.to_string()))?;
    if !(MetadataVersion::V4..=MetadataVersion::V5).contains(&head.version()) {
        return Err(ArrowError::Version(head.version().0));
    }
    let body_bytes =
        u64::try_from(head.bodyLength()).map_err(|_| damaged("its body is negative".to_owned()))?;
    let bytes = body_bytes.saturating_add(body_at as u64);
    if bytes > left {
        return Err(cut_off());
    }
    Ok(StreamStep::Message(ArrowMessage { head, metadata, body_at, bytes }))
}

/// The schema at the beginning of a file that polars wrote: without a mark and a length before it,
/// up to the next message or end mark. None if there is no such schema.
pub(super) fn bare_schema(bytes: &[u8], left: u64) -> Option<StreamStep<'_>> {
    let mut pieces = bytes.chunks_exact(MESSAGE_ALIGNMENT);
    let Some(end) = pieces.position(|piece| piece.starts_with(CONTINUATION)) else {
        let needed = left.min(2 * bytes.len() as u64);
        let is_more = needed > bytes.len() as u64 && bytes.len() < BARE_SCHEMA_BYTES_MAX;
        return is_more.then_some(StreamStep::More(needed));
    };
    let body_at = end * MESSAGE_ALIGNMENT;
    let metadata = &bytes[..body_at];
    let head = root_as_message(metadata).ok()?;
    head.header_as_schema()?;
    let message = ArrowMessage { head, metadata, body_at, bytes: body_at as u64 };
    Some(StreamStep::Message(message))
}
