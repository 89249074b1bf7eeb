//! The two CPUs of a run, and the threads on them: pinned if the system lets it, as a lane and its
//! stages are.

use slipring::machine::{CpuMask, PinPolicy, pin_current};
use std::thread::{self, JoinHandle};

/// One CPU for the publisher and one for the reader.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cpus {
    pub publisher: usize,
    pub reader: usize,
}

impl Cpus {
    /// Both on the first CPU that this process may use: for what runs one thread, where there is no
    /// second CPU.
    pub fn one() -> Self {
        let cpu = CpuMask::read().cpus().first().copied().unwrap_or(0);
        Self { publisher: cpu, reader: cpu }
    }

    /// The first two that this process may use. With one there is nothing to measure.
    pub fn pick() -> Result<Self, String> {
        match CpuMask::read().cpus() {
            [publisher, reader, ..] => Ok(Self { publisher: *publisher, reader: *reader }),
            cpus => Err(format!("two CPUs are needed, this process may use {}", cpus.len())),
        }
    }

    /// Pins the calling thread, before it maps anything.
    pub fn pin_publisher(self) -> Result<(), String> {
        self.pin(0)
    }

    /// Pins the calling thread, thread 0 to the first CPU and any other to the second. What isn't
    /// granted slows every contender alike.
    pub fn pin(self, thread: usize) -> Result<(), String> {
        let cpu = if thread == 0 { self.publisher } else { self.reader };
        pin_current(cpu, PinPolicy::Prefer).map(|_granted| ()).map_err(|error| error.to_string())
    }

    /// A thread on the reader's CPU.
    pub fn spawn_reader(self, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        thread::spawn(move || {
            // What isn't granted slows every contender alike.
            let _granted = pin_current(self.reader, PinPolicy::Prefer);
            run();
        })
    }
}

/// Waits for the reader's thread, whose stream has ended.
pub fn join(reader: JoinHandle<()>) -> Result<(), String> {
    reader.join().map_err(|_| "the reader panicked".to_owned())
}
