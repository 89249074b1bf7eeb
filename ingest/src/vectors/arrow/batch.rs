//! A record batch: what it says of its fields, and its buffers.
//!
//! A buffer is borrowed from the image, or unpacked if the batch is compressed. Packed buffers
//! begin with the length of what was packed, or with -1 if they were left as they are. That length
//! is believed up to the caller's bound of memory, or without one up to [`EXPANSION_MAX`] bytes per
//! packed byte.

use std::borrow::Cow;

use arrow_ipc::{CompressionType, FieldNode, RecordBatch};

use super::error::ArrowError;

/// The most bytes that a packed byte becomes. LZ4 can't do more, and vectors become 1 to 4; but
/// zeros become thousands with ZSTD.
const EXPANSION_MAX: usize = 256;
/// Bytes of the length before a packed buffer.
const PREFIX_BYTES: usize = 8;

/// A record batch and its body.
#[derive(Clone, Debug)]
pub(super) struct BatchBody<'a> {
    pub(super) head: RecordBatch<'a>,
    pub(super) body: &'a [u8],
    /// Position of its message in the image.
    pub(super) at: u64,
    /// The most bytes that are unpacked; `usize::MAX` if the caller gives no bound.
    pub(super) bytes_max: usize,
}

impl<'a> BatchBody<'a> {
    /// Rows of the batch.
    pub(super) fn rows(&self) -> Result<u64, ArrowError> {
        u64::try_from(self.head.length()).map_err(|_| self.damaged("its length is negative"))
    }

    /// What the batch says of a field.
    pub(super) fn node(&self, index: usize) -> Result<FieldNode, ArrowError> {
        let nodes = self.head.nodes().filter(|nodes| index < nodes.len());
        let nodes = nodes.ok_or_else(|| self.damaged("its columns aren't those of the schema"))?;
        Ok(*nodes.get(index))
    }

    pub(super) fn damaged(&self, why: &str) -> ArrowError {
        ArrowError::Damaged { at: self.at, why: why.to_owned() }
    }

    /// The first position in `span` whose bit isn't set in a buffer of validity. Without the
    /// buffer, although there are nulls, it is the first of all.
    pub(super) fn first_null(
        &self,
        buffer: usize,
        span: std::ops::Range<u64>,
    ) -> Result<Option<u64>, ArrowError> {
        let bytes = usize::try_from(span.end.div_ceil(8))
            .map_err(|_| self.damaged("its length is beyond all memory"))?;
        let bits = self.buffer(buffer, bytes)?;
        Ok(span.into_iter().find(|at| bits[(at / 8) as usize] & (1 << (at % 8)) == 0))
    }

    /// The first `needed` bytes of a buffer.
    pub(super) fn buffer(&self, index: usize, needed: usize) -> Result<Cow<'a, [u8]>, ArrowError> {
        if needed == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        let buffers = self.head.buffers().filter(|buffers| index < buffers.len());
        let buffer = *buffers
            .ok_or_else(|| self.damaged("it has fewer buffers than the schema says"))?
            .get(index);
        let position = || {
            let start = usize::try_from(buffer.offset()).ok()?;
            let end = start.checked_add(usize::try_from(buffer.length()).ok()?)?;
            self.body.get(start..end)
        };
        let outside = || self.damaged("its components are outside of it");
        let stored = position().ok_or_else(outside)?;
        match self.head.compression() {
            None => Ok(Cow::Borrowed(stored.get(..needed).ok_or_else(outside)?)),
            Some(compression) => self.unpacked(compression.codec(), stored, needed),
        }
    }

    fn unpacked(
        &self,
        codec: CompressionType,
        stored: &'a [u8],
        needed: usize,
    ) -> Result<Cow<'a, [u8]>, ArrowError> {
        let name = codec.variant_name().unwrap_or("an unknown codec");
        let failed = |why: String| ArrowError::Unpack { at: self.at, codec: name, why };
        let (length, packed) = stored
            .split_first_chunk::<PREFIX_BYTES>()
            .ok_or_else(|| failed("a buffer has no length before it".to_owned()))?;
        let length = i64::from_le_bytes(*length);
        if length == -1 {
            let plain = packed.get(..needed);
            return plain.map(Cow::Borrowed).ok_or_else(|| self.damaged("a buffer is too short"));
        }
        let most = packed.len().saturating_mul(EXPANSION_MAX);
        let length = usize::try_from(length).ok().filter(|length| *length >= needed);
        let Some(length) = length else {
            return Err(failed(format!("a buffer of less than {needed} bytes")));
        };
        if self.bytes_max == usize::MAX && length > most {
            return Err(failed(format!(
                "{} bytes would become {length}, {most} at most are believed; write it without \
                 compression",
                packed.len()
            )));
        }
        if length > self.bytes_max {
            let (bytes, most) = (length as u64, self.bytes_max as u64);
            return Err(ArrowError::TooLarge { at: self.at, bytes, most });
        }
        let mut bytes = unpack(codec, packed, length).map_err(|why| match why {
            Some(error) => failed(error.to_string()),
            None => ArrowError::Codec { codec: name },
        })?;
        if bytes.len() < needed {
            return Err(failed(format!("{} bytes, {needed} are needed", bytes.len())));
        }
        bytes.truncate(needed);
        Ok(Cow::Owned(bytes))
    }
}

/// Up to `length` unpacked bytes; None as an error if this build doesn't know the codec.
#[cfg(feature = "objects")]
fn unpack(
    codec: CompressionType,
    packed: &[u8],
    length: usize,
) -> Result<Vec<u8>, Option<std::io::Error>> {
    use std::io::Read;

    match codec {
        CompressionType::ZSTD => Ok(zstd::bulk::decompress(packed, length)?),
        CompressionType::LZ4_FRAME => {
            let mut bytes = Vec::with_capacity(length);
            let frames = lz4_flex::frame::FrameDecoder::new(packed);
            frames.take(length as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        _ => Err(None),
    }
}

/// Only `slipring get` reads Arrow, so only its build can unpack.
#[cfg(not(feature = "objects"))]
fn unpack(_: CompressionType, _: &[u8], _: usize) -> Result<Vec<u8>, Option<std::io::Error>> {
    Err(None)
}
