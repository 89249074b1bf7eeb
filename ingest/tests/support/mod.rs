//! Support for the tests of this package: the service in this process or as the real binary,
//! clients on real sockets, and a small disk.
//!
//! Every wait has a limit, so that a hang is a failed test that names its place, and not a test run
//! that never ends.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod client;
pub mod data;
pub mod process;
pub mod service;

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// Longest wait for anything that must happen. A slow machine needs part of it, a hang all of it.
/// scripts/twins, whose hangs are deliberate, uses less.
pub const PATIENCE: Duration =
    Duration::from_secs(if option_env!("SLIPRING_HURRY").is_some() { 5 } else { 30 });

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

/// Runs `test` on its own thread, and fails if it takes longer than `patience`.
pub fn within(patience: Duration, test: impl FnOnce() + Send + 'static) {
    let (done, wait) = channel();
    let thread = thread::spawn(move || {
        test();
        let _gone = done.send(());
    });
    match wait.recv_timeout(patience) {
        Err(RecvTimeoutError::Timeout) => panic!("hangs: not over after {patience:?}"),
        // The test ended, or it panicked and dropped its sender.
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p))
        }
    }
}

/// Waits until `ready` returns true.
#[track_caller]
pub fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + PATIENCE;
    while !ready() {
        assert!(std::time::Instant::now() < until, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(2));
    }
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

/// Pseudorandom numbers from a seed (splitmix64).
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
