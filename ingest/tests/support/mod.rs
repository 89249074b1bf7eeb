//! Support for the tests of this package: the service in this process or as the real binary,
//! clients on real sockets, and a small disk.
//!
//! Every wait has a limit, so that a hang is a failed test that names its place, and not a test run
//! that never ends.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod admin;
pub mod client;
pub mod data;
pub mod process;
pub mod service;

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

/// Longest wait for anything that must happen. A slow machine needs part of it, a hang all of it.
/// scripts/twins, whose hangs are deliberate, uses less.
pub const PATIENCE: Duration = slipring_test_support::patience(30);

/// A new folder. Its path is short enough for a Unix socket's address and has no space, even where
/// the system's folder for temporary files has.
pub fn folder() -> TempDir {
    // An address of a Unix socket holds 107 bytes.
    const PATH_BYTES_MAX: usize = 64;
    let above = std::env::temp_dir();
    let fits = above
        .to_str()
        .is_some_and(|path| path.len() <= PATH_BYTES_MAX && !path.contains(char::is_whitespace));
    tempfile::tempdir_in(if fits { &above } else { Path::new("/tmp") }).unwrap()
}

/// A vector whose sum is known exactly: `id`, then ones.
pub fn vector(dim: usize, id: u32) -> Vec<f32> {
    let mut vector = vec![1.0; dim];
    vector[0] = id as f32;
    vector
}

/// The score of [`vector`] with `--score sum`.
pub fn score(dim: usize, id: u32) -> f32 {
    id as f32 + (dim - 1) as f32
}
