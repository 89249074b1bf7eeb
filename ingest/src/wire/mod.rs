//! What is spoken on a connection: one folder per wire protocol. Frames are the only one so far.

pub mod frames;
