//! The command and how it ended.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::process::BINARY;

/// `slipring get` with these words, and nothing of our own environment's storage.
pub fn get<S: AsRef<str>>(words: &[S]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("get").args(words.iter().map(AsRef::as_ref));
    for (name, _) in std::env::vars_os() {
        let ours = name.to_string_lossy().to_ascii_lowercase();
        if ours.ends_with("_proxy")
            || ["aws_", "azure_", "google_"].iter().any(|prefix| ours.starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command
}

/// The same command, from a shell that has said this first.
pub fn limited(shell: &str, command: Command) -> Command {
    let mut limited = Command::new("sh");
    limited
        .args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    limited
}

/// A run that is over.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The lines of `--json`.
    pub fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The line about the object whose URL ends so.
    #[track_caller]
    pub fn line(&self, url: &str) -> Value {
        let found: Vec<Value> = self
            .lines()
            .into_iter()
            .filter(|line| line["url"].as_str().unwrap().ends_with(url))
            .collect();
        assert_eq!(found.len(), 1, "{url}: {self:?}");
        found[0].clone()
    }

    #[track_caller]
    pub fn assert_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }
}

pub fn start(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end.
#[track_caller]
pub fn wait(child: Child) -> Ended {
    let pid = Pid::from_child(&child);
    let (done, wait) = channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = wait.recv_timeout(PATIENCE) else {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("not over after {PATIENCE:?}");
    };
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: status.code(), stdout: text(&stdout), stderr: text(&stderr) }
}

/// Runs it to its end.
#[track_caller]
pub fn run<S: AsRef<str>>(words: &[S]) -> Ended {
    wait(start(get(words)))
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
