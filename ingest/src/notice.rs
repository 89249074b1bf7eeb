//! Notices and results: lines on standard error and standard output.
//!
//! They never panic, unlike `println!` and `eprintln!`, which do once the reader has closed its
//! end. An unread notice is no reason to end a service or to poison a lane. If a result can't be
//! written, the caller gets an error.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// One line on standard error: it waits for a reader that is slow.
pub(crate) fn notice(text: impl Display) {
    let _closed = io::stderr().write_all(line(text).as_bytes());
}

/// One line on standard error for the threads of a service: where the reader is so slow that it
/// would wait, it is left out, and the next says how many were.
pub(crate) fn try_notice(text: impl Display) {
    static LEFT_OUT: AtomicU64 = AtomicU64::new(0);
    let mut stderr = io::stderr().lock();
    if !takes(&stderr) {
        LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let before = match LEFT_OUT.swap(0, Ordering::Relaxed) {
        0 => String::new(),
        lines => line(format_args!("{lines} lines are left out here: nobody read standard error")),
    };
    let _closed = stderr.write_all((before + &line(text)).as_bytes());
}

/// At once, so that a pipe takes all of it or nothing.
fn line(text: impl Display) -> String {
    format!("slipring: {text}\n")
}

/// Whether a line can be written without waiting. A pipe that takes anything takes a page.
fn takes(output: impl AsFd) -> bool {
    let mut entry = [PollFd::new(&output, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // What can't be asked is written to: a closed end says so at once.
    !matches!(poll(&mut entry, Some(&now)), Ok(0))
}

/// One line on standard output, at once.
///
/// # Errors
/// That it wasn't taken: the reader is gone, or the disk is full.
pub(crate) fn announce(text: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_takes_no_more() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut lines = 0;
        while takes(&writer) {
            writer.write_all(line("a".repeat(1000)).as_bytes()).unwrap();
            lines += 1;
        }
        assert!(lines >= 10, "{lines}");
        // One that is gone refuses at once.
        drop(reader);
        assert!(takes(&writer) && writer.write_all(b"a").is_err());
    }
}
