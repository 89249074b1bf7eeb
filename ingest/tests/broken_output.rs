//! Standard output and standard error that take nothing, of the real binary: no panic, no exit code
//! of another cause, and a result that nobody got isn't a good one.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A sweep that takes no time.
const SWEEP: &str = "sweep --pool 1MiB --payload 64 --windows 64KiB --slots 64 --batch 8 --events 100 --repeats 1 --stages inline";

/// Writing fails with "no space left".
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("Linux has it").into()
}

/// Writing fails with "broken pipe".
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn run(words: &str, stdout: Stdio, stderr: Stdio) -> Output {
    run_in(Path::new("/"), words, stdout, stderr)
}

fn run_in(folder: &Path, words: &str, stdout: Stdio, stderr: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipring"));
    command
        .args(words.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    command.spawn().and_then(|child| child.wait_with_output()).expect("the binary can be started")
}

#[test]
fn a_result_that_cant_be_written_is_a_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = "demo --seconds 1 --bytes 1MiB --data data --json".to_owned();
    for words in [SWEEP.to_owned(), format!("{SWEEP} --json"), demo] {
        for (stdout, why) in [(full(), "No space left"), (closed(), "Broken pipe")] {
            let output = run_in(folder.path(), &words, stdout, Stdio::piped());
            let _kept = std::fs::remove_dir_all(folder.path().join("data"));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{words}: {said}");
            assert!(
                said.contains("standard output")
                    && said.contains(why)
                    && !said.contains("panicked"),
                "{said}"
            );
        }
    }
}

/// What went wrong decides the exit code, not that nobody could be told.
#[test]
fn an_error_that_cant_be_told_is_the_same_error() {
    for (words, code) in [
        ("serve --dim 4", 2),
        ("serve --dim 4 --sink null --unix /proc/nowhere", 1),
        ("serve --dim 4 --data /proc/nowhere --listen 127.0.0.1:0", 1),
        ("load --to 127.0.0.1:1 --dim 4 --count 1", 1),
        ("sweep --windows 0", 2),
        ("sweep --windows 64MiB --pool 32MiB", 2),
        ("demo --data /proc/nowhere", 2),
        ("get", 2),
    ] {
        let expected = run(words, Stdio::null(), Stdio::piped());
        assert_eq!(
            expected.status.code(),
            Some(code),
            "{words}: {}",
            String::from_utf8_lossy(&expected.stderr)
        );
        for (stdout, stderr) in
            [(Stdio::null(), full()), (Stdio::null(), closed()), (closed(), closed())]
        {
            assert_eq!(run(words, stdout, stderr).status.code(), Some(code), "{words}");
        }
    }
}

/// Closed, not connected to nothing: the descriptors are free, and the first files that are opened
/// must not take their places.
#[test]
fn closed_descriptors_are_no_files_of_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = format!("exec \"$0\" {SWEEP} >&- 2>&- <&-");
    let status = Command::new("sh")
        .args(["-c", &line, env!("CARGO_BIN_EXE_slipring")])
        .current_dir(folder.path())
        .status();
    assert_eq!(status.expect("a shell").code(), Some(0));
}
