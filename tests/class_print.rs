//! The report of the process's pool, on a standard output with a reader, and on one whose reader is
//! gone. It is one test, so that no other thread holds the output's lock while the process forks.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};

use slipring::class;

use slipring_test_support::in_child;

/// Both ends of a pipe: the reader, and the writer.
fn pipe() -> (File, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (OwnedFd::from(reader).into(), writer.into())
}

/// From now on, this process's standard output is the writer.
fn print_to(writer: &OwnedFd) {
    // SAFETY: I92. The arguments are integers, and only the child's standard output changes.
    assert_eq!(unsafe { libc::dup2(writer.as_raw_fd(), 1) }, 1);
}

#[test]
fn it_is_printed_or_refused() {
    drop(class::get(3000).unwrap());
    let (mut reader, writer) = pipe();
    let status = in_child(|| {
        drop((class::get(3000).unwrap(), class::get(3000).unwrap()));
        print_to(&writer);
        class::print_stats().expect("there is a reader");
    });
    assert_eq!(status, 0, "the child's checks failed");
    drop(writer);
    let mut printed = String::new();
    reader.read_to_string(&mut printed).unwrap();
    // The text before it is what the test program had begun to print.
    let (_, table) = printed.split_once("      class").expect("the table's head");
    let figures =
        |line: &str| line.split_whitespace().take(3).map(str::to_owned).collect::<Vec<_>>();
    assert!(
        table.lines().any(|line| figures(line) == ["4096", "2", "2"]),
        "class, gets and puts: {table}"
    );
    assert!(table.ends_with(" %\n"), "{table}");

    let (reader, writer) = pipe();
    drop(reader);
    let status = in_child(|| {
        print_to(&writer);
        let refused = class::print_stats().expect_err("there is no reader");
        assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
    });
    assert_eq!(status, 0, "it panicked");
}
