//! Notices and results: lines for whoever reads standard error and standard output.
//!
//! They never panic, as `println!` and `eprintln!` do once the reader has closed its end. A notice that nobody reads is no reason to end a
//! service or to poison a lane. A result that can't be written is an error, which the caller is told.

use std::fmt::Display;
use std::io::{self, Write};

/// One line on standard error.
pub(crate) fn notice(text: impl Display) {
    let _closed = writeln!(io::stderr(), "slipring: {text}");
}

/// One line on standard output, at once.
///
/// # Errors
/// That it wasn't taken: the reader is gone, or the disk is full.
pub(crate) fn announce(text: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush())
}
