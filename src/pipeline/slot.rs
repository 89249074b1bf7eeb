//! One entry of the disruptor ring, and what a user's metadata must be.
#![forbid(unsafe_code)]

use crate::ring::Span;

/// Metadata that travels in a slot: plain data, copied twice. Implemented for every type that
/// qualifies.
pub trait Meta: Copy + Default + Send + Sync + 'static {}

impl<T: Copy + Default + Send + Sync + 'static> Meta for T {}

/// Integers and the user's metadata: Send and Sync by itself, and nothing is dropped at shutdown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LaneEvent<M> {
    pub(crate) span: Span,
    pub(crate) meta: M,
}
