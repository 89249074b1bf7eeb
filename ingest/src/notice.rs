//! Notices and results: lines on standard error and standard output.
//!
//! Promises not to panic, whereas `println!` and `eprintln!` do once the reader has closed its end,
//! and not to wait for the reader of standard error: lines go through a bounded queue to a thread,
//! see [`LineWriter`]. An unread notice is no reason to delay a service, to end it or to poison a
//! lane. If the result of a command can't be written, the caller gets an error.
//!
//! A notice is `2026-11-30T06:00:00.123Z warn lane 0: ...`: the time in UTC, the level and the
//! text. Errors of command-line use have neither, and begin with `slipring: `.
#![forbid(unsafe_code)]

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::line_writer::LineWriter;
use crate::printable::Printable;

/// Lines that wait for a slow reader of standard error. Later ones are left out.
const LINES_MAX: usize = 1024;
/// Texts that wait for a slow reader of standard output: a service has two, ready and totals.
const RESULTS_MAX: usize = 16;
/// How long the end of the process waits for slow readers.
const END_WITHIN: Duration = Duration::from_secs(1);

static STDERR: OnceLock<Option<LineWriter>> = OnceLock::new();
static STDOUT: OnceLock<Option<LineWriter>> = OnceLock::new();

/// The level of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoticeLevel {
    Info,
    Warn,
    Error,
}

impl Display for NoticeLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        })
    }
}

/// Starts the thread that writes notices, unless it runs. A thread inherits the CPUs of the thread
/// that starts it, so this is called before any thread is pinned.
pub(crate) fn start() {
    stderr();
}

/// What is granted, and what goes on.
pub(crate) fn info(text: impl Display) {
    push(stamped(NoticeLevel::Info, text));
}

/// What isn't as it should be, while the service goes on.
pub(crate) fn warn(text: impl Display) {
    push(stamped(NoticeLevel::Warn, text));
}

/// What ends a command, a lane or a thread.
pub(crate) fn error(text: impl Display) {
    push(stamped(NoticeLevel::Error, text));
}

/// What is wrong with the command line: for the person in front of it, without time and level.
pub(crate) fn usage(text: impl Display) {
    push(format!("slipring: {}\n", Printable(text)));
}

/// A text that is several lines already, each ended by a newline.
pub(crate) fn usage_lines(text: String) {
    push(text);
}

fn push(line: String) {
    match stderr() {
        Some(writer) => writer.push(line),
        // Without a thread only what can be written immediately is written.
        None if is_writable(io::stderr()) => {
            let _closed = io::stderr().write_all(line.as_bytes());
        }
        None => {}
    }
}

fn stderr() -> Option<&'static LineWriter> {
    let start = || LineWriter::start("notices", io::stderr(), LINES_MAX, left_out).ok();
    STDERR.get_or_init(start).as_ref()
}

fn left_out(lines: u64) -> String {
    let text = format_args!("{lines} lines are left out here: standard error wasn't read in time");
    stamped(NoticeLevel::Warn, text)
}

/// The line of a notice, with the time of now.
fn stamped(level: NoticeLevel, text: impl Display) -> String {
    let now = humantime::format_rfc3339_millis(SystemTime::now());
    format!("{now} {level} {}\n", Printable(text))
}

/// Whether a line can be written without waiting. A pipe that is writable has room for a page.
fn is_writable(output: impl AsFd) -> bool {
    let mut entry = [PollFd::new(&output, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // If polling fails, the line is written: a closed end fails immediately.
    !matches!(poll(&mut entry, Some(&now)), Ok(0))
}

/// Writes one text to standard output immediately, waiting for a slow reader: the result of a
/// command.
///
/// # Errors
/// The text couldn't be written: the reader is gone, or the disk is full.
pub(crate) fn announce(text: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush())
}

/// Writes one text to standard output soon, without waiting for a reader: a service runs, and
/// stops, whether its lines are read or not.
pub(crate) fn announce_unwaited(text: impl Display) {
    let left_out = |results| format!("{results} texts are left out here\n");
    let start = || LineWriter::start("results", io::stdout(), RESULTS_MAX, left_out).ok();
    match STDOUT.get_or_init(start) {
        Some(writer) => writer.push(format!("{text}\n")),
        None if is_writable(io::stdout()) => drop(announce(text)),
        None => {}
    }
}

/// Waits a short time for what is still to be written, at the end of the process.
pub(crate) fn flush() {
    if let Some(Some(results)) = STDOUT.get()
        && !results.flush(END_WITHIN)
    {
        warn("standard output wasn't read: what was to be printed there is lost");
    }
    if let Some(Some(notices)) = STDERR.get() {
        notices.flush(END_WITHIN);
    }
}

/// Makes panics notices. The standard library writes them itself and waits for the reader, so that
/// a lane that panics would never end.
pub(crate) fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        error(panic_line(panic));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            backtrace.to_string().lines().for_each(error);
        }
        // The process may end with this panic.
        if let Some(Some(notices)) = STDERR.get() {
            notices.flush(END_WITHIN);
        }
    }));
}

fn panic_line(panic: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
    let text = panic.payload_as_str().unwrap_or("no text");
    format!("thread {name} panicked{place}: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_has_time_and_level_and_is_one_line() {
        let line = stamped(NoticeLevel::Warn, "lane 0: a\nb\u{1b}[0mé\r");
        let (time, text) = line.split_once(' ').unwrap();
        assert_eq!(text, "warn lane 0: a\\nb\\u{1b}[0mé\\r\n");
        let parsed = humantime::parse_rfc3339(time).unwrap();
        assert!(SystemTime::now().duration_since(parsed).unwrap() < Duration::from_secs(60));
        assert_eq!((time.len(), &time[10..11], &time[19..20], &time[23..]), (24, "T", ".", "Z"));
        assert_eq!(
            [NoticeLevel::Info, NoticeLevel::Error].map(|level| level.to_string()),
            ["info", "error"]
        );
    }

    /// Set in a process that is to panic.
    const CHILD: &str = "SLIPRING_TEST_CHILD";

    /// Runs this test again, in a process of its own that panics on a thread and then ends with 7.
    fn panic_in_a_child(stderr: impl Into<std::process::Stdio>) -> std::process::Child {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let test = "notice::tests::panics_are_notices_that_wait_for_nobody";
        child.args(["--exact", test, "--nocapture"]).env(CHILD, "1").env("RUST_BACKTRACE", "0");
        child.stdout(std::process::Stdio::null()).stderr(stderr).spawn().unwrap()
    }

    #[test]
    fn panics_are_notices_that_wait_for_nobody() {
        if std::env::var_os(CHILD).is_some() {
            start();
            log_panics();
            let lane = thread::Builder::new().name("lane-0".to_owned());
            let panicked = lane.spawn(|| panic!("by\ndesign")).unwrap().join();
            std::process::exit(if panicked.is_err() { 7 } else { 0 });
        }
        let output = panic_in_a_child(std::process::Stdio::piped()).wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(7), "{said}");
        assert!(said.contains("Z error thread lane-0 panicked at "), "{said}");
        assert!(said.ends_with(": by\\ndesign\n"), "{said}");

        let (_unread, mut writer) = io::pipe().unwrap();
        while is_writable(&writer) {
            writer.write_all(&[b'a'; 4096]).unwrap();
        }
        let mut child = panic_in_a_child(writer);
        assert_eq!(child.wait().unwrap().code(), Some(7), "it waits for its reader");
    }

    #[test]
    fn a_full_pipe_isnt_writable_and_a_closed_one_fails() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut lines = 0;
        while is_writable(&writer) {
            writer.write_all(&[b'a'; 1000]).unwrap();
            lines += 1;
        }
        assert!(lines >= 10, "{lines}");
        drop(reader);
        assert!(is_writable(&writer) && writer.write_all(b"a").is_err());
    }
}
