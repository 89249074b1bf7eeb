//! What happens to a request between the socket and the answer: validate, score, sink.
//!
//! Each is a handler for one stage of a lane. What they decide travels in result columns: validate
//! writes a [`Status`](crate::protocol::Status) a slot and what each vector comes to, score writes
//! a score a vector, and answer and sink read status and scores.

mod request;
mod rows;
mod score;
mod store;
mod validate;

pub use request::{ConnId, Request};
pub use score::{Score, scorer};
pub use store::{Store, StoreReport};
pub use validate::validator;
