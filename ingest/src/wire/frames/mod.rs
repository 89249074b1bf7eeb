//! The frames on the wire: pure functions from bytes to frames and back.
//!
//! A connection's first four bytes say how it speaks ([`detect`]); after that, complete frames
//! follow each other without a gap. The server asks [`front`] what is at the front of its bytes,
//! and answers with [`encode_answer`]; a client writes with [`encode_request`] and reads with
//! [`decode_answer`].
//!
//! It promises: nothing here reads a socket, keeps state, or panics on any bytes from the wire;
//! every length is bounded by [`Limits`] before anyone waits for that many bytes; headers and
//! payloads are multiples of four bytes, so a payload that starts aligned stays aligned.
//!
//! It doesn't look into payloads: the validate stage checks that values are finite.
//! docs/PROTOCOL.md is the page for strangers, and every example printed there is held by a test.
//!
//! ```
//! use slipring_ingest::wire::frames::{Front, Limits, Mode, encode_request, front};
//!
//! let limits = Limits { dim: 2, max_vectors: 64 };
//! let mut bytes = Vec::new();
//! encode_request(Mode::Count, limits.dim, 0, &[1.0, 2.0], &mut bytes);
//! let Front::Frame(head) = front(Mode::Count, &bytes, &limits) else { panic!("a whole frame") };
//! assert_eq!((head.vectors, head.frame_bytes()), (1, 12));
//! ```
#![forbid(unsafe_code)]

mod answer;
mod layout;
mod request;

#[cfg(test)]
mod tests;

pub use answer::{
    AnswerError, AnswerHead, Status, answer_bytes, answer_head, decode_answer, encode_answer,
    write_answer,
};
pub use layout::{
    COUNT_HEADER_BYTES, Detected, FRAME_HEADER_BYTES, Limits, LimitsError, Mode, PAYLOAD_BYTES_MAX,
    VECTORS_MAX, VERSION, detect,
};
pub(crate) use request::encode_request_head;
pub use request::{FrameHead, Front, encode_request, front};
