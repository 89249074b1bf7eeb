//! Notices and results: lines on standard error and standard output.
//!
//! Promises not to panic, whereas `println!` and `eprintln!` do once the reader has closed its end.
//! An unread notice is no reason to end a service or to poison a lane. If a result can't be
//! written, the caller gets an error.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Writes one line to standard error, waiting for a slow reader.
pub(crate) fn notice(text: impl Display) {
    let _closed = io::stderr().write_all(line(text).as_bytes());
}

/// Writes one line to standard error, for the threads of a service. If the reader is so slow that
/// this would wait, the line is omitted, and the next line reports how many were omitted.
pub(crate) fn try_notice(text: impl Display) {
    static OMITTED: AtomicU64 = AtomicU64::new(0);
    let mut stderr = io::stderr().lock();
    if !is_writable(&stderr) {
        OMITTED.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let before = match OMITTED.swap(0, Ordering::Relaxed) {
        0 => String::new(),
        lines => line(format_args!(
            "{lines} lines are omitted here: standard error was not read in time"
        )),
    };
    let _closed = stderr.write_all((before + &line(text)).as_bytes());
}

/// The text as one line, to be written in one call, so that a pipe takes all of it or nothing.
fn line(text: impl Display) -> String {
    format!("slipring: {text}\n")
}

/// Whether a line can be written without waiting. A pipe that is writable has room for a page.
fn is_writable(output: impl AsFd) -> bool {
    let mut entry = [PollFd::new(&output, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // If polling fails, the line is written: a closed end fails immediately.
    !matches!(poll(&mut entry, Some(&now)), Ok(0))
}

/// Writes one line to standard output immediately.
///
/// # Errors
/// The line couldn't be written: the reader is gone, or the disk is full.
pub(crate) fn announce(text: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_without_a_reader_fills_up() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut lines = 0;
        while is_writable(&writer) {
            writer.write_all(line("a".repeat(1000)).as_bytes()).unwrap();
            lines += 1;
        }
        assert!(lines >= 10, "{lines}");
        // A closed end fails immediately.
        drop(reader);
        assert!(is_writable(&writer) && writer.write_all(b"a").is_err());
    }
}
