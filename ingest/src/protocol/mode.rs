//! The modes of a connection, and how its first four bytes choose one.

use super::layout::{COUNT_HEADER_BYTES, FRAME_HEADER_BYTES, MAGIC};

/// The two ways to speak frames. A connection keeps the one its first four bytes chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A bare u32 count before the vectors, and before the scores.
    Count,
    /// A 16-byte header with magic, version, dimension, sequence, and in answers status and
    /// credits.
    Header,
}

impl Mode {
    /// Bytes of this mode's header, in both directions.
    pub const fn header_bytes(self) -> usize {
        match self {
            Mode::Count => COUNT_HEADER_BYTES,
            Mode::Header => FRAME_HEADER_BYTES,
        }
    }
}

/// What the first bytes of a connection say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// Fewer than four bytes: ask again with more.
    Need,
    /// Frames of this mode.
    Mode(Mode),
    /// Not our protocol (RESP or HTTP, for example). Close the connection, or pass it to a handler
    /// of that protocol.
    Unknown,
}

/// Tells the modes apart by the first four bytes: a count is at most 65535, so its bytes 2 and 3
/// are zero, which no text protocol sends. A wrong version still is header mode, so that
/// [`super::front`] can answer `BadVersion`.
pub fn detect(bytes: &[u8]) -> Detected {
    let [first, second, third, fourth, ..] = *bytes else { return Detected::Need };
    if third == 0 && fourth == 0 {
        Detected::Mode(Mode::Count)
    } else if [first, second] == MAGIC {
        Detected::Mode(Mode::Header)
    } else {
        Detected::Unknown
    }
}
