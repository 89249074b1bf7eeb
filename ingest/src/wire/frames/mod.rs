//! The frames on the wire: pure functions from bytes to frames and back.
//!
//! The first four bytes of a connection choose its mode ([`detect`]). From then on complete frames
//! follow each other without a gap. The server reads requests with [`front`] and writes answers
//! with [`encode_answer`]; a client writes requests with [`encode_request`] and reads answers with
//! [`decode_answer`]. In header mode the first frame is a hello ([`encode_hello`]), which `front`
//! reads too. Between answers a server may send a watermark: [`answer_event`] tells them apart.
//!
//! Promises:
//! - Nothing here reads a socket, keeps state, or panics on any bytes from the wire.
//! - Every length is bounded by [`Limits`] before anyone waits for that many bytes.
//! - Headers and payloads are multiples of four bytes, so a payload that starts aligned stays
//!   aligned.
//!
//! Doesn't look into payloads: the validate stage checks that components are finite.
//!
//! docs/PROTOCOL.md describes the frames for authors of clients; a test compares every example
//! printed there with this code.
//!
//! ```
//! use slipring_ingest::wire::frames::{Front, Limits, Mode, encode_request, front};
//!
//! let limits = Limits::new(2, 64);
//! let mut bytes = Vec::new();
//! encode_request(Mode::Count, limits.dim, 0, &[1.0, 2.0], &mut bytes);
//! let Front::Frame(head) = front(Mode::Count, &bytes, &limits) else { panic!("a whole frame") };
//! assert_eq!((head.vectors, head.frame_bytes()), (1, 12));
//! ```
#![forbid(unsafe_code)]

mod answer;
mod hello;
mod layout;
mod request;
mod status;

#[cfg(test)]
mod tests;

pub use answer::{
    Answer, AnswerError, AnswerEvent, AnswerHead, AnswerPlace, Watermark, answer_bytes,
    answer_event, decode_answer, encode_answer, write_answer, write_count_answer, write_watermark,
};
pub(crate) use answer::{may_be_watermark, set_stored_through};
pub use hello::{
    AckLevel, HELLO_ANSWER_BYTES, Hello, HelloAnswer, decode_hello, decode_hello_answer,
    encode_hello, hello_answer,
};
pub use layout::{
    ANSWER_HEADER_BYTES, COUNT_HEADER_BYTES, Detected, HEADER1_BYTES, ID_BYTES, Limits,
    LimitsError, Mode, PAYLOAD_BYTES_MAX, REQUEST_HEADER_BYTES, VECTORS_MAX, VERSION, VERSION1,
    WireColumns, detect,
};
pub use request::{FrameHead, Front, Reply, encode_request, encode_request_with_ids, front};
pub(crate) use request::{RequestHead, encode_request_head};
pub use status::Status;
