//! The real binary, for what only a process has: exit codes, signals, limits and standard output.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use super::PATIENCE;
use super::client::Address;
use super::service::merged;

pub const BINARY: &str = env!("CARGO_BIN_EXE_slipring");

/// A service in its own process. Dropping it kills the process.
pub struct Process {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<JoinHandle<String>>,
    /// The line that reports readiness.
    pub ready: String,
}

/// The exit code and the output of a process.
#[derive(Debug)]
pub struct Ended {
    /// None if a signal ended the process.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Whether a line of standard error is a log line: time in UTC, level, text.
pub fn is_log_line(line: &str) -> bool {
    let mut words = line.splitn(3, ' ');
    let time = words.next().unwrap_or_default();
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let level = words.next().unwrap_or_default();
    shape == "0000-00-00T00:00:00.000Z"
        && ["info", "warn", "error"].contains(&level)
        && words.next().is_some_and(|text| !text.is_empty())
}

/// The text of a log line, after its time and its level.
pub fn log_text(line: &str) -> &str {
    assert!(is_log_line(line), "{line}");
    line.splitn(3, ' ').nth(2).unwrap_or_default()
}

/// `slipring serve` with these words, not started yet.
pub fn serve(words: &str) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("serve").args(words.split_whitespace());
    command
}

/// `slipring serve` after a line of shell, which sets limits, for example. The shell then runs
/// `exec "$0" "$@"`.
pub fn serve_in_shell(shell: &str, words: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")])
        .arg(BINARY)
        .arg("serve")
        .args(words.split_whitespace());
    command
}

/// Words for a service with little memory that listens on a free port and keeps its data below
/// `folder`. Options in `more` replace these.
pub fn words(folder: &Path, more: &str) -> String {
    let data = folder.join("data");
    let defaults = "--dim 4 --listen 127.0.0.1:0 --pool 1MiB --slots 256 --pages 4k --wait park";
    merged(&format!("{defaults} --data {}", data.display()), more)
}

impl Process {
    /// Starts the service and waits for its ready line.
    #[track_caller]
    pub fn start(command: Command) -> Self {
        let (mut errors, pipe) = std::io::pipe().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _killed = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self::start_with(command, pipe, Some(reader))
    }

    /// Starts the service with a standard error whose reader is closed: every write to it fails.
    #[track_caller]
    pub fn start_unheard(command: Command) -> Self {
        let (reader, pipe) = std::io::pipe().unwrap();
        drop(reader);
        Self::start_with(command, pipe, None)
    }

    /// Starts the service with a standard error that fills up. Returns the reader, which doesn't
    /// read until the test does.
    #[track_caller]
    pub fn start_unread(command: Command) -> (Self, PipeReader) {
        let (reader, pipe) = std::io::pipe().unwrap();
        (Self::start_with(command, pipe, None), reader)
    }

    /// Starts the service with this standard error, and waits for its ready line.
    #[track_caller]
    pub fn start_with(
        mut command: Command,
        pipe: PipeWriter,
        stderr: Option<JoinHandle<String>>,
    ) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(pipe).spawn().unwrap();
        // The command holds our end of the pipe open.
        drop(command);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, line) = channel();
        std::thread::spawn(move || {
            let mut ready = String::new();
            stdout.read_line(&mut ready).unwrap();
            let _late = send.send((ready, stdout));
        });
        let mut this = Self { child, stdout: None, stderr, ready: String::new() };
        let (ready, stdout) = line.recv_timeout(PATIENCE).expect("a line on standard output");
        (this.ready, this.stdout) = (ready.trim_end().to_owned(), Some(stdout));
        assert!(this.ready.starts_with("ready "), "it didn't start: {:?}", this.wait());
        this
    }

    /// The value of `name=` in the ready line.
    pub fn ready_value(&self, name: &str) -> Option<&str> {
        self.ready.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    #[track_caller]
    pub fn tcp(&self) -> Address {
        Address::Tcp(self.ready_value("tcp").expect("it listens on TCP").parse().unwrap())
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Memory in use by the process.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Size of the mapped addresses of the process.
    pub fn address_bytes(&self) -> u64 {
        self.memory("VmSize:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).expect("a running process");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Sets the soft limit of the process; with None, to the hard limit, which it has inherited
    /// from this process.
    pub fn limit(&self, resource: Resource, most: Option<u64>) {
        let hard = getrlimit(resource).maximum;
        let soft = most.map_or(hard, |most| Some(hard.map_or(most, |hard| hard.min(most))));
        prlimit(
            Some(Pid::from_child(&self.child)),
            resource,
            Rlimit { current: soft, maximum: hard },
        )
        .unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        self.try_signal(signal).unwrap();
    }

    pub fn try_signal(&self, signal: Signal) -> rustix::io::Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
    }

    /// Sends any signal, also one without a name.
    pub fn signal_number(&self, signal: i32) {
        let kill = format!("kill -{signal} {}", self.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Closes our end of the standard output. The reader of standard error continues.
    pub fn close_stdout(&mut self) {
        drop(self.stdout.take());
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub fn wait(&mut self) -> Ended {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                let _gone = self.child.kill();
                panic!("the service doesn't end; its standard error: {}", self.stderr_text());
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        let mut text = Vec::new();
        if let Some(mut stdout) = self.stdout.take() {
            stdout.read_to_end(&mut text).unwrap();
        }
        let stdout = String::from_utf8_lossy(&text).into_owned();
        Ended { code: status.code(), stdout, stderr: self.stderr_text() }
    }

    /// SIGTERM, then [`Process::wait`].
    #[track_caller]
    pub fn stop(&mut self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }

    fn stderr_text(&mut self) -> String {
        self.stderr.take().map_or_else(String::new, |reader| reader.join().unwrap_or_default())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Ended {
    /// The figure after `name=` in the totals; 0 if there is none.
    pub fn total(&self, name: &str) -> u64 {
        let words = self.stdout.split_whitespace();
        words
            .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='))
            .find_map(|figure| figure.parse().ok())
            .unwrap_or(0)
    }
}

/// Runs a command that must refuse immediately with this exit code and these names in its error.
/// Returns its standard error.
#[track_caller]
pub fn refused(mut command: Command, code: i32, names: &[&str]) -> String {
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let (done, wait) = channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = wait.recv_timeout(PATIENCE) else {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("not refused, and not over after {PATIENCE:?}: {command:?}");
    };
    let output: Output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(output.stdout.is_empty(), "it printed: {}", String::from_utf8_lossy(&output.stdout));
    for name in names {
        assert!(said.contains(name), "{name:?} isn't named in {said:?}");
    }
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// A folder for one test, and the words for a service in it.
pub struct Place {
    pub folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: super::folder() }
    }

    pub fn words(&self, more: &str) -> String {
        words(self.folder.path(), more)
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}
