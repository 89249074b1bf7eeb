//! Log lines: their form, and readers of standard error and standard output that never read.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use slipring_test_support::{wait_until, within};

use crate::support::client::{Address, Client};
use crate::support::process::{Place, Process, is_log_line, serve};
use crate::support::vector;

/// A pipe without room for another byte.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    for piece in [4096, 1] {
        while writer.write(&[b'x'; 4096][..piece]).is_ok() {}
    }
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

#[test]
fn lines_have_time_and_level() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("--report-every 50ms")));
        std::thread::sleep(Duration::from_millis(200));
        let ended = process.stop();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert!(lines.len() > 5 && lines.iter().all(|line| is_log_line(line)), "{ended:?}");
        assert!(lines.iter().any(|line| line.contains("Z info lane 0: region: ")), "{ended:?}");
    });
}

/// Nobody reads standard error, and the pipe is full before the service starts.
#[test]
fn a_full_standard_error_delays_nothing() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let (mut reader, pipe) = full_pipe();
        let mut process =
            Process::start_with(serve(&place.words("--report-every 1ms")), pipe, None);
        // By then the queue of lines is full too.
        std::thread::sleep(Duration::from_secs(1));
        let mut client = Client::header(&process.tcp(), 4);
        client.send(0, &vector(4, 1));
        assert!(client.answer().is_ok());
        drop(client);
        let ended = process.stop();
        assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(0), 1), "{ended:?}");
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        assert!(text.iter().all(|byte| *byte == b'x'), "no line is cut in two");
    });
}

/// Nobody reads anything. The service is found by its Unix socket, and ends on SIGTERM.
#[test]
fn a_full_standard_output_delays_nothing() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let socket = place.folder.path().join("socket");
        let ((_errors, stderr), (_lines, stdout)) = (full_pipe(), full_pipe());
        let mut command = serve(&place.words(&format!("--unix {}", socket.display())));
        let mut child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap();
        wait_until("it listens", || socket.exists());
        let mut client = Client::header(&Address::Unix(socket), 4);
        client.send(0, &vector(4, 1));
        assert!(client.answer().is_ok());
        drop(client);
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        let mut status = None;
        wait_until("it ends", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(0));
    });
}

/// Every command ends, with its exit code, however full standard error is.
#[test]
fn commands_end_with_a_full_standard_error() {
    within(Duration::from_secs(60), || {
        for (words, code) in [
            ("serve", 2),
            ("serve --dim 4", 2),
            ("serve --dim 4 --sink null --unix /proc/nowhere", 1),
            ("load --to 127.0.0.1:1 --dim 4 --count 1", 1),
            ("sweep --windows 0", 2),
            ("demo --data /proc/nowhere", 2),
            ("get", 2),
        ] {
            let (_reader, pipe) = full_pipe();
            let mut command = Command::new(env!("CARGO_BIN_EXE_slipring"));
            command.args(words.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null());
            let mut child = command.stderr(pipe).spawn().unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(code), "{words}");
        }
    });
}
