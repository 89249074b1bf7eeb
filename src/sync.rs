//! The only file that names atomics: under `cfg(loom)` they are loom's, else the standard library's.
//! Every ordering in the crate is paired by a name ("SYNC S1") that stands at both of its ends.
