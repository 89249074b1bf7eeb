//! The stages of the service between the receive of a request and its answer: validate and score;
//! and beside the answer, sink.
//!
//! Each is a handler for one stage of a lane. They pass results on in columns: validate writes a
//! [`Verdict`] per slot and a result per vector, and score writes a score per vector where that
//! result isn't the score. The answer reads verdicts and scores, the sink verdicts.

mod producers;
mod request;
mod rows;
mod score;
mod sink;
mod validate;

pub use producers::{LaneProducers, RepeatRow, repeat_row};
pub use request::{ConnId, Request, Verdict};
pub use score::{Score, scorer};
pub use sink::{SinkReport, SinkStage};
pub use validate::validator;
