//! Notices: lines for whoever reads the service's standard output and standard error.
//!
//! They never fail: `println!` and `eprintln!` panic once the reader has closed its end, and a supervisor that has read enough is no
//! reason to end a service or to poison a lane.

use std::fmt::Display;
use std::io::Write;

/// One line on standard error.
pub(crate) fn notice(text: impl Display) {
    let _closed = writeln!(std::io::stderr(), "slipring: {text}");
}

/// One line on standard output, at once.
pub(crate) fn announce(text: impl Display) {
    let mut stdout = std::io::stdout().lock();
    let _closed = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
