//! A thread that writes lines to one descriptor, so that nobody else waits for its reader.
//!
//! The life cycle: lines are pushed into a bounded queue, and the thread writes them in order. When
//! the queue is full, a line is left out and counted; the thread says how many before the next
//! line. [`LineWriter::flush`] waits for what is queued, but not longer than the caller allows. The
//! thread ends with the process.
//!
//! It promises that pushing never waits for the descriptor. A line of up to 4096 bytes is written
//! by one call, so that a pipe takes all of it or nothing.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// How often a flush looks for room in a full queue.
const RETRY: Duration = Duration::from_millis(5);

/// What the thread is asked for.
enum LineRequest {
    /// Write this text, which ends with a newline.
    Write(String),
    /// Say when everything before is written.
    Flush(SyncSender<()>),
}

/// The sending end of a thread that writes lines.
#[derive(Debug)]
pub(crate) struct LineWriter {
    requests: SyncSender<LineRequest>,
    left_out: Arc<AtomicU64>,
}

impl LineWriter {
    /// Starts the thread, whose queue holds `lines`. If lines were left out, it writes what
    /// `left_out_line` makes of their number.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub(crate) fn start(
        name: &str,
        output: impl AsFd + Send + 'static,
        lines: usize,
        left_out_line: fn(u64) -> String,
    ) -> io::Result<Self> {
        let (requests, queue) = sync_channel(lines);
        let left_out = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&left_out);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write_queued(&queue, &counted, &output, left_out_line))?;
        Ok(Self { requests, left_out })
    }

    /// Queues a text that ends with a newline. If the queue is full, the text is left out.
    pub(crate) fn push(&self, text: String) {
        if self.requests.try_send(LineRequest::Write(text)).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything that was pushed before is written, and for `within` at most. Returns
    /// whether it is.
    pub(crate) fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let (done, is_done) = sync_channel(1);
        let mut request = LineRequest::Flush(done);
        loop {
            match self.requests.try_send(request) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < deadline => request = back,
                Err(_) => return false,
            }
            thread::sleep(RETRY);
        }
        is_done.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

fn write_queued(
    queue: &Receiver<LineRequest>,
    left_out: &AtomicU64,
    output: &impl AsFd,
    left_out_line: fn(u64) -> String,
) {
    for request in queue {
        let lines = left_out.swap(0, Ordering::Relaxed);
        if lines > 0 {
            write_all(output, left_out_line(lines).as_bytes());
        }
        match request {
            LineRequest::Write(text) => write_all(output, text.as_bytes()),
            LineRequest::Flush(done) => {
                // The flush may have given up.
                let _gave_up = done.try_send(());
            }
        }
    }
}

/// Writes all bytes, however long the reader takes. A closed end or a full disk loses them.
fn write_all(output: &impl AsFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(output, bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Another process that has the same pipe made it non-blocking.
            Err(Errno::AGAIN) => {
                let mut entry = [PollFd::new(output, PollFlags::OUT)];
                let _again = poll(&mut entry, None);
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn left_out(lines: u64) -> String {
        format!("left out: {lines}\n")
    }

    /// Pushes until the pipe and the queue are full. Returns the number of lines pushed.
    fn fill(writer: &LineWriter) -> u64 {
        let mut pushed = 0;
        while writer.left_out.load(Ordering::Relaxed) == 0 {
            writer.push(format!("{pushed:03999}\n"));
            pushed += 1;
            // The thread has time to fill the pipe before the queue is full.
            thread::sleep(Duration::from_millis(1));
        }
        pushed
    }

    #[test]
    fn a_full_pipe_leaves_lines_out_and_says_how_many() {
        for is_nonblocking in [false, true] {
            let (mut reader, output) = io::pipe().unwrap();
            rustix::io::ioctl_fionbio(&output, is_nonblocking).unwrap();
            let writer = LineWriter::start("lines", output, 4, left_out).unwrap();
            let pushed = fill(&writer);
            writer.push("also\n".to_owned());
            assert!(!writer.flush(Duration::from_millis(50)), "nobody reads");
            let text = thread::spawn(move || {
                let mut text = String::new();
                reader.read_to_string(&mut text).unwrap();
                text
            });
            while !writer.flush(SECOND) {}
            writer.push("last\n".to_owned());
            assert!(writer.flush(60 * SECOND));
            drop(writer);
            let text = text.join().unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let said = lines.iter().filter_map(|line| line.strip_prefix("left out: "));
            let said: u64 = said.map(|lines| lines.parse::<u64>().unwrap()).sum();
            assert_eq!(said, 2);
            assert_eq!(lines.last(), Some(&"last"));
            let numbers = lines.iter().filter_map(|line| line.parse::<u64>().ok());
            assert!(numbers.eq(0..pushed - 1), "in order, none cut");
        }
    }

    #[test]
    fn a_closed_end_loses_lines_and_nothing_else() {
        let (reader, output) = io::pipe().unwrap();
        drop(reader);
        let writer = LineWriter::start("lines", output, 4, left_out).unwrap();
        (0..100).for_each(|_| writer.push("a\n".to_owned()));
        assert!(writer.flush(60 * SECOND));
    }
}
