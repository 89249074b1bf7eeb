//! Standard output, for a command whose result may be large: bytes or lines, through one buffer.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use crate::printable::Printable;

const BUFFER_BYTES: usize = 1 << 20;

/// Standard output. What is left in its buffer is lost without [`Output::end`].
#[derive(Debug)]
pub(super) struct Output(BufWriter<File>);

impl Output {
    pub fn stdout() -> io::Result<Self> {
        // Not std's handle: that one looks for line ends in all bytes.
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self(BufWriter::with_capacity(BUFFER_BYTES, file)))
    }

    /// Writes a line whose parts may come from names of files.
    pub fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.0, "{}", Printable(text))
    }

    /// Writes what is left.
    pub fn end(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
