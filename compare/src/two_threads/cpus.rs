//! The two CPUs of a run.

use slipring::pipeline::CpuMask;

/// One CPU for the publisher and one for the reader.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cpus {
    pub publisher: usize,
    pub reader: usize,
}

impl Cpus {
    /// The first two that this process may use. With one there is nothing to measure.
    pub fn pick() -> Result<Self, String> {
        match CpuMask::read().cpus() {
            [publisher, reader, ..] => Ok(Self { publisher: *publisher, reader: *reader }),
            cpus => Err(format!("two CPUs are needed, this process may use {}", cpus.len())),
        }
    }
}
