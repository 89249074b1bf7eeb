//! The slipring service as a library.
